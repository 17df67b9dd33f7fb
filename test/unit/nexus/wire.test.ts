/** What no HTTP library would send: bytes on a socket, and what comes back. */
import assert from 'node:assert/strict'
import { connect, type AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { makeServer } from '#actors/nexus/api/server.ts'
import { routes } from '#actors/nexus/routes.ts'
import { privileged, TestNexus } from './kit.ts'

let nexus: TestNexus
let server: TestNexus['server']
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  server = makeServer({ services: nexus.services, routes, request_ms_max: 1_000 })
  await server.listen({ host: '127.0.0.1', port: 0 })
})
after(async () => {
  await server.close()
  await nexus.stop()
})

const auth = `authorization: Bearer ${privileged}`
const head = (line: string, ...more: string[]) =>
  [`${line} HTTP/1.1`, 'host: x', auth, ...more, '', ''].join('\r\n')
const last = 'connection: close'

interface Seen {
  readonly status: number
  readonly headers: string
  readonly body: any
}

/** Sends these bytes, half-closes if told to, and reads until the server ends the connection. */
async function exchange(bytes: string | Buffer, halfClose = false): Promise<readonly Seen[]> {
  const { port } = server.server.address() as AddressInfo
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (more: string) => {
    text += more
  })
  socket.on('end', () => {
    socket.end()
    resolve(text)
  })
  socket.on('error', reject)
  socket.write(bytes)
  if (halfClose) socket.end()
  return parse(await promise)
}

function parse(text: string): readonly Seen[] {
  const seen: Seen[] = []
  let rest = text
  while (rest !== '') {
    const [headers = '', ...others] = rest.split('\r\n\r\n')
    const length = Number(/content-length: (\d+)/i.exec(headers)?.[1] ?? 0)
    const following = others.join('\r\n\r\n')
    const body = following.slice(0, length)
    seen.push({
      status: Number(headers.split(' ')[1]),
      headers,
      body: body === '' ? null : JSON.parse(body),
    })
    rest = following.slice(length)
  }
  return seen
}

async function refused(bytes: string | Buffer, status: number, message: RegExp): Promise<void> {
  const [seen] = await exchange(bytes)
  assert.equal(seen?.status, status)
  assert.match(seen.body.message, message)
  assert.match(seen.headers, new RegExp(`x-request-id: ${seen.body.request_id}`, 'i'))
  assert.doesNotMatch(seen.body.message, /\n|\.ts\b|node_modules/)
}

test('bytes that are no HTTP get a 400 that says so', async () => {
  await refused('\u0000\u0001\u0002 nonsense\r\n\r\n', 400, /^malformed HTTP request: /)
  await refused('BREW /pot HTTP/1.1\r\nhost: x\r\n\r\n', 400, /^malformed HTTP request: /)
  await refused(head('GET /session/me', 'bad header'), 400, /^malformed HTTP request: /)
  await refused(head('GET /session/me', 'content-length: 5', 'content-length: 6'), 400, /malformed/)
  await refused(
    head('POST /organizations', 'content-length: 5', 'transfer-encoding: chunked'),
    400,
    /malformed/,
  )
})

test('headers without end are a 431', async () => {
  await refused(head('GET /session/me', `x-long: ${'x'.repeat(20_000)}`), 431, /too large/)
  await refused(head(`GET /organizations/${'a'.repeat(20_000)}`), 431, /too large/)
})

test('a client that is too slow with headers or body gets a 408', async () => {
  await refused('GET /session/me HTTP/1.1\r\nhost: x\r\n', 408, /not complete in time/)
  const body = head('POST /organizations', 'content-type: application/json', 'content-length: 50')
  await refused(`${body}{"name":`, 408, /not complete in time/)
})

test('requests that are sent at once are answered in order', async () => {
  const seen = await exchange(
    head('GET /session/me') +
      head('GET /organizations/nobody') +
      head('DELETE /session/me') +
      head('GET /organizations/myorg', last),
  )
  assert.deepEqual(
    seen.map(({ status }) => status),
    [200, 404, 405, 200],
  )
})

test('a client that has closed its side still gets its answer', async () => {
  const seen = await exchange(head('GET /organizations/myorg', last), true)
  assert.equal(seen[0]?.status, 200)
  assert.equal(seen[0].body.name, 'myorg')
})

test('a client that closes in the middle of a body hurts nobody', async () => {
  await exchange(head('POST /organizations', 'content-length: 50') + '{"name":', true)
  const [seen] = await exchange(head('GET /session/me', last))
  assert.equal(seen?.status, 200)
})

test('a body beyond a MiB is refused before it has come, and the connection ends', async () => {
  const type = 'content-type: application/json'
  const long = head('POST /organizations', type, 'content-length: 99999999')
  await refused(long, 400, /exceeded maximum size of 1048576 bytes/)
  const asked = head(
    'POST /organizations',
    type,
    'content-length: 99999999',
    'expect: 100-continue',
  )
  await refused(asked, 400, /exceeded maximum size of 1048576 bytes/)
  const chunk = `${(65_536).toString(16)}\r\n${' '.repeat(65_536)}\r\n`
  const chunked = head('POST /organizations', type, 'transfer-encoding: chunked')
  await refused(chunked + chunk.repeat(17), 400, /exceeded maximum size of 1048576 bytes/)
})

test('paths that try to be others are names that are wrong', async () => {
  for (const [path, message] of [
    ['/organizations/a%2fb', /^bad parameter in URL path: name contains invalid character: "\/"/],
    ['/organizations/a%00', /^bad parameter in URL path: name contains invalid character/],
    ['/organizations/%c0%ae', /^bad parameter in URL path: invalid percent-encoding/],
    ['/organizations/%', /^bad parameter in URL path: invalid percent-encoding/],
    ['/organizations/%ff', /^bad parameter in URL path: invalid percent-encoding/],
    ['/organizations/..', /^dot-segments are not permitted/],
    ['/organizations/%2E%2e/myorg', /^dot-segments are not permitted/],
    ['/organizations/./myorg', /^dot-segments are not permitted/],
    [`/organizations/${'a'.repeat(4_000)}`, /name may contain at most 63 characters/],
    ['/organizations/a11d1111-1111-4111-8111-111111111111', /name cannot be a UUID/],
    ['/by-id/projects/..%2f..', /UUID parsing failed/],
  ] as const) {
    await refused(head(`GET ${path}`, last), 400, message)
  }
})

test('slashes that are repeated or trail mean nothing, also encoded questions do', async () => {
  for (const path of [
    '//organizations//myorg///',
    '/organizations/myorg/?x=//',
    '/organizations/myorg?',
  ]) {
    const [seen] = await exchange(head(`GET ${path}`, last))
    assert.equal(seen?.status, 200, path)
  }
})

test('other methods are 405 on paths that exist and 404 elsewhere', async () => {
  for (const method of ['PATCH', 'OPTIONS', 'PROPFIND', 'TRACE', 'DELETE']) {
    const [known] = await exchange(head(`${method} /session/me`, last))
    assert.equal(known?.status, 405, method)
    const [unknown] = await exchange(head(`${method} /nowhere`, last))
    assert.equal(unknown?.status, 404, method)
  }
  const [seen] = await exchange(head('HEAD /session/me', last))
  assert.equal(seen?.status, 405)
})

test('a content type that is none is refused by its name', async () => {
  for (const type of ['foo', 'application/', '/json', 'text/html', 'application/jsonx']) {
    const body = '{"name":"a","description":""}'
    const bytes = head(
      'POST /organizations',
      last,
      `content-type: ${type}`,
      `content-length: ${body.length}`,
    )
    const [seen] = await exchange(bytes + body)
    assert.equal(seen?.status, 400)
    assert.equal(seen.body.message, `expected content type "application/json", got "${type}"`)
  }
})
