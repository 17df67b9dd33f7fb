/** Frames and links between hosts: what gets through, and what nobody else notices. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { Channel } from '#runtime/channel/channel.ts'
import { cursorOver } from '#runtime/codec/cursor.ts'
import type { Outlet } from '#runtime/channel/outlet.ts'
import { behaviour } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { call, protocol } from '#runtime/actor/protocol.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { FrameError, kinds } from '#runtime/wire/frame.ts'
import { FrameCutter } from '#runtime/wire/socket.ts'
import { codecOf } from '#runtime/codec/codec.ts'
import { bindFrame, frame, helloFrame } from '#test/kit/frames.ts'
import { connector, Links } from '#runtime/wire/links.ts'
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
    random: systemRandom,
    exports: [echoProtocol],
    serve: () => system,
    security: null,
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

const textCodec = codecOf(text)
const callFrame = (sequence: number, correlation: number, payload: unknown = { text: 'x' }) =>
  frame(
    { kind: kinds.call, op: 1, correlation, target: 0, remaining_ms: 1_000, sequence },
    textCodec,
    payload,
  )

test('garbage ends its own connection only, whatever it is', async () => {
  const { client, server, path } = await pair()
  const greet = helloFrame('stranger')
  const bind = bindFrame(2, 0, ['', 'echo', 'a'])
  const length = Buffer.alloc(4)
  length.writeUInt32LE(limits.frame_bytes_max + 1)
  const flipped = Buffer.from(callFrame(3, 1))
  flipped.writeUInt8(0xff, 4)
  const inFlight = frame(
    { kind: kinds.call, op: 2, correlation: 1, remaining_ms: 1_000, sequence: 3 },
    textCodec,
    { text: 'x' },
  )
  for (const [what, bytes] of [
    ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['an announced monster', length],
    ['a call before the greeting', callFrame(1, 1)],
    ['an unknown kind', Buffer.concat([greet, bind, flipped])],
    ['a number that stands for nobody', Buffer.concat([greet, callFrame(2, 1)])],
    ['a replayed frame', Buffer.concat([greet, bind, callFrame(3, 1), callFrame(3, 1)])],
    ['a lost frame', Buffer.concat([greet, callFrame(3, 1)])],
    ['a correlation that is taken', Buffer.concat([greet, bind, inFlight, callFrame(4, 1)])],
    ['a second greeting', Buffer.concat([greet, helloFrame('stranger')])],
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

test('a connection that never says who it is ends after a while', async () => {
  const { path } = await pair()
  const socket = createConnection({ path })
  const ended = Promise.withResolvers<boolean>()
  socket.once('close', () => {
    ended.resolve(true)
  })
  socket.on('error', () => undefined)
  socket.resume()
  assert.ok(await ended.promise)
})

test('a peer that never reads costs its callers a busy, and nobody else anything', async () => {
  const { client, server, path } = await pair()
  const deaf: Socket = createConnection({ path })
  deaf.on('error', () => undefined)
  deaf.pause()
  deaf.write(helloFrame('deaf', [echoProtocol]))
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

test('no bytes make the reader do anything but read or refuse', async () => {
  const { server } = await pair()
  const random = seededRandom(7)
  const good = Buffer.concat([
    helloFrame('h', [echoProtocol]),
    bindFrame(2, 0, ['', 'echo', 'a']),
    callFrame(3, 1),
    callFrame(4, 2),
  ])
  let refused = 0
  for (let turn = 0; turn < 20_000; turn += 1) {
    const bytes = turn % 2 === 0 ? Buffer.from(good) : Buffer.from(random.bytes(60))
    bytes.writeUInt8(Math.floor(random.next() * 256), Math.floor(random.next() * bytes.length))
    const channel = new Channel({
      host: server.system,
      outlet: deafOutlet(),
      guard: null,
      objection: null,
    })
    try {
      new FrameCutter().push(bytes, (cursor) => {
        if (cursor.view.getUint8(cursor.at + 4) === kinds.hello) channel.counted(1)
        else channel.receive(cursor)
      })
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error))
      refused += 1
    }
  }
  assert.ok(refused > 1_000)
})

/** Takes everything and sends it nowhere. */
const deafOutlet = (): Outlet => {
  const cursor = cursorOver(Buffer.alloc(64 * 1024))
  return {
    cursor,
    begin: () => {
      cursor.at = 0
      return true
    },
    end: () => undefined,
    large: () => true,
    onRoom: () => undefined,
  }
}

test('frames arrive whole however the stream is cut', () => {
  const frames = Array.from({ length: 50 }, (_, at) =>
    frame({ kind: kinds.reply, correlation: at }, textCodec, { text: 'x'.repeat(at * 7) }),
  )
  const stream = Buffer.concat(frames)
  for (const size of [1, 3, 19, 64, 1_000]) {
    const cutter = new FrameCutter()
    const seen: number[] = []
    for (let at = 0; at < stream.length; at += size) {
      cutter.push(stream.subarray(at, at + size), (cursor) => {
        seen.push(cursor.view.getUint32(cursor.at + 8, true))
      })
    }
    assert.deepEqual(
      seen,
      frames.map((_, at) => at),
    )
  }
})

test('a request or reply of megabytes comes through as a whole', async () => {
  const { client } = await pair()
  const ref = client.system.ref(echoProtocol, 'a', 'server')
  const large = { text: 'ü'.repeat(1_000_000) }
  assert.deepEqual(await ref.call('echo', large, soon), ok(large))
  const tooLarge = await ref.call('echo', { text: 'x'.repeat(limits.frame_bytes_max) }, soon)
  assert.equal(code(tooLarge), 'invalid')
  assert.deepEqual(await ref.call('echo', { text: 'small' }, soon), ok({ text: 'small' }))
})
