/**
 * OpenAPI documents of ours against the originals, operation by operation, parameter by parameter, schema
 * by schema. References, `allOf` of one, nullability and the order of lists are resolved; prose is
 * not compared.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

export type Json = Record<string, any>

/** One of the original's documents. */
export function original(name: string): Json {
  const path = new URL(`../../../../shared/openapi/${name}`, import.meta.url)
  return JSON.parse(readFileSync(path, 'utf8'))
}

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
const tagsOf = (document: Json) => (document['tags'] ?? []).map(({ name }: Json) => name)

/** Tests `ours` against `theirs`; gives back the operations of both by their ids. */
export function sameDocument(
  theirs: Json,
  ours: Json,
): readonly [Map<string, Json>, Map<string, Json>] {
  const their = operationsOf(theirs)
  const our = operationsOf(ours)

  test('the operations are the original’s and no others', () => {
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
    test(`component ${name} is the original's`, () => {
      const made = ours['components'].schemas[name]
      assert.deepEqual(plain(made), plain(wanted))
    })
  }

  test('title, version, tags and the error response are the original’s', () => {
    assert.equal(ours['openapi'], theirs['openapi'])
    assert.equal(ours['info'].title, theirs['info'].title.replace(/\.$/, ''))
    assert.equal(ours['info'].version, theirs['info'].version)
    assert.deepEqual(tagsOf(ours), tagsOf(theirs))
    assert.deepEqual(plain(ours['components'].responses), plain(theirs['components'].responses))
  })
  return [their, our]
}
