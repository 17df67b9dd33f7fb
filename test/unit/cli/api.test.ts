import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fakeApi, oxide, refused, scratch } from './kit.ts'

test('api prints JSON with sorted keys; the leading slash may be left out', async (t) => {
  const me = { id: 'i', display_name: 'privileged', silo_id: 's' }
  const api = await fakeApi(t, { 'GET /session/me': () => ({ status: 200, body: me }) })
  const expected = '{\n  "display_name": "privileged",\n  "id": "i",\n  "silo_id": "s"\n}\n'
  for (const endpoint of ['/session/me', 'session/me']) {
    const ran = await oxide(['api', endpoint], { OXIDE_HOST: api.host })
    assert.deepEqual(ran, { code: 0, stdout: expected, stderr: '' })
  }
  assert.equal(api.asked[0]?.headers.authorization, undefined)
})

test('api sends fields as a JSON body with POST', async (t) => {
  const api = await fakeApi(t, { 'POST /x': () => ({ status: 201, body: {} }) })
  const file = join(scratch(t), 'text')
  writeFileSync(file, 'from a file')
  const fields = ['-f', 'name=10', '-F', 'n=10', '-F', 'b=true', '-F', 'z=null']
  const ran = await oxide(
    ['api', '/x', ...fields, '-F', `t=@${file}`, '-F', 'in=@-'],
    { OXIDE_HOST: api.host },
    'typed',
  )
  assert.deepEqual(ran, { code: 0, stdout: '{}\n', stderr: '' })
  assert.deepEqual(JSON.parse(api.asked[0]?.body ?? ''), {
    name: '10',
    n: 10,
    b: true,
    z: null,
    t: 'from a file',
    in: 'typed',
  })
})

test('api --input sends a body as it is, and fields as the query', async (t) => {
  const api = await fakeApi(t, { 'POST /x': () => ({ status: 204 }) })
  const body = '{ "any" : "spelling" }\n'
  const args = ['api', '/x?a=1', '--method', 'POST', '--input', '-', '-f', 'b=2']
  const ran = await oxide(args, { OXIDE_HOST: api.host }, body)
  assert.deepEqual(ran, { code: 0, stdout: '', stderr: '' })
  assert.equal(api.asked[0]?.body, body)
  assert.equal(api.asked[0]?.url, '/x?a=1&b=2')
  assert.equal(api.asked[0]?.headers['content-type'], 'application/json')
})

test('api shows a refusal as its status and reason twice, and the message only to DEBUG', async (t) => {
  const api = await fakeApi(t, {
    'GET /x': () => refused(400, 'InvalidRequest', 'because of this'),
  })
  const ran = await oxide(['api', '/x'], { OXIDE_HOST: api.host })
  assert.deepEqual(ran, { code: 1, stdout: '', stderr: '400 Bad Request Bad Request\n' })
  const debug = await oxide(['api', '/x'], { OXIDE_HOST: api.host, DEBUG: '1' })
  assert.match(debug.stderr, /because of this/)
})

test('api -H and -i: headers in and out', async (t) => {
  const api = await fakeApi(t, {
    'GET /x': () => ({ status: 200, body: { a: 1 }, headers: { 'x-answer': 'yes' } }),
  })
  const own = ['-H', 'X-Own: 1', '-H', 'Authorization:Bearer other']
  const env = { OXIDE_HOST: api.host, OXIDE_TOKEN: 'mine' }
  const ran = await oxide(['api', '/x', ...own, '-i'], env)
  assert.match(
    ran.stdout,
    /^HTTP\/1\.1 200 OK\n(.+\n)*x-answer: yes\n(.+\n)*\n\{\n {2}"a": 1\n\}\n$/,
  )
  assert.equal(api.asked[0]?.headers['x-own'], '1')
  assert.equal(api.asked[0]?.headers.authorization, 'Bearer other')
})

test('api --paginate prints one array of all pages', async (t) => {
  const pages: Readonly<Record<string, unknown>> = {
    '': { items: [2, 1], next_page: 'b' },
    b: { items: [3], next_page: 'c' },
    c: { items: [], next_page: null },
  }
  const api = await fakeApi(t, {
    'GET /x': ({ query }) => ({ status: 200, body: pages[query.get('page_token') ?? ''] }),
    'GET /one': () => ({ status: 200, body: { a: 1 } }),
  })
  const env = { OXIDE_HOST: api.host }
  const ran = await oxide(['api', '/x?limit=2', '--paginate'], env)
  assert.equal(ran.stdout, '[\n  2,\n  1,\n  3\n]\n')
  assert.equal(api.asked[1]?.url, '/x?limit=2&page_token=b')
  assert.equal((await oxide(['api', '/one', '--paginate'], env)).stdout, '{\n  "a": 1\n}\n')
})

test('api refuses what makes no sense before it asks', async (t) => {
  const api = await fakeApi(t, {})
  const cases: readonly (readonly [readonly string[], string, number])[] = [
    [['-X', 'POST', '--paginate'], '--paginate is for GET requests, not POST', 2],
    [['-X', 'GET', '--paginate', '--input', '-'], '--paginate and --input exclude each other', 2],
    [['-f', 'nonsense'], 'field "nonsense" must have the form key=value', 2],
    [['-H', 'nonsense'], 'header "nonsense" must have the form Name:value', 2],
  ]
  for (const [args, sentence, code] of cases) {
    const ran = await oxide(['api', '/x', ...args], { OXIDE_HOST: api.host })
    assert.deepEqual(ran, { code, stdout: '', stderr: `${sentence}\n` })
  }
  const whole = await oxide(['api', 'http://elsewhere/x'], { OXIDE_HOST: api.host })
  assert.equal(whole.code, 2)
  const missing = await oxide(['api', '/x', '--input', '/nonexistent/f'], { OXIDE_HOST: api.host })
  assert.equal(missing.code, 1)
  assert.deepEqual(api.asked, [])
})

test('api prints what is not JSON as it is', async (t) => {
  const api = await fakeApi(t, {
    'GET /text': () => ({ status: 200, body: 'plain words' }),
    'GET /null': () => ({ status: 200, body: 'null' }),
  })
  const env = { OXIDE_HOST: api.host }
  assert.equal((await oxide(['api', 'text'], env)).stdout, 'plain words\n')
  assert.equal((await oxide(['api', 'null'], env)).stdout, 'null\n')
})
