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

const [their, our] = sameDocument(theirs, ours)

test('the contract has the 145 operations of the original', () => {
  assert.equal(their.size, 145)
  assert.equal(our.size, 145)
})

test('the document is called as the original is', () => {
  assert.equal(ours['info'].title, 'Oxide Region API')
})

test('every operation is implemented, and once', () => {
  const served = new Set(routes.map(({ id }) => id))
  assert.deepEqual(
    contract.map(({ id }) => id).filter((id) => !served.has(id)),
    [],
  )
  assert.equal(served.size, routes.length, 'an operation is implemented twice')
})
