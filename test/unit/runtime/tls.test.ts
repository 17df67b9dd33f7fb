/** Connections between hosts: who gets in, who does not, and what that costs the others. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createConnection, createServer, type AddressInfo, type Server, Socket } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  connect,
  createServer as createTlsServer,
  type ConnectionOptions,
  type TLSSocket,
} from 'node:tls'
import { limits } from '#config/limits.ts'
import type { TlsFiles } from '#config/tls.ts'
import { connectTcp } from '#native/linux/libc.sys.ts'
import { manualClock, systemClock, type Clock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { makeKey, makeSerial, signAuthority, signHost } from '#runtime/tls/authority.ts'
import { readCredentials, type Credentials } from '#runtime/tls/credentials.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { SecureListener } from '#runtime/tls/listener.ts'
import { dialSecurely, handshakeFault, mutual, peerIdentity } from '#runtime/tls/secure.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { day_ms, openssl, read, scratch, TestAuthority } from '#test/kit/certificates.ts'
import { until } from '#test/kit/rack.ts'
import { ok } from '#runtime/result.ts'

const cleanup: (() => void)[] = []
after(() => {
  for (const end of cleanup.toReversed()) end()
})
const clock = systemClock
/** Whom the Nexus of these tests knows. */
const peers = ['sled-1', 'sled-9']

async function credentialsOf(files: TlsFiles, host: string): Promise<Credentials> {
  const found = await readCredentials(files, host, clock.now())
  assert.ok(found.ok, found.ok ? '' : found.detail)
  return found.value
}

interface Served {
  readonly port: number
  readonly files: TlsFiles
  readonly identity: Identity
  readonly listener: SecureListener
  /** Who got in, in order. */
  readonly hosts: string[]
  readonly sockets: TLSSocket[]
  readonly lines: LogLine[]
  /** The reason of the last refusal. */
  readonly refusal: () => string
}

/** Nexus of a rack, which echoes what hosts send it. */
async function serve(rack: TestAuthority, given: { clock?: Clock } = {}): Promise<Served> {
  const files = await rack.host('nexus-1')
  const lines: LogLine[] = []
  const common = { clock: given.clock ?? clock, log: memoryLog(lines) }
  const opened = await Identity.open({ ...common, files, host: 'nexus-1' })
  assert.ok(opened.ok, opened.ok ? '' : opened.detail)
  const identity = opened.value
  const [hosts, sockets]: [string[], TLSSocket[]] = [[], []]
  const listener = new SecureListener({
    ...common,
    identity,
    peers,
    onHost: (socket, host) => {
      hosts.push(host)
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.pipe(socket)
    },
  })
  const address = await listener.listen({ host: '127.0.0.1', port: 0 })
  cleanup.push(() => {
    listener.close()
    identity.close()
    for (const socket of sockets) socket.destroy()
  })
  assert.ok(typeof address === 'object' && address !== null)
  const refusal = () => {
    const line = lines.findLast(({ message }) => message === 'a connection was refused')
    return typeof line?.fields['why'] === 'string' ? line.fields['why'] : ''
  }
  return { port: address.port, files, identity, listener, hosts, sockets, lines, refusal }
}

const dialRaw = (port: number): Socket => createConnection({ host: '127.0.0.1', port })

/** Dials as a host does, and says what came of it: what was echoed, or why not. */
async function dial(
  credentials: Credentials,
  to: { readonly port: number },
  expected = 'nexus-1',
): Promise<string> {
  const socket = dialSecurely(dialRaw(to.port), expected, { credentials, clock })
  cleanup.push(() => {
    socket.destroy()
  })
  return await talk(socket)
}

/** Sends a word and waits for its echo, or for the end. */
async function talk(socket: Socket): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  socket.once('data', (chunk: Buffer) => {
    resolve(chunk.toString())
  })
  socket.once('error', (error) => {
    resolve(handshakeFault(error))
  })
  socket.once('close', () => {
    resolve('closed')
  })
  socket.write('hello')
  return await promise
}

/** A client that TLS is told everything by hand. */
async function dialWith(port: number, options: ConnectionOptions): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ...options, rejectUnauthorized: false })
  cleanup.push(() => {
    socket.destroy()
  })
  return await talk(socket)
}

/** Fails unless a host that is as it should be gets in and is answered. */
async function assertServes(rack: TestAuthority, server: Served): Promise<void> {
  const credentials = await credentialsOf(await rack.host('sled-9'), 'sled-9')
  assert.equal(await dial(credentials, server), 'hello')
  assert.equal(server.hosts.at(-1), 'sled-9')
}

test('two hosts of a rack know each other by their ids', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const socket = dialSecurely(dialRaw(server.port), 'nexus-1', { credentials, clock })
  assert.equal(await talk(socket), 'hello')
  assert.deepEqual(server.hosts, ['sled-1'])
  assert.equal(socket.getProtocol(), 'TLSv1.3')
  assert.deepEqual(peerIdentity(socket, credentials, clock.now()), ok('nexus-1'))
  const [accepted] = server.sockets
  assert.ok(accepted !== undefined)
  const seen = peerIdentity(accepted, server.identity.credentials, clock.now())
  assert.deepEqual(seen, ok('sled-1'))
  assert.equal(server.listener.waiting, 0)
  socket.destroy()
})

test('a descriptor that still connects is wrapped as any socket', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const fd = connectTcp('127.0.0.1', server.port, null)
  const raw = new Socket({ fd, readable: true, writable: true })
  const socket = dialSecurely(raw, 'nexus-1', { credentials, clock })
  assert.equal(await talk(socket), 'hello')
  socket.destroy()
})

test('a host is reached over a unix socket too', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const path = join(scratch(), 'wire.sock')
  const listener = new SecureListener({
    identity: server.identity,
    clock,
    log: memoryLog([]),
    peers,
    onHost: (socket) => {
      socket.on('error', () => undefined)
      socket.pipe(socket)
      server.sockets.push(socket)
    },
  })
  await listener.listen({ path })
  cleanup.push(() => {
    listener.close()
  })
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const socket = dialSecurely(createConnection({ path }), 'nexus-1', { credentials, clock })
  assert.equal(await talk(socket), 'hello')
  socket.destroy()
})

test('nobody there is an error of the socket, for a descriptor too', async () => {
  const rack = new TestAuthority()
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const dialled = [
    () => dialRaw(port),
    () => new Socket({ fd: connectTcp('127.0.0.1', port, null), readable: true, writable: true }),
  ]
  for (const open of dialled) {
    const socket = dialSecurely(open(), 'nexus-1', { credentials, clock })
    assert.match(await talk(socket), /ECONNREFUSED|ended the connection/)
    await until('the socket is gone', 10_000, () => (socket.destroyed ? true : null))
  }
})

/** Waits for the server to have refused somebody for this reason. */
async function refused(server: Served, reason: RegExp): Promise<void> {
  await until(`a refusal`, 10_000, () => (server.refusal() === '' ? null : true))
  assert.match(server.refusal(), reason)
}

test('certificates that do not hold are refused by both ends, with the reason', async () => {
  const rack = new TestAuthority()
  const good = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const key = makeKey()
  const authority = {
    key: read(join(rack.directory, 'authority/key.pem')),
    certificate: good.authority,
  }
  const sign = async (now_ms: number) => {
    const subject = { host: 'nexus-1', key, serial: makeSerial(systemRandom) }
    const certificate = await signHost(authority, subject, { now_ms, life_ms: day_ms, skew_ms: 0 })
    return { key, certificate }
  }
  const validity = { now_ms: clock.now(), life_ms: day_ms, skew_ms: day_ms }
  const byItself = await signAuthority(key, { name: 'nobody', serial: '7f' }, validity)
  const other = await new TestAuthority().host('nexus-1')
  const stranger = { key: read(other.key), certificate: read(other.certificate) }
  const cases: readonly (readonly [string, Pick<Credentials, 'certificate' | 'key'>, RegExp])[] = [
    ['expired', await sign(clock.now() - 2 * day_ms), /certificate has expired/],
    ['not yet valid', await sign(clock.now() + day_ms), /not valid yet/],
    ['of another authority', stranger, /not from this rack's authority/],
    ['signed by itself', { key, certificate: byItself }, /not from this rack's authority/],
  ]
  for (const [what, pair, reason] of cases) {
    const server = await serve(rack)
    assert.notEqual(await dial({ ...good, ...pair }, server), 'hello', what)
    await refused(server, reason)
    assert.deepEqual(server.hosts, [], what)
    await assertServes(rack, server)
    const impostor = await impostorWith({ ...good, ...pair })
    assert.match(await dial(good, impostor), reason, what)
    assert.equal(impostor.received(), '', `${what}: who has not proved itself is told nothing`)
  }
})

test('a revoked host is refused by both ends, without a restart, and its connection is found', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const files = await rack.host('sled-1')
  const revoked = await credentialsOf(files, 'sled-1')
  assert.equal(await dial(revoked, server), 'hello')
  const [open] = server.sockets
  assert.ok(open !== undefined)
  await rack.host('sled-2')
  assert.equal(await rack.revoke('sled-1', ['nexus-1', 'sled-2']), 1)
  const changed: Credentials[] = []
  server.identity.onChange((credentials) => changed.push(credentials))
  assert.ok((await server.identity.reload()).ok)
  assert.equal(changed.length, 1)
  const known = peerIdentity(open, server.identity.credentials, clock.now())
  assert.ok(!known.ok && known.error === 'revoked')
  assert.notEqual(await dial(revoked, server), 'hello')
  await refused(server, /has been revoked/)
  assert.deepEqual(server.hosts, ['sled-1'])
  await assertServes(rack, server)
  const other = await credentialsOf(hostFiles(rack.hostDirectory('sled-2')), 'sled-2')
  const impostor = await impostorWith(revoked)
  assert.match(await dial(other, impostor, 'sled-1'), /has been revoked/)
  assert.equal(impostor.received(), '')
})

test('the files are looked at from time to time, and wrong ones change nothing', async () => {
  const rack = new TestAuthority()
  const moved = manualClock(clock.now())
  const server = await serve(rack, { clock: moved })
  const before = server.identity.credentials
  const look = async (what: string, seen: () => boolean) => {
    await until(what, 10_000, async () => {
      await moved.advance(limits.tls_reload_ms)
      return seen() ? true : null
    })
  }
  const good = read(server.files.certificate)
  writeFileSync(server.files.certificate, 'torn')
  const said = () => server.lines.filter(({ message }) => message === 'certificates')
  await look('the fault is logged', () => said().length > 0)
  assert.match(String(said()[0]?.fields['why']), /cert\.pem is not a certificate/)
  assert.equal(server.identity.credentials, before)
  writeFileSync(server.files.certificate, good)
  await rack.host('sled-1')
  await rack.revoke('sled-1', ['nexus-1'])
  await look('the new list is in force', () => server.identity.credentials.revoked.size === 1)
  assert.equal(said().length, 1, 'the same fault is logged once')
})

test('a session from before a revocation is not resumed', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const options = {
    ...mutual(credentials),
    host: '127.0.0.1',
    port: server.port,
    checkServerIdentity: () => undefined,
  }
  const first = connect(options)
  const sessions: Buffer[] = []
  first.on('session', (session) => sessions.push(session))
  assert.equal(await talk(first), 'hello')
  await until('a session to try', 10_000, () => (sessions.length > 0 ? true : null))
  first.destroy()
  const again = connect({ ...options, session: sessions.at(-1) })
  assert.equal(await talk(again), 'hello')
  assert.equal(again.isSessionReused(), false)
  assert.equal(server.sockets.at(-1)?.isSessionReused(), false)
  again.destroy()
  await rack.revoke('sled-1', ['nexus-1'])
  assert.ok((await server.identity.reload()).ok)
  assert.notEqual(await talk(connect({ ...options, session: sessions.at(-1) })), 'hello')
  await refused(server, /has been revoked/)
})

test('a host of the rack that is not the one that was dialled is told nothing', async () => {
  const rack = new TestAuthority()
  const good = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const other = await credentialsOf(await rack.host('sled-2'), 'sled-2')
  const impostor = await impostorWith(other)
  assert.equal(
    await dial(good, impostor, 'nexus-1'),
    "the peer's certificate is for sled-2, not for nexus-1",
  )
  assert.equal(impostor.received(), '')
})

test('the authority itself, and a certificate that names no host, are no hosts', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const good = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const directory = scratch()
  const [key, csr, certificate] = ['key', 'csr', 'cert'].map((name) => join(directory, name))
  assert.ok(key !== undefined && csr !== undefined && certificate !== undefined)
  writeFileSync(key, makeKey(), { mode: 0o600 })
  openssl('req', '-new', '-key', key, '-subj', '/O=luge/CN=sled-1', '-out', csr)
  const authority = join(rack.directory, 'authority')
  const signed = openssl(
    ...['x509', '-req', '-in', csr, '-days', '1', '-out', certificate],
    ...['-CA', join(authority, 'cert.pem'), '-CAkey', join(authority, 'key.pem')],
  )
  assert.equal(signed.status, 0, signed.output)
  const nameless = { ...good, key: read(key), certificate: read(certificate) }
  assert.notEqual(await dial(nameless, server), 'hello')
  await refused(server, /does not name a host/)
  const second = await serve(rack)
  const itself = { ...good, key: read(join(authority, 'key.pem')), certificate: good.authority }
  assert.notEqual(await dial(itself, second), 'hello')
  await refused(second, /does not name a host|not for this end|not from this rack's authority/)
  assert.deepEqual([...server.hosts, ...second.hosts], [])
})

/** A client that sends bytes and waits for its end. */
const sending = (bytes: string | Uint8Array) => async (port: number) => {
  const socket = dialRaw(port)
  cleanup.push(() => {
    socket.destroy()
  })
  socket.on('error', () => undefined)
  socket.resume()
  socket.write(bytes)
  await once(socket, 'close')
  return 'closed'
}

/** A client of TLS with options of its own. */
const tls = (options: ConnectionOptions) => async (port: number) => await dialWith(port, options)

test('who brings no certificate, another TLS, another language or none is refused', async () => {
  const rack = new TestAuthority()
  const good = mutual(await credentialsOf(await rack.host('sled-1'), 'sled-1'))
  const cases: readonly (readonly [string, (port: number) => Promise<string>, RegExp])[] = [
    ['no certificate', tls({ ALPNProtocols: ['luge/1'] }), /the peer has no certificate/],
    [
      'TLS 1.2',
      tls({ ...good, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }),
      /does not speak TLS 1\.3/,
    ],
    ['no language', tls({ ...good, ALPNProtocols: [] }), /does not speak luge\/1/],
    ['another language', tls({ ...good, ALPNProtocols: ['http/1.1'] }), /does not speak luge\/1/],
    ['HTTP', sending('GET / HTTP/1.1\r\nHost: nexus\r\n\r\n'), /speaks HTTP without TLS/],
    [
      'plain text',
      sending('hello, is this the rack?\n'),
      /does not speak TLS|wrong version|packet length/,
    ],
    ['zeros', sending(new Uint8Array(64 * 1024)), /does not speak TLS|wrong version|packet length/],
    ['a hello that is torn', sending(tornHello), /unexpected|decode|length|bad|alert|message/i],
  ]
  for (const [what, attack, reason] of cases) {
    const server = await serve(rack)
    assert.notEqual(await attack(server.port), 'hello', what)
    await refused(server, reason)
    assert.deepEqual(server.hosts, [], what)
    assert.equal(server.listener.waiting, 0, what)
    await assertServes(rack, server)
  }
})

/** A TLS record that says it holds a ClientHello, with a body that is none. */
const tornHello = Buffer.concat([
  Buffer.from([0x16, 0x03, 0x01, 0x00, 0x24, 0x01, 0x00, 0x00, 0x20]),
  Buffer.alloc(0x20, 0xff),
])

test('noise of any length ends its connection and nothing else', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const attacks = Array.from({ length: 60 }, async (_, round) => {
    const socket = dialRaw(server.port)
    socket.on('error', () => undefined)
    socket.resume()
    const noise = Buffer.from(systemRandom.bytes(1 + round * 37))
    // Half of it begins as TLS does.
    if (round % 2 === 0) Buffer.from([0x16, 0x03, 0x01]).copy(noise)
    socket.end(noise)
    await once(socket, 'close')
  })
  await Promise.all(attacks)
  await until('nobody is left waiting', 10_000, () => (server.listener.waiting === 0 ? true : null))
  assert.deepEqual(server.hosts, [])
  await assertServes(rack, server)
})

test('a handshake that never finishes is ended in time, however busy it looks', async () => {
  const rack = new TestAuthority()
  const moved = manualClock(clock.now())
  const server = await serve(rack, { clock: moved })
  const silent = dialRaw(server.port)
  const dripping = dialRaw(server.port)
  const closed = [once(silent, 'close'), once(dripping, 'close')]
  silent.resume()
  dripping.resume()
  await until('both wait', 10_000, () => (server.listener.waiting === 2 ? true : null))
  await moved.advance(limits.tls_handshake_ms_max - 1)
  // A byte of a record now and then is no progress.
  dripping.write(Buffer.from([0x16]))
  await clock.sleep(20)
  assert.equal(server.listener.waiting, 2)
  await moved.advance(1)
  await Promise.all(closed)
  await refused(server, /a handshake took longer than 3000 ms/)
  assert.equal(server.listener.waiting, 0)
})

test('a server that never answers the handshake is given up in time', async () => {
  const rack = new TestAuthority()
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const mute = createServer((socket) => {
    cleanup.push(() => {
      socket.destroy()
    })
    socket.on('error', () => undefined)
    socket.resume()
  })
  const port = await listening(mute)
  const moved = manualClock()
  const raw = dialRaw(port)
  const socket = dialSecurely(raw, 'nexus-1', { credentials, clock: moved })
  const outcome = talk(socket)
  await once(raw, 'connect')
  await moved.advance(limits.tls_handshake_ms_max)
  assert.equal(await outcome, 'nexus-1 did not finish the TLS handshake within 3000 ms')
})

test('a flood of connections is bounded, and hosts get in meanwhile', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const credentials = await credentialsOf(await rack.host('sled-1'), 'sled-1')
  const flood = new Set<Socket>()
  let most = 0
  let isOver = false
  const attack = () => {
    if (isOver) return
    most = Math.max(most, server.listener.waiting)
    while (flood.size < 300) {
      const socket = dialRaw(server.port)
      flood.add(socket)
      socket.on('error', () => undefined)
      socket.once('close', () => flood.delete(socket))
      // A third says nothing, a third begins a handshake, a third speaks nonsense.
      if (flood.size % 3 === 1) socket.write(Buffer.from([0x16, 0x03, 0x01]))
      if (flood.size % 3 === 2) socket.write('nonsense')
    }
    setImmediate(attack)
  }
  attack()
  await until('the flood is there', 10_000, () => (most >= limits.tls_waiting_max ? true : null))
  for (let round = 0; round < 20; round += 1) {
    // A host may lose its place to the flood, as it may lose any connection; then it dials again.
    await until('the host gets in', 10_000, async () =>
      (await dial(credentials, server)) === 'hello' ? true : null,
    )
  }
  isOver = true
  assert.equal(most, limits.tls_waiting_max)
  assert.ok(server.hosts.length >= 20)
  for (const socket of flood) socket.destroy()
  await until('nobody is left waiting', 10_000, () => (server.listener.waiting === 0 ? true : null))
  const said = server.lines.filter(({ message }) => message.includes('refused'))
  assert.ok(said.length < 40, `a flood fills no log: ${said.length} lines`)
})

test('OpenSSL as a client gets in with TLS 1.3, a certificate and the right language only', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const files = await rack.host('sled-1')
  const base = [
    '-connect',
    `127.0.0.1:${server.port}`,
    '-CAfile',
    server.files.authority,
    '-verify_return_error',
  ]
  const own = ['-cert', files.certificate, '-key', files.key]
  const speak = ['-alpn', 'luge/1']
  const good = await client([...base, ...own, ...speak, '-crl_check', '-CRL', files.revocations])
  assert.match(good, /TLSv1\.3/)
  assert.match(good, /ALPN protocol: luge\/1/)
  assert.match(good, /Verification: OK|Verify return code: 0 \(ok\)/)
  assert.match(good, /^hello from openssl$/m)
  assert.deepEqual(server.hosts, ['sled-1'])
  const bad: readonly (readonly [readonly string[], RegExp])[] = [
    [[...base, ...own, ...speak, '-tls1_2'], /alert protocol version/],
    [[...base, ...speak], /alert certificate required/],
    [[...base, ...own, '-alpn', 'h2'], /alert no application protocol/],
  ]
  for (const [args, said] of bad) {
    const output = await client(args)
    assert.match(output, said)
    assert.doesNotMatch(output, /^hello from openssl$/m)
  }
  assert.equal(server.hosts.length, 1)
})

test('OpenSSL as a client cannot resume a session', async () => {
  const rack = new TestAuthority()
  const server = await serve(rack)
  const files = await rack.host('sled-1')
  const session = join(scratch(), 'session.pem')
  const args = [
    ...['-connect', `127.0.0.1:${server.port}`, '-CAfile', server.files.authority],
    ...['-cert', files.certificate, '-key', files.key, '-alpn', 'luge/1'],
  ]
  assert.match(await client([...args, '-sess_out', session]), /^New, TLSv1\.3/m)
  assert.match(read(session), /BEGIN SSL SESSION/)
  const again = await client([...args, '-sess_in', session])
  assert.match(again, /^New, TLSv1\.3/m)
  assert.doesNotMatch(again, /^Reused/m)
})

/** Runs `openssl s_client`, says one line once it is connected, and gives what it printed. */
async function client(args: readonly string[]): Promise<string> {
  const child = spawn('openssl', ['s_client', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  cleanup.push(() => {
    child.kill()
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  }
  child.stdin.on('error', () => undefined)
  child.stdin.write('hello from openssl\n')
  const closed = once(child, 'close')
  const answered = until('openssl is answered or ends', 10_000, () =>
    /^hello from openssl$/m.test(output) || child.exitCode !== null ? true : null,
  )
  await answered
  child.stdin.end()
  await closed
  return output
}

test('OpenSSL as a server accepts a host, and refuses it once it is revoked', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const server = await rack.host('nexus-1')
  const credentials = await credentialsOf(files, 'sled-1')
  assert.equal(await against(server, credentials), 'accepted')
  await rack.revoke('sled-1', ['nexus-1'])
  assert.equal(await against(server, credentials), 'refused')
})

/** Dials an `openssl s_server` that asks for a certificate and knows the list of revoked ones. */
async function against(files: TlsFiles, credentials: Credentials): Promise<'accepted' | 'refused'> {
  const probe = createServer()
  const port = await listening(probe)
  probe.close()
  await once(probe, 'close')
  const child = spawn('openssl', [
    ...['s_server', '-accept', `127.0.0.1:${port}`, '-tls1_3', '-alpn', 'luge/1', '-rev'],
    ...['-cert', files.certificate, '-key', files.key, '-Verify', '1', '-verify_return_error'],
    ...['-CAfile', files.authority, '-crl_check', '-CRL', files.revocations],
  ])
  cleanup.push(() => {
    child.kill()
  })
  const ended = once(child, 'close')
  await until('openssl listens', 10_000, async () => {
    const socket = dialRaw(port)
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    return isOpen ? true : null
  })
  const socket = dialSecurely(dialRaw(port), 'nexus-1', { credentials, clock })
  // -rev answers each line turned round.
  const answered = Promise.withResolvers<'accepted' | 'refused'>()
  socket.on('data', (chunk: Buffer) => {
    if (chunk.toString().includes('olleh')) answered.resolve('accepted')
  })
  socket.once('error', () => undefined)
  socket.once('close', () => {
    answered.resolve('refused')
  })
  socket.write('hello\n')
  const outcome = await answered.promise
  socket.destroy()
  child.kill()
  await ended
  return outcome
}

/** A server that accepts any client, under credentials that may be anything. */
async function impostorWith(
  credentials: Credentials,
): Promise<{ readonly port: number; readonly received: () => string }> {
  let received = ''
  const server = createTlsServer(
    { ...mutual(credentials), rejectUnauthorized: false },
    (socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString()
      })
    },
  )
  server.on('tlsClientError', (_error, socket) => {
    socket.destroy()
  })
  const port = await listening(server)
  return { port, received: () => received }
}

async function listening(server: Server): Promise<number> {
  const accepted: Socket[] = []
  server.on('connection', (socket: Socket) => accepted.push(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup.push(() => {
    server.close()
    for (const socket of accepted) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}
