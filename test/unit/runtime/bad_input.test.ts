/**
 * What a peer may do to a host: send slowly, never read, flood, announce what never comes, say what fits
 * and is absurd. Each is bounded, and only its own link suffers.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { systemClock } from '#runtime/clock.ts'
import { codecOf } from '#runtime/codec/codec.ts'
import { cursorOver, Misfit } from '#runtime/codec/cursor.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { kinds } from '#runtime/wire/frame.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { FrameCutter } from '#runtime/wire/socket.ts'
import { bindFrame, frame, helloFrame } from '#test/kit/frames.ts'
import { probe, Probed, probeProtocol } from '#test/kit/probe.ts'
import { until } from '#test/kit/rack.ts'
import { ok } from '#runtime/result.ts'

const unit = probeProtocol('unit')
const soon = { timeout_ms: 5_000 }
const directory = mkdtempSync(join(tmpdir(), 'luge-bad-'))
const path = join(directory, 'server.sock')
const opened: Array<{ close: () => void }> = []
const lines: LogLine[] = []

function host(name: string) {
  const links: Links = new Links({
    host: name,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(lines),
    exports: [unit],
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
    toHost: (other) => links.to(other),
  })
  opened.push(links)
  return { links, system }
}
const seen = new Probed()
const server = host('server')
server.system.add(probe('unit', { mailbox_max: 100_000 }), seen)
const client = host('client')
const ref = client.system.ref(unit, 'a', 'server')

before(async () => {
  await server.links.listen({ path })
  client.links.dial('server', connector({ path }))
  await until('the link is up', 5_000, () => (client.links.to('server') === null ? null : true))
})
after(() => {
  for (const one of opened) one.close()
  rmSync(directory, { recursive: true, force: true })
})

interface Peer {
  readonly socket: Socket
  readonly ended: Promise<void>
}
const nothing = codecOf(Type.Null())
const text = codecOf(Type.String())
/** A peer that says what it wants. */
async function peer(name: string): Promise<Peer> {
  const socket: Socket = createConnection({ path })
  const ended = Promise.withResolvers<void>()
  socket.on('error', () => undefined)
  socket.once('close', () => {
    ended.resolve()
  })
  opened.push({ close: () => socket.destroy() })
  socket.write(helloFrame(name, [unit]))
  await until(`${name} is known`, 2_000, () => (server.links.to(name) === null ? null : true))
  return { socket, ended: ended.promise }
}
const call = (
  sequence: number,
  correlation: number,
  op: number,
  [codec, value]: readonly [typeof text, unknown],
) =>
  frame(
    { kind: kinds.call, op, correlation, target: 0, remaining_ms: 60_000, sequence },
    codec,
    value,
  )
/** Others are served while `work` goes on: gives back how often. */
async function servedDuring(work: Promise<unknown>): Promise<number> {
  let isOver = false
  const over = work.finally(() => {
    isOver = true
  })
  let count = 0
  while (!isOver) {
    const answer = await ref.call('add', 0, soon)
    assert.ok(answer.ok, 'another peer is served')
    count += 1
  }
  await over
  return count
}
/** Writes everything, however slowly it is read; stops when the connection has ended. */
async function write({ socket, ended }: Peer, pieces: Iterable<Buffer>): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.write(piece, () => {
      resolve()
    })
    await Promise.race([promise, ended])
  }
}

test('a peer that sends one byte at a time is served, and nobody waits for it', async () => {
  const slow = await peer('slow')
  const bytes = Buffer.concat([
    bindFrame(2, 0, ['', 'unit', 'slow']),
    call(3, 0x1_0000, 7, [text, 'byte by byte']),
  ])
  const work = write(
    slow,
    Array.from(bytes, (byte) => Buffer.from([byte])),
  )
  await servedDuring(
    work.then(() =>
      until('it has arrived', 2_000, () => (seen.notes.includes('byte by byte') ? true : null)),
    ),
  )
  slow.socket.destroy()
})

test('a frame of megabytes that comes in crumbs takes no more memory than its bytes', () => {
  const cutter = new FrameCutter()
  const announced = Buffer.alloc(limits.frame_bytes_max)
  announced.writeUInt32LE(announced.length)
  const before_bytes = process.memoryUsage().arrayBuffers
  cutter.push(announced.subarray(0, 100), () => undefined)
  assert.ok(process.memoryUsage().arrayBuffers - before_bytes < 64 * 1024, 'it holds what has come')
  let whole = 0
  const crumbs = process.memoryUsage()
  for (let at = 100; at < announced.length; at += 7) {
    cutter.push(announced.subarray(at, at + 7), ({ at: from, limit }) => {
      whole = limit - from
    })
  }
  const now = process.memoryUsage()
  const grown_bytes = now.arrayBuffers + now.heapUsed - crumbs.arrayBuffers - crumbs.heapUsed
  assert.equal(whole, announced.length)
  assert.ok(grown_bytes < 100 * 1024 ** 2, `${grown_bytes} bytes for ${announced.length}`)
})

test('a list or text that announces more than there is allocates nothing', () => {
  const heads: readonly (readonly [unknown, Buffer])[] = [
    [Type.Array(Type.Null()), Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0])],
    [Type.Record(Type.String(), Type.Null()), Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff, 0xa0])],
    [Type.String(), Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x61])],
    [
      Type.Refine(Type.Unknown(), (value) => value instanceof Uint8Array),
      Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff, 1]),
    ],
  ]
  for (const [schema, bytes] of heads) {
    const before_bytes = process.memoryUsage().arrayBuffers
    const codec = codecOf(schema as Type.TSchema)
    for (let turn = 0; turn < 100; turn += 1) {
      assert.throws(() => codec.read(cursorOver(bytes)), Misfit)
    }
    assert.ok(process.memoryUsage().arrayBuffers - before_bytes < 1024 * 1024)
  }
})

const rows = (count: number) => Array.from({ length: count }, () => [null])

test('a message of too many items is refused before they are read, on both sides', () => {
  const list = codecOf(Type.Array(Type.Array(Type.Null())))
  const map = codecOf(Type.Record(Type.String(), Type.Null()))
  const room = cursorOver(Buffer.alloc(1024 * 1024))
  list.write(room, rows(limits.message_items_max / 2))
  const written = cursorOver(room.buffer.subarray(0, room.at))
  assert.equal((list.read(written) as unknown[]).length, limits.message_items_max / 2)
  room.at = 0
  assert.throws(() => list.write(room, rows(limits.message_items_max / 2 + 1)), /too many items/)
  const many = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [String(at), null]))
  assert.throws(() => map.write(room, many), /too many items/)
  const lie = Buffer.alloc(limits.frame_bytes_max, 0xc0)
  lie.writeUInt8(0xdd)
  lie.writeUInt32BE(lie.length - 5, 1)
  assert.throws(() => codecOf(Type.Array(Type.Null())).read(cursorOver(lie)), /too many items/)
})

test('a peer that asks and never reads loses its link, and costs a bounded amount', async () => {
  const deaf = await peer('deaf')
  deaf.socket.pause()
  const refused = (function* () {
    yield bindFrame(2, 0, ['', 'unit', 'deaf'])
    // Nobody is told of an unknown message in fewer than fifty bytes.
    for (let sequence = 3; ; sequence += 100) {
      yield Buffer.concat(
        Array.from({ length: 100 }, (_, at) => call(sequence + at, 0x1_0000, 99, [nothing, null])),
      )
    }
  })()
  const served = await servedDuring(Promise.race([write(deaf, refused), deaf.ended]))
  assert.ok(served > 0)
  await deaf.ended
  assert.ok(
    lines.some(({ fields }) => /asks on and reads no answers/.test(JSON.stringify(fields ?? {}))),
    'the log says why',
  )
})

test('a peer that calls beyond its credits loses its link', async () => {
  const { socket, ended } = await peer('greedy')
  socket.resume()
  const calls = Array.from({ length: limits.link_inflight_max + 1 }, (_, at) =>
    call(at + 3, 0x1_0000 + at, 2, [text, 'never opens']),
  )
  socket.write(Buffer.concat([bindFrame(2, 0, ['', 'unit', 'greedy']), ...calls]))
  await servedDuring(ended)
})

test('a peer that binds beyond the bound, or watches too much, loses its link', async () => {
  const binds = await peer('binder')
  binds.socket.resume()
  binds.socket.write(bindFrame(2, limits.link_bindings_max, ['', 'unit', 'x']))
  await binds.ended
  const watcher = await peer('watcher')
  watcher.socket.resume()
  assert.ok((await server.system.ref(unit, 'watched').call('add', 1, soon)).ok)
  const watches = Array.from({ length: limits.link_watches_max + 1 }, (_, at) =>
    frame({ kind: kinds.monitor, correlation: at + 1, target: 0, sequence: at + 3 }, nothing, null),
  )
  const bind = bindFrame(2, 0, ['', 'unit', 'watched'])
  const done = write(watcher, [bind, Buffer.concat(watches)])
  await servedDuring(Promise.all([done, watcher.ended]))
})

test('a peer that binds and calls as fast as it can delays nobody for long', async () => {
  const flood = await peer('flood')
  flood.socket.resume()
  const bytes = Buffer.concat([
    ...Array.from({ length: 5_000 }, (_, at) => bindFrame(at + 2, at, ['', 'unit', `flood-${at}`])),
    ...Array.from({ length: 40_000 }, (_, at) =>
      frame(
        { kind: kinds.cast, op: 1, target: at % 5_000, sequence: at + 5_002 },
        codecOf(Type.Integer()),
        0,
      ),
    ),
  ])
  const turns = bytes.length / limits.link_turn_bytes_max
  const served = await servedDuring(
    write(flood, [bytes]).then(() =>
      until('all has come', 20_000, () =>
        server.system.inspect().filter(({ name }) => name.startsWith('unit/flood-')).length ===
        5_000
          ? true
          : null,
      ),
    ),
  )
  // Between two turns of the flood the others have theirs; a call there and back takes a few of them.
  assert.ok(served >= turns / 4, `${served} calls were served in ${turns} turns of the flood`)
  flood.socket.destroy()
})

test('values that fit and are absurd harm nobody', async () => {
  const absurd = ['', '\0', '\u202e', '__proto__', 'constructor', '/../..', '💥'.repeat(100)]
  for (const what of absurd) {
    const actor = client.system.ref(unit, what === '' ? ' ' : what, 'server')
    assert.deepEqual(await actor.call('add', 1, soon), ok(1), what)
    assert.ok((await actor.call('note', what, soon)).ok)
    assert.ok(seen.notes.includes(what))
  }
  for (const by of [-0, Number.MAX_SAFE_INTEGER, 1e308, -1e308]) {
    const answer = await client.system.ref(unit, 'absurd', 'server').call('add', by, soon)
    assert.ok(answer.ok || answer.error === 'crashed' || answer.error === 'refused')
  }
  assert.ok((await ref.call('add', 0, soon)).ok)
})
