/** The sled agent's document against the original, and that every operation is implemented. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { documentOf } from '#actors/http/openapi.ts'
import { aboutSledAgent, sledAgentOperations } from '#actors/sled-agent/contract.ts'
import { sledAgentRoutes } from '#actors/sled-agent/routes.ts'
import { original, sameDocument } from '../nexus/documents.ts'

const operations = Object.entries(sledAgentOperations).map(([id, operation]) => ({ id, operation }))
sameDocument(original('sled-agent.json'), documentOf(operations, aboutSledAgent))

test('each operation is implemented once', () => {
  const served = sledAgentRoutes.map(({ id }) => id)
  assert.deepEqual(served.toSorted(), Object.keys(sledAgentOperations).toSorted())
})
