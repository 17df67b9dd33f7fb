/**
 * Our OpenAPI document against the original, operation by operation, parameter by parameter, schema
 * by schema. References, `allOf` of one, nullability and the order of lists are resolved; prose is
 * not compared.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { documentOf } from '#actors/nexus/api/openapi.ts'
import { operations, type OperationId } from '#actors/nexus/api/contract/operations.ts'
import { routes } from '#actors/nexus/routes.ts'

type Json = Record<string, any>
const path = new URL('../../../../shared/openapi/nexus.json', import.meta.url)
const theirs: Json = JSON.parse(readFileSync(path, 'utf8'))
const contract = Object.entries(operations).map(([id, operation]) => ({
  id: id as OperationId,
  operation,
}))
const ours = documentOf(contract) as Json

/** Operations that nobody has implemented yet. The list shrinks to nothing. */
const missing: readonly OperationId[] = ['instance_migrate']

/** Where our document says something else, each with its reason. */
const differences: Readonly<Record<string, string>> = {}

const methods = ['get', 'post', 'put', 'delete']
const operationsOf = (document: Json): Map<string, Json> =>
  new Map(
    Object.entries<Json>(document['paths']).flatMap(([url, entry]) =>
      methods
        .filter((method) => method in entry)
        .map((method): [string, Json] => [
          entry[method].operationId,
          { url, method, ...entry[method] },
        ]),
    ),
  )

const prose = new Set(['description', 'summary', 'title', 'example'])

/** A schema or any other part of a document with what means the same made the same. */
function plain(part: unknown): unknown {
  if (Array.isArray(part)) {
    const items = part.map((item) => plain(item))
    return items.every((item) => typeof item === 'string') ? items.toSorted() : items
  }
  if (typeof part !== 'object' || part === null) return part
  const { allOf, ...others } = part as Json
  if (Array.isArray(allOf) && allOf.length === 1) return plain({ ...others, ...allOf[0] })
  // References to components are compared by name, and the components each on its own.
  return Object.fromEntries(
    Object.entries(part)
      .filter(([key, value]) => !(prose.has(key) && typeof value === 'string'))
      .map(([key, value]) => [key, plain(value)])
      .toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
  )
}

const byName = (a: Json, b: Json) =>
  `${a['in']} ${a['name']}` < `${b['in']} ${b['name']}` ? -1 : 1
const tagsOf = (document: Json) => document['tags'].map(({ name }: Json) => name)
const their = operationsOf(theirs)
const our = operationsOf(ours)

test('the contract has the 145 operations of the original and no others', () => {
  assert.equal(their.size, 145)
  assert.deepEqual([...our.keys()].toSorted(), [...their.keys()].toSorted())
})

for (const [id, wanted] of their) {
  test(`${id} is the original's`, () => {
    const { parameters = [], ...rest } = our.get(id) ?? {}
    const { parameters: theirParameters = [], ...theirRest } = wanted
    assert.deepEqual(plain(rest), plain(theirRest))
    assert.deepEqual(plain(parameters.toSorted(byName)), plain(theirParameters.toSorted(byName)))
  })
}

test('the components have the same names', () => {
  assert.deepEqual(
    Object.keys(ours['components'].schemas).toSorted(),
    Object.keys(theirs['components'].schemas).toSorted(),
  )
})

for (const [name, wanted] of Object.entries(theirs['components'].schemas)) {
  if (name in differences) continue
  test(`component ${name} is the original's`, () => {
    const made = ours['components'].schemas[name]
    assert.deepEqual(plain(made), plain(wanted))
  })
}

test('title, version, tags and the error response are the original’s', () => {
  assert.equal(ours['openapi'], theirs['openapi'])
  assert.equal(ours['info'].title, 'Oxide Region API')
  assert.equal(ours['info'].version, theirs['info'].version)
  assert.deepEqual(tagsOf(ours), tagsOf(theirs))
  assert.deepEqual(plain(ours['components'].responses), plain(theirs['components'].responses))
})

test('exactly the operations of the list are not implemented yet', (context) => {
  const served = new Set(routes.map(({ id }) => id))
  const absent = contract.map(({ id }) => id).filter((id) => !served.has(id))
  context.diagnostic(`${absent.length} of ${contract.length} operations are missing`)
  assert.deepEqual(absent.toSorted(), missing.toSorted())
  assert.equal(served.size, routes.length, 'an operation is implemented twice')
})
