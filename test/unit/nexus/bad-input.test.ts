/** Whatever a client sends, the answer is a 4xx that names the fault. */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, test } from 'node:test'
import { seededRandom } from '#runtime/random.ts'
import { privileged, TestNexus } from './kit.ts'

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
})
after(async () => {
  await nexus.stop()
})

const json = { authorization: `Bearer ${privileged}`, 'content-type': 'application/json' }
const post = async (payload: string, headers: Record<string, string> = json) =>
  await nexus.raw({ method: 'POST', url: '/organizations', headers, payload })

for (const [what, payload, message] of [
  ['no JSON', '{', /^unable to parse JSON body: /],
  ['an empty body', '', /^unable to parse JSON body: EOF while parsing/],
  ['a list', '[]', /^unable to parse JSON body: invalid type: sequence/],
  ['a missing field', '{"name":"a"}', /^unable to parse JSON body: missing field `description`/],
  ['a number for a name', '{"name":1,"description":""}', /invalid type: number `1`.*`name`/],
  [
    'a capital',
    '{"name":"MyOrg","description":""}',
    /name must begin with an ASCII lowercase character at line 1 column 15$/,
  ],
  [
    'an underscore',
    '{"name":"a_b","description":""}',
    /name contains invalid character: "_" \(allowed characters are lowercase ASCII, digits, and "-"\)/,
  ],
  ['a trailing dash', '{"name":"ab-","description":""}', /name cannot end with "-"/],
  ['no name at all', '{"name":"","description":""}', /name requires at least one character/],
  [
    '64 characters',
    `{"name":"${'a'.repeat(64)}","description":""}`,
    /name may contain at most 63 characters/,
  ],
  [
    'a UUID',
    '{"name":"a11d1111-1111-4111-8111-111111111111","description":""}',
    /name cannot be a UUID to avoid ambiguity with IDs/,
  ],
  [
    'an endless description',
    `{"name":"a","description":"${'x'.repeat(600)}"}`,
    /description may contain at most 512 characters at line 1 column 628$/,
  ],
  ['odd unicode', '{"name":"\\ud800","description":""}', /lone leading surrogate in hex escape/],
  ['deep nesting', '['.repeat(20_000) + ']'.repeat(20_000), /^unable to parse JSON body: /],
] as const) {
  test(`${what} is refused by name`, async () => {
    const answer = await post(payload)
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, message)
    assert.equal(answer.json.error_code, undefined)
    assert.equal(answer.json.request_id, answer.headers['x-request-id'])
  })
}

const diskFrom = async (disk_source: unknown) =>
  (
    await nexus.call('POST', '/organizations/myorg/projects/myproj/disks', {
      name: 'd',
      description: '',
      size: 2 ** 30,
      disk_source,
    })
  ).json.message

test('of alternatives the one that is meant is spoken of', async () => {
  for (const [source, message] of [
    [
      { type: 'blank', block_size: 513 },
      /number `513`, expected one of `512`, `2048`, `4096` for field `block_size`/,
    ],
    [{ type: 'blank' }, /missing field `block_size`/],
    [
      { type: 'nope' },
      /unknown variant `nope`, expected one of `blank`, `snapshot`, `image`, `global_image`/,
    ],
    [{ type: 'global_image', image_id: 'x' }, /UUID parsing failed: invalid value "x" at line 1/],
    [{ type: 'global_image' }, /missing field `image_id`/],
    [{}, /missing field `type`/],
    [5, /invalid type: number `5`, expected object for field `disk_source`/],
  ] as const) {
    assert.match(await diskFrom(source), message)
  }
})

test('a body is read before credentials are looked at', async () => {
  const answer = await nexus.call('POST', '/organizations', {}, null)
  assert.equal(answer.status, 400)
})

test('another content type and a body beyond a MiB are 400', async () => {
  const type = await post('{}', { ...json, 'content-type': 'text/plain' })
  assert.equal(type.status, 400)
  assert.equal(type.json.message, 'expected content type "application/json", got "text/plain"')
  const large = await post(`{"name":"a","description":"${'x'.repeat(1_100_000)}"}`)
  assert.equal(large.status, 400)
  assert.match(large.json.message, /exceeded maximum size of 1048576 bytes/)
})

test('unknown fields are ignored', async () => {
  const answer = await post('{"name":"extra","description":"","more":{"a":1}}')
  assert.equal(answer.status, 201)
})

test('paths: slashes do not matter, dots and bad names do', async () => {
  const get = async (url: string) => await nexus.call('GET', url)
  assert.equal((await get('//organizations///myorg/')).status, 200)
  assert.equal((await get('/nowhere')).status, 404)
  assert.equal((await get('/nowhere')).json.message, 'Not Found')
  assert.equal((await nexus.call('PUT', '/session/me')).status, 405)
  const bad = await get('/organizations/MyOrg')
  assert.equal(bad.status, 400)
  assert.match(bad.json.message, /^bad parameter in URL path: name must begin/)
  assert.match((await get('/by-id/disks/xyz')).json.message, /^bad parameter in URL path: UUID/)
})

test('dot segments are refused as they come over the wire', async () => {
  const address = await nexus.server.listen({ host: '127.0.0.1', port: 0 })
  for (const path of [
    '/organizations/../session/me',
    '/organizations/%2e%2e/x',
    '/./organizations',
  ]) {
    const { promise, resolve } = Promise.withResolvers<number | undefined>()
    const asked = request(address, { path, headers: json }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
    asked.end()
    assert.equal(await promise, 400, path)
  }
})

test('pages: limits and tokens are checked, and lead through all items once', async () => {
  for (let at = 0; at < 25; at += 1) {
    await nexus.ok('POST', '/organizations', { name: `page-${at}`, description: '' })
  }
  const seen: string[] = []
  let token = ''
  for (;;) {
    const page = await nexus.ok('GET', `/organizations?limit=10${token}`)
    for (const item of page.items) seen.push(item.name)
    if (page.next_page === null) break
    token = `&page_token=${page.next_page}`
  }
  assert.equal(seen.length, 27)
  assert.deepEqual(seen, seen.toSorted())
  const down = await nexus.ok('GET', '/organizations?sort_by=name_descending&limit=3')
  assert.deepEqual(
    down.items.map((item: { name: string }) => item.name),
    seen.toReversed().slice(0, 3),
  )
  for (const [query, message] of [
    [
      'limit=0',
      /^unable to parse query string: invalid value: number `0`: must be >= 1 for field `limit`/,
    ],
    ['limit=', /^unable to parse query string: cannot parse integer from empty string/],
    ['limit=4294967296', /expected a non-zero u32/],
    ['limit=5&limit=6', /duplicate field `limit`/],
    ['sort_by=color', /unknown variant `color`/],
    ['page_token=xyz', /failed to parse pagination token: corrupted token/],
    [`page_token=${'a'.repeat(513)}`, /failed to parse pagination token: too large/],
  ] as const) {
    const answer = await nexus.call('GET', `/organizations?${query}`)
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, message)
  }
  assert.equal((await nexus.call('GET', '/organizations?limit=99999')).status, 200)
})

test('random values in random fields of every creating request are never a 5xx', async () => {
  const random = seededRandom(20_261_124)
  const odd: readonly unknown[] = [
    null,
    true,
    -1,
    0,
    1.5,
    2 ** 60,
    '',
    'a',
    'ü',
    '\u0000',
    [],
    {},
    [[]],
    { type: 'x' },
    'x'.repeat(5_000),
    Number.MAX_SAFE_INTEGER,
    '172.30.0.5',
    '::1',
    '999.1.1.1',
  ]
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next() * list.length)] as T
  const project = '/organizations/myorg/projects/myproj'
  const requests: ReadonlyArray<readonly [string, Record<string, unknown>]> = [
    ['/organizations', { name: 'n', description: '' }],
    ['/system/ip-pools', { name: 'n', description: '', organization: null, project: null }],
    ['/system/ip-pools/mypool/ranges/add', { first: '10.0.0.1', last: '10.0.0.2' }],
    [
      '/system/images',
      {
        name: 'n',
        description: '',
        block_size: 512,
        distribution: { name: 'a', version: '1' },
        source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
      },
    ],
    [
      `${project}/disks`,
      {
        name: 'n',
        description: '',
        size: 2 ** 30,
        disk_source: { type: 'blank', block_size: 512 },
      },
    ],
    [
      `${project}/instances`,
      {
        name: 'n',
        description: '',
        hostname: 'h',
        memory: 2 ** 30,
        ncpus: 1,
        disks: [],
        external_ips: [],
        network_interfaces: { type: 'default' },
        user_data: '',
        start: false,
      },
    ],
    ['/session/me/sshkeys', { name: 'n', description: '', public_key: 'k' }],
    [`${project}/instances/nobody/disks/attach`, { name: 'n' }],
    ['/device/confirm', { user_code: 'x' }],
    ['/login', { username: 'x' }],
  ]
  for (let turn = 0; turn < 1_500; turn += 1) {
    const [url, body] = pick(requests)
    const field = pick(Object.keys(body))
    const answer = await nexus.call('POST', url, { ...body, [field]: pick(odd) })
    assert.ok(answer.status < 500, `${url} ${field}: ${answer.status} ${answer.text}`)
  }
})
