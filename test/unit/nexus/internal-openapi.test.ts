/** The internal API's document against the original, and that every operation is implemented. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { documentOf } from '#actors/http/openapi.ts'
import { aboutInternal, internalOperations } from '#actors/nexus/internal/contract.ts'
import { internalRoutes } from '#actors/nexus/internal/routes.ts'
import { original, sameDocument } from './documents.ts'

const operations = Object.entries(internalOperations).map(([id, operation]) => ({ id, operation }))
sameDocument(original('nexus-internal.json'), documentOf(operations, aboutInternal))

test('each operation is implemented once', () => {
  const served = internalRoutes.map(({ id }) => id)
  assert.deepEqual(served.toSorted(), Object.keys(internalOperations).toSorted())
})
