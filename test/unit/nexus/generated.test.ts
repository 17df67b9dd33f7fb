/**
 * Requests made from the OpenAPI document by a seed: well-formed ones, and ones with a fault planted
 * somewhere. Whatever is sent, the answer is what the document promises.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { problemOf } from '#actors/http/check.ts'
import type { Operation } from '#actors/http/operation.ts'
import { errorBody } from '#actors/http/words.ts'
import { documentOf } from '#actors/http/openapi.ts'
import { aboutExternal } from '#actors/nexus/api/contract/about.ts'
import { routes } from '#actors/nexus/routes.ts'
import { seededRandom } from '#runtime/random.ts'
import { TestNexus } from './kit.ts'

type Json = Record<string, any>
const seed = Number(process.env['LUGE_SEED'] ?? 20_221_111)
const rounds = 12
const random = seededRandom(seed)
const document = documentOf(routes, aboutExternal) as Json

/** These may be 503: images from snapshots (spec §12), and from URLs that nobody can be asked for. */
const unavailable = new Set<string>(['system_image_create', 'image_create'])

let nexus: TestNexus
/** Ids that exist, so that some requests get far. */
const ids: string[] = []
const names = ['myorg', 'myproj', 'mypool', 'alpine', 'default', 'system', 'net0', 'a', 'x-1']
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  const scope = '/organizations/myorg/projects/myproj'
  for (const url of [scope, `${scope}/vpcs/default`, '/session/me', '/system/images/alpine']) {
    ids.push((await nexus.ok('GET', url)).id)
  }
})
after(async () => {
  await nexus.stop()
})

const below = (limit: number) => Math.floor(random.next() * limit)
const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T

const odd: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1.5,
  2 ** 53,
  1e300,
  '',
  'A',
  'ü',
  '\u0000',
  'a'.repeat(64),
  'x'.repeat(10_000),
  'a11d1111-1111-4111-8111-111111111111',
  [],
  {},
  [[[]]],
  { type: 'x', value: null },
  '999.1.1.1/99',
  '::1/129',
]
/** Of these the first, nothing, would make another path. */
const oddText: readonly string[] = [
  '',
  '%00',
  '%2f',
  '..%2f',
  'A',
  '-',
  '%F0%9F%92%A9',
  'a'.repeat(300),
  '1e9',
  '-1',
  '18446744073709551616',
  'null',
  '%27%3B--',
]

const component = (schema: Json): Json =>
  schema['$ref'] === undefined
    ? schema
    : document['components'].schemas[schema['$ref'].split('/').at(-1)]

/** A value that the schema allows, as far as JSON Schema says. */
function valid(given: Json): unknown {
  const schema = component(given)
  if (schema['allOf'] !== undefined) return valid(schema['allOf'][0])
  if (schema['oneOf'] !== undefined) return valid(pick(schema['oneOf']))
  if (schema['enum'] !== undefined) return pick(schema['enum'])
  switch (schema['type']) {
    case 'object':
      return Object.fromEntries(
        Object.entries<Json>(schema['properties'] ?? {})
          .filter(([key]) => (schema['required'] ?? []).includes(key) || random.next() < 0.6)
          .map(([key, field]) => [key, valid(field)]),
      )
    case 'array':
      return Array.from({ length: below(3) }, () => valid(schema['items']))
    case 'boolean':
      return random.next() < 0.5
    case 'integer':
    case 'number':
      return pick([1, 2, 512, 2 ** 30, 2 ** 31])
    default:
      return validText(schema)
  }
}

/** What texts of a format look like, and what those of a pattern do that contains this. */
const formats: Readonly<Record<string, () => string>> = {
  uuid: () => (random.next() < 0.7 ? pick(ids) : random.uuid()),
  'date-time': () => '2022-11-11T00:00:00Z',
  ip: () => `172.30.0.${below(256)}`,
  ipv4: () => `172.30.0.${below(256)}`,
  ipv6: () => `fd00::${below(9)}`,
  byte: () => 'aGVsbG8=',
}
const patterns: readonly (readonly [string, () => string])[] = [
  ['[fF][dD]', () => pick(['fd12:3456:789a::/48', 'fd00::/64'])],
  ['25[0-5]', () => `10.${below(256)}.0.0/16`],
  ['[0-9]{1,5}', () => pick(['22', '80-90'])],
  ['^(?!', () => (random.next() < 0.6 ? pick(names) : `n-${below(1_000)}`)],
]
const anyText = () => pick(['x', 'text with spaces', 'a'.repeat(60)])

function validText({ format = '', pattern = '' }: Json): string {
  const known = patterns.find(([part]) => String(pattern).includes(part))
  return (formats[format] ?? known?.[1] ?? anyText)()
}

/** The same value with something odd in one place. */
function broken(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random.next() < 0.1) return pick(odd)
  if (Array.isArray(value)) {
    return value.length === 0 ? pick(odd) : value.with(below(value.length), broken(pick(value)))
  }
  const keys = Object.keys(value)
  const key = keys.length === 0 ? 'more' : pick(keys)
  const { [key]: field, ...others } = value as Json
  return random.next() < 0.2 ? others : { ...others, [key]: broken(field) }
}

function makeRequest(url: string, entry: Json, isBroken: boolean) {
  const spoil = (text: string, odds: readonly string[]) =>
    isBroken && random.next() < 0.2 ? pick(odds) : text
  const parameters: readonly Json[] = entry['parameters'] ?? []
  const path = parameters
    .filter((parameter) => parameter['in'] === 'path')
    .reduce(
      (whole, { name, schema }) =>
        whole.replace(`{${name}}`, spoil(String(valid(schema)), oddText.slice(1))),
      url,
    )
  const query = parameters
    .filter((parameter) => parameter['in'] === 'query' && random.next() < 0.3)
    .map(({ name, schema }) => `${name}=${spoil(String(valid(schema)), oddText)}`)
  const whole = query.length === 0 ? path : `${path}?${query.join('&')}`
  const [content] = Object.entries<Json>(entry['requestBody']?.content ?? {})
  if (content === undefined) return { url: whole, headers: {}, payload: '' }
  const [type, { schema }] = content
  const body = isBroken ? broken(valid(schema)) : valid(schema)
  return { url: whole, headers: { 'content-type': type }, payload: written(type, body) }
}

function written(type: string, body: unknown): string {
  if (type === 'application/json') {
    const text = JSON.stringify(body)
    return random.next() < 0.05 ? text.slice(0, below(text.length)) : text
  }
  if (typeof body !== 'object' || body === null) return String(body)
  return new URLSearchParams(
    Object.entries(body).map(([key, value]): [string, string] => [key, String(value)]),
  ).toString()
}

type Answer = Awaited<ReturnType<TestNexus['raw']>>

/** Why an answer is none that the document has; null when it is. */
function answerProblem(operation: Operation, answer: Answer): string | null {
  if (answer.status >= 400) return errorProblem(operation, answer)
  const { reply, status } = operation
  if (reply === 'free' || reply === 'websocket') return null
  if (answer.status !== status) return `status ${answer.status} is not of the document`
  if (reply === 'nothing') return answer.text === '' ? null : 'a body where none belongs'
  if (reply === 'redirect') return answer.headers['location'] === undefined ? 'no location' : null
  const problem = problemOf(reply, answer.json)
  return problem === null ? null : `${problem.pointer}: ${problem.words}`
}

function errorProblem({ reply }: Operation, answer: Answer): string | null {
  // The device flow has errors of its own form (RFC 6749 §5.2).
  if (reply === 'free' && typeof answer.json?.error === 'string') return null
  const problem = problemOf(errorBody, answer.json)
  if (problem !== null) return `the error body is none: ${problem.words}`
  return answer.text.includes('\n  "') ? null : 'the error body is not pretty-printed'
}

test(`answers to generated requests are what the document promises (seed ${seed})`, async (context) => {
  const seen = new Map<number, number>()
  for (let round = 0; round < rounds; round += 1) {
    for (const { id, operation } of routes) {
      const entry = document['paths'][operation.path][operation.method.toLowerCase()]
      const made = makeRequest(operation.path, entry, round % 3 !== 0)
      const request = { method: operation.method, ...made }
      const headers = {
        ...made.headers,
        authorization: 'Bearer oxide-spoof-001de000-05e4-4000-8000-000000004007',
      }
      const answer = await nexus.raw({ ...request, headers })
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1)
      const what = `${id}: ${operation.method} ${made.url.slice(0, 300)} ${made.payload.slice(0, 2_000)}`
      const isByDesign = answer.status === 503 && unavailable.has(id)
      assert.ok(answer.status < 500 || isByDesign, `${what}: ${answer.status} ${answer.text}`)
      assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/)
      const problem = answerProblem(operation, answer)
      assert.equal(problem, null, `${what}: ${answer.status} ${answer.text.slice(0, 2_000)}`)
    }
  }
  const counts = [...seen].toSorted(([a], [b]) => a - b)
  context.diagnostic(counts.map(([status, count]) => `${status}: ${count}`).join(', '))
  // Requests that never get past the parser would prove little.
  assert.ok((seen.get(200) ?? 0) > rounds * 5, 'hardly any request succeeded')
})
