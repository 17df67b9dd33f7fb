/** The external API's document against the original, and which operations are implemented. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { documentOf } from '#actors/http/openapi.ts'
import { aboutExternal } from '#actors/nexus/api/contract/about.ts'
import { operations, type OperationId } from '#actors/nexus/api/contract/operations.ts'
import { routes } from '#actors/nexus/routes.ts'
import { original, sameDocument, type Json } from './documents.ts'

const theirs = original('nexus.json')
const contract = Object.entries(operations).map(([id, operation]) => ({
  id: id as OperationId,
  operation,
}))
const ours = documentOf(contract, aboutExternal) as Json

/** Operations that nobody has implemented yet. The list shrinks to nothing. */
const missing: readonly OperationId[] = ['instance_migrate']

const [their, our] = sameDocument(theirs, ours)

test('the contract has the 145 operations of the original', () => {
  assert.equal(their.size, 145)
  assert.equal(our.size, 145)
})

test('the document is called as the original is', () => {
  assert.equal(ours['info'].title, 'Oxide Region API')
})

test('exactly the operations of the list are not implemented yet', (context) => {
  const served = new Set(routes.map(({ id }) => id))
  const absent = contract.map(({ id }) => id).filter((id) => !served.has(id))
  context.diagnostic(`${absent.length} of ${contract.length} operations are missing`)
  assert.deepEqual(absent.toSorted(), missing.toSorted())
  assert.equal(served.size, routes.length, 'an operation is implemented twice')
})
