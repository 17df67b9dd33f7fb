/** What holds for every endpoint that is there, whichever it is. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { routes as implemented } from '#actors/nexus/routes.ts'
import { privileged, TestNexus } from './kit.ts'

const routes = implemented.map(({ operation }) => operation)
/** What asks for credentials, and so says who nobody is. */
const guarded = routes.filter(({ access }) => access === 'user')

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
})
after(async () => {
  await nexus.stop()
})

const id = '11111111-1111-4111-8111-111111111111'
/** The route's path with something in the place of every parameter. */
const pathOf = (path: string, name: string) =>
  path.replaceAll(/\{([^}]+)\}/g, (_whole, parameter: string) => {
    // Metrics are named by the document itself.
    if (parameter === 'metric_name') return 'read'
    return parameter.endsWith('id') ? id : name
  })
const json = { 'content-type': 'application/json' }
const bearer = { authorization: `Bearer ${privileged}` }
const withBody = routes.filter(
  ({ body, body_type }) => body !== null && body_type === 'application/json',
)
const called = ({ method, path }: (typeof routes)[number]) => `${method} ${path}`

test('without credentials it is 401, unless its request could not even be read', async () => {
  for (const route of guarded) {
    const url = pathOf(route.path, 'ghost')
    for (const headers of [{}, { authorization: 'Bearer oxide-spoof-' }]) {
      const answer = await nexus.raw({ method: route.method, url, headers })
      assert.equal(answer.status, route.body === null ? 401 : 400, called(route))
      assert.equal(answer.json.error_code, route.body === null ? 'Unauthorized' : undefined)
      assert.equal(answer.json.request_id, answer.headers['x-request-id'])
    }
  }
})

test('a name or id that nobody has is 404 and named', async () => {
  const looked = guarded.filter(({ path, body }) => path.includes('{') && body === null)
  assert.ok(looked.length > 20)
  for (const route of looked) {
    const query = route.path.endsWith('/serial-console') ? '?from_start=0' : ''
    const answer = await nexus.call(route.method, `${pathOf(route.path, 'ghost')}${query}`)
    assert.equal(answer.status, 404, called(route))
    assert.match(answer.json.message, /^not found: [a-z-]+ with (name "ghost"|id "1{8}-.*")$/)
  }
})

test('a name that cannot be one is 400 before anything is looked up', async () => {
  // Roles are named otherwise: fleet.viewer.
  const byName = routes.filter(({ path }) => /(?<!role)_name\}/.test(path))
  for (const route of byName) {
    const answer = await nexus.call(route.method, pathOf(route.path, 'No%20Name'), {})
    assert.equal(answer.status, 400, called(route))
    assert.match(answer.json.message, /^bad parameter in URL path: name must begin/)
  }
})

for (const [what, payload, message] of [
  ['nothing', '', /^unable to parse JSON body: EOF while parsing/],
  ['half an object', '{"name":"a"', /^unable to parse JSON body: /],
  ['a list', '[1]', /^unable to parse JSON body: invalid type: sequence/],
  ['text', '"a"', /^unable to parse JSON body: invalid type: string "a"/],
  ['more than a MiB', `{"a":"${'x'.repeat(1_048_576)}"}`, /exceeded maximum size of 1048576 bytes/],
] as const) {
  test(`of every body: ${what} is 400 and says so`, async () => {
    assert.ok(withBody.length > 10)
    for (const route of withBody) {
      const answer = await nexus.raw({
        method: route.method,
        url: pathOf(route.path, 'ghost'),
        headers: { ...json, ...bearer },
        payload,
      })
      assert.equal(answer.status, 400, called(route))
      assert.match(answer.json.message, message)
    }
  })
}

test('of every body another content type is refused by name', async () => {
  for (const route of withBody) {
    const answer = await nexus.raw({
      method: route.method,
      url: pathOf(route.path, 'ghost'),
      headers: { ...bearer, 'content-type': 'text/plain' },
      payload: '{}',
    })
    assert.equal(answer.json.message, 'expected content type "application/json", got "text/plain"')
    assert.equal(answer.status, 400, called(route))
  }
})
