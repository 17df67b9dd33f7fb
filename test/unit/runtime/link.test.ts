/** Frames and links between hosts: what gets through, and what nobody else notices. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { behaviour } from '#runtime/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { call, protocol } from '#runtime/protocol.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/system.ts'
import { decodeFrame, encodeFrame, FrameError, FrameReader } from '#runtime/wire/frame.ts'
import { connector, Links } from '#runtime/wire/link.ts'
import { until } from '#test/kit/rack.ts'

const text = Type.Object({ text: Type.String() })
const echoProtocol = protocol('echo', 1, {
  echo: call(1, { request: text, reply: text, errors: ['refused'] }),
  hang: call(2, { request: text, reply: text, errors: [] }),
})
/** The same kind as an older peer knows it: without `hang`. */
const olderProtocol = protocol('echo', 1, {
  echo: call(1, { request: text, reply: text, errors: ['refused'] }),
})
const secretProtocol = protocol('secret', 1, {
  tell: call(1, { request: text, reply: text, errors: [] }),
})
const child = {
  restart: 'permanent',
  restarts_max: 1,
  restarts_period_ms: 1_000,
  shutdown_ms: 50,
  mailbox_max: 100,
  thread: 'main',
  activation: 'by_id',
} as const
const never = new Promise<never>(() => undefined)
const echo = behaviour({
  protocol: echoProtocol,
  child,
  init: () => null,
  invariant: () => undefined,
  handlers: {
    echo: (_context, state, request) => ({ state, result: ok(request) }),
    hang: (_context, state) => ({ state, result: never }),
  },
})
const older = behaviour({
  protocol: olderProtocol,
  child,
  init: () => null,
  invariant: () => undefined,
  handlers: { echo: (_context, state, request) => ({ state, result: ok(request) }) },
})
const secret = behaviour({
  protocol: secretProtocol,
  child,
  init: () => null,
  invariant: () => undefined,
  handlers: { tell: (_context, state, request) => ({ state, result: ok(request) }) },
})

const directory = mkdtempSync(join(tmpdir(), 'luge-link-'))
const opened: Links[] = []
after(() => {
  for (const links of opened) links.close()
  rmSync(directory, { recursive: true, force: true })
})
const soon = { timeout_ms: 2_000 }

function host(name: string) {
  const lines: LogLine[] = []
  const links: Links = new Links({
    host: name,
    clock: systemClock,
    log: memoryLog(lines),
    exports: [echoProtocol],
    onCall: (incoming) => {
      system.serve(incoming)
    },
  })
  const system: System = new System({
    host: name,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(lines),
    routes: {},
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  opened.push(links)
  return { links, system, lines }
}

let count = 0
async function pair() {
  count += 1
  const path = join(directory, `${count}.sock`)
  const server = host('server')
  const client = host('client')
  server.system.add(echo, null)
  server.system.add(secret, null)
  client.system.add(echo, null)
  await server.links.listen({ path })
  client.links.dial('server', connector({ path }))
  await until('the link is up', 2_000, () => (client.links.to('server') === null ? null : true))
  await until('both ends know', 2_000, () => (server.links.to('client') === null ? null : true))
  return { server, client, path }
}
const code = (answer: { readonly ok: boolean; readonly error?: string }) =>
  answer.ok ? 'ok' : answer.error

test('both ends call each other on one link', async () => {
  const { server, client } = await pair()
  const there = client.system.ref(echoProtocol, 'a', 'server')
  assert.deepEqual(await there.call('echo', { text: 'hello' }, soon), ok({ text: 'hello' }))
  const back = server.system.ref(echoProtocol, 'a', 'client')
  assert.deepEqual(await back.call('echo', { text: 'ü' }, soon), ok({ text: 'ü' }))
})

test('what is not exported, not known, or meant for another host is refused by name', async () => {
  const { client, server } = await pair()
  const hidden = await client.system
    .ref(secretProtocol, 'a', 'server')
    .call('tell', { text: '' }, soon)
  assert.equal(code(hidden), 'unsupported')
  const elsewhere = await client.system
    .ref(echoProtocol, 'a', 'nowhere')
    .call('echo', { text: '' }, soon)
  assert.equal(code(elsewhere), 'unreachable')
  assert.equal(server.lines.length, 0)
})

test('an older peer answers unsupported to a message it does not know', async () => {
  count += 1
  const path = join(directory, `${count}.sock`)
  const server = host('server')
  server.system.add(older, null)
  await server.links.listen({ path })
  const client = host('client')
  client.links.dial('server', connector({ path }))
  await until('the link is up', 2_000, () => (client.links.to('server') === null ? null : true))
  const ref = client.system.ref(echoProtocol, 'a', 'server')
  assert.equal(code(await ref.call('hang', { text: '' }, soon)), 'unsupported')
  assert.equal(code(await ref.call('echo', { text: '' }, soon)), 'ok')
})

test('a link that breaks fails the waiting calls, and is made again', async () => {
  const { client, server, path } = await pair()
  const waiting = client.system
    .ref(echoProtocol, 'a', 'server')
    .call('hang', { text: '' }, { timeout_ms: 10_000 })
  await until('the call has arrived', 2_000, () =>
    server.system.inspect().length > 0 ? true : null,
  )
  server.links.close()
  const answer = await waiting
  assert.equal(code(answer), 'unreachable')
  const again = host('server')
  again.system.add(echo, null)
  await again.links.listen({ path })
  await until('the link is up again', 5_000, () =>
    client.links.to('server') === null ? null : true,
  )
  const ref = client.system.ref(echoProtocol, 'a', 'server')
  assert.equal(code(await ref.call('echo', { text: '' }, soon)), 'ok')
})

test('a call ends at its deadline, and a cancelled one at once', async () => {
  const { client } = await pair()
  const ref = client.system.ref(echoProtocol, 'a', 'server')
  assert.equal(code(await ref.call('hang', { text: '' }, { timeout_ms: 30 })), 'deadline')
  const abort = new AbortController()
  const called = ref.call('hang', { text: '' }, { ...soon, signal: abort.signal })
  abort.abort()
  assert.equal(code(await called), 'cancelled')
  assert.equal(client.links.to('server')?.inflight, 0)
})

test('garbage ends its own connection only, whatever it is', async () => {
  const { client, server, path } = await pair()
  const good = encodeFrame({
    kind: 'call',
    flags: 0,
    op: 1,
    correlation: 1,
    remaining_ms: 1_000,
    host: 'server',
    protocol: 'echo',
    actor: 'a',
    payload: { text: 'x' },
  })
  const length = Buffer.alloc(4)
  length.writeUInt32BE(limits.frame_bytes_max + 1)
  const flipped = Buffer.from(good)
  flipped.writeUInt8(0xff, 4)
  for (const [what, bytes] of [
    ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['an announced monster', length],
    ['a call before the greeting', good],
    ['an unknown kind', flipped],
    ['zeros', Buffer.alloc(64)],
  ] as const) {
    const socket = createConnection({ path })
    const ended = Promise.withResolvers<void>()
    socket.on('error', () => undefined)
    socket.once('close', () => {
      ended.resolve()
    })
    socket.resume()
    socket.write(bytes)
    await ended.promise
    const ref = client.system.ref(echoProtocol, 'a', 'server')
    assert.equal(code(await ref.call('echo', { text: what }, soon)), 'ok', what)
  }
  assert.ok(server.lines.some(({ message }) => message === 'a peer broke the protocol'))
})

test('a peer that never reads costs its callers a busy, and nobody else anything', async () => {
  const { client, server, path } = await pair()
  const deaf: Socket = createConnection({ path })
  deaf.on('error', () => undefined)
  deaf.pause()
  const hello = { host: 'deaf', protocols: {} }
  deaf.write(
    encodeFrame({
      kind: 'hello',
      flags: 0,
      op: 0,
      correlation: 0,
      remaining_ms: 0,
      host: '',
      protocol: '',
      actor: '',
      payload: hello,
    }),
  )
  await until('the deaf peer is known', 2_000, () =>
    server.links.to('deaf') === null ? null : true,
  )
  const big = { text: 'x'.repeat(1024 * 1024) }
  const answers = await Promise.all(
    Array.from({ length: 40 }, async () =>
      code(
        await server.system.ref(echoProtocol, 'a', 'deaf').call('echo', big, { timeout_ms: 300 }),
      ),
    ),
  )
  assert.ok(answers.includes('busy'))
  assert.ok(answers.every((answer) => answer === 'busy' || answer === 'deadline'))
  const ref = client.system.ref(echoProtocol, 'a', 'server')
  assert.equal(code(await ref.call('echo', { text: 'still here' }, soon)), 'ok')
  deaf.destroy()
})

test('a frame is read back as it was written, bytes as bytes of their own', () => {
  const frame = {
    kind: 'reply',
    flags: 1,
    op: 513,
    correlation: 0xffff_fffe,
    remaining_ms: 60_000,
    host: 'sled-1',
    protocol: 'disk',
    actor: 'ü/ö',
    payload: { data: new Uint8Array([1, 2, 3]), list: [null, 2 ** 40, 'text'] },
  } as const
  const bytes = encodeFrame(frame)
  const read = decodeFrame(bytes)
  assert.deepEqual(read, { ...frame, payload: { ...frame.payload } })
  bytes.fill(0)
  assert.deepEqual((read.payload as { data: Uint8Array }).data, new Uint8Array([1, 2, 3]))
})

test('no bytes make the reader do anything but read or refuse', () => {
  const random = seededRandom(7)
  const good = encodeFrame({
    kind: 'call',
    flags: 0,
    op: 1,
    correlation: 1,
    remaining_ms: 1_000,
    host: 'h',
    protocol: 'p',
    actor: 'a',
    payload: { text: 'x'.repeat(40), list: [1, 2, { a: null }] },
  })
  let refused = 0
  for (let turn = 0; turn < 20_000; turn += 1) {
    const bytes = turn % 2 === 0 ? Buffer.from(good) : Buffer.from(random.bytes(60))
    bytes.writeUInt8(Math.floor(random.next() * 256), Math.floor(random.next() * bytes.length))
    if (turn % 4 === 0) bytes.writeUInt32BE(bytes.length - 4, 0)
    try {
      new FrameReader().push(bytes.subarray(0, Math.floor(random.next() * bytes.length) + 1))
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error))
      refused += 1
    }
  }
  assert.ok(refused > 1_000)
})

test('frames arrive whole however the stream is cut', () => {
  const frames = Array.from({ length: 50 }, (_, at) =>
    encodeFrame({
      kind: 'reply',
      flags: 0,
      op: 0,
      correlation: at,
      remaining_ms: 0,
      host: '',
      protocol: '',
      actor: '',
      payload: 'x'.repeat(at * 7),
    }),
  )
  const stream = Buffer.concat(frames)
  for (const size of [1, 3, 19, 64, 1_000]) {
    const reader = new FrameReader()
    const seen: number[] = []
    for (let at = 0; at < stream.length; at += size) {
      for (const frame of reader.push(stream.subarray(at, at + size))) seen.push(frame.correlation)
    }
    assert.deepEqual(
      seen,
      frames.map((_, at) => at),
    )
  }
})
