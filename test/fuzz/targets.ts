/**
 * What is fed with inputs, and what must hold whatever they are. A target says what it made of an input in
 * a few words, so that inputs that are treated in a new way are known and kept.
 */
import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import type { Outlet } from '#runtime/channel/outlet.ts'
import { Channel } from '#runtime/channel/channel.ts'
import { manualClock } from '#runtime/clock.ts'
import { codecOf } from '#runtime/codec/codec.ts'
import { cursorOver, Misfit } from '#runtime/codec/cursor.ts'
import { memoryLog } from '#runtime/log.ts'
import { seededRandom } from '#runtime/random.ts'
import { fits } from '#runtime/schema.ts'
import { makeRing, RingReader, RingWriter } from '#runtime/thread/ring.ts'
import { FrameError, kinds } from '#runtime/wire/frame.ts'
import { Link } from '#runtime/wire/link.ts'
import { FrameCutter } from '#runtime/wire/socket.ts'
import { bindFrame, frame, helloFrame } from '#test/kit/frames.ts'
import { echo, echoProtocol, examples, schemas } from './schemas.ts'
import type { Pick } from './mutate.ts'
import { aloneSystem } from '#test/kit/alone.ts'
import { ok } from '#runtime/result.ts'

export interface Target {
  /** Inputs to begin with, by what they are. */
  readonly seeds: () => Readonly<Record<string, Buffer>>
  /** Makes an input good again in what would be refused first, to reach what lies behind. */
  readonly mend?: (input: Buffer, pick: Pick) => Buffer
  /** Takes an input; gives back in a few words what became of it. Throws when something does not hold. */
  readonly run: (input: Buffer) => Promise<string>
}

/** Takes everything and sends it nowhere. */
export const deafOutlet = (): Outlet => {
  const cursor = cursorOver(Buffer.alloc(64 * 1024))
  return {
    cursor,
    begin: () => {
      cursor.at = 0
      cursor.limit = cursor.buffer.length
      return true
    },
    end: () => undefined,
    large: () => true,
    onRoom: () => undefined,
  }
}

function makeSystem() {
  const system = aloneSystem({ clock: manualClock(), random: seededRandom(1) })
  system.add(echo, null)
  return system
}
const settle = async () => {
  for (let turn = 0; turn < 8; turn += 1) await Promise.resolve()
}
/** A sentence without its numbers and names. */
const gist = (error: Error) => error.message.replaceAll(/[0-9]+|"[^"]*"/g, 'N').slice(0, 60)

/** Runs `work`; what it may throw is a refusal, all else is a find. */
function refusal(work: () => void): string | null {
  try {
    work()
    return null
  } catch (error) {
    if (error instanceof FrameError || error instanceof Misfit) return gist(error)
    throw error
  }
}

const names = Object.keys(schemas)
const schemaAt = (index: number) => {
  const name = names[index % names.length] ?? ''
  const schema = schemas[name]
  assert.ok(schema !== undefined)
  return { name, schema, codec: codecOf(schema) }
}
function encode(index: number, value: unknown): Buffer {
  const cursor = cursorOver(Buffer.alloc(64 * 1024))
  schemaAt(index).codec.write(cursor, value)
  return Buffer.from(cursor.buffer.subarray(0, cursor.at))
}

const seedsOf = (wrap: (index: number, value: unknown) => Buffer) => () =>
  Object.fromEntries(names.map((name, index) => [name, wrap(index, examples[name])]))

/** The first byte chooses a schema, the rest is read by it. */
const codec: Target = {
  seeds: seedsOf((index, value) => Buffer.concat([Buffer.from([index]), encode(index, value)])),
  run: async (input) => {
    const { name, schema, codec: codecHere } = schemaAt(input[0] ?? 0)
    let value: unknown
    const refused = refusal(() => {
      value = codecHere.read(cursorOver(Buffer.from(input.subarray(1))))
    })
    if (refused !== null) return `${name} ${refused}`
    assert.ok(fits(schema, value), `${name} was read, and does not fit`)
    const again = codecHere.read(cursorOver(encode(names.indexOf(name), value)))
    if (name !== 'anything') assert.deepEqual(again, value, 'what was read is written as it was')
    if (name !== 'anything') assert.deepEqual(codecHere.copy(value), value)
    return `${name} read`
  },
}

const callFrame = (sequence: number, correlation: number, index: number, value: unknown) =>
  frame(
    { kind: kinds.call, op: index + 1, correlation, target: 0, remaining_ms: 1_000, sequence },
    schemaAt(index).codec,
    value,
  )
const bare = (header: Parameters<typeof frame>[0]) => frame(header, codecOf(echoNothing()), null)
function echoNothing() {
  const schema = schemas['nothing']
  assert.ok(schema !== undefined)
  return schema
}
const dialogue = (index: number, value: unknown) =>
  Buffer.concat([
    bindFrame(1, 0, ['', 'echo', 'a']),
    callFrame(2, 0x1_0000, index, value),
    bare({ kind: kinds.monitor, correlation: 1, target: 0, sequence: 3 }),
    bare({ kind: kinds.cancel, correlation: 0x1_0000, sequence: 4 }),
    callFrame(5, 0x2_0000, index, value),
    bare({ kind: kinds.demonitor, correlation: 1, sequence: 6 }),
  ])

/** Frames over a stream, to a channel with actors behind it. */
const frames: Target = {
  seeds: seedsOf(dialogue),
  mend: resequence,
  run: async (input) => {
    const system = makeSystem()
    const channel = new Channel({
      host: system,
      outlet: deafOutlet(),
      guard: null,
      objection: null,
    })
    let taken = 0
    const cutter = new FrameCutter()
    const refused = refusal(() => {
      for (let at = 0; at < input.length; at += 1_000) {
        cutter.push(Buffer.from(input.subarray(at, at + 1_000)), (cursor) => {
          channel.receive(cursor)
          taken += 1
        })
      }
    })
    await settle()
    channel.close('unreachable', 'the input is over')
    const answer = await system.ref(echoProtocol, 'b').call('boolean', true, { timeout_ms: 1_000 })
    assert.deepEqual(answer, ok(true), 'others are served')
    await system.stop()
    return `${Math.min(taken, 6)} ${refused ?? 'taken'}`
  },
}

/** Gives frames the sequence that is due, and often a length that is right. */
function resequence(input: Buffer, pick: Pick): Buffer {
  if (pick(4) === 0) return input
  const bytes = Buffer.from(input)
  let sequence = 1
  for (let at = 0; at + 24 <= bytes.length; sequence += 1) {
    bytes.writeUInt32LE(sequence, at + 20)
    const length = bytes.readUInt32LE(at)
    if (length < 24 || length > bytes.length - at) {
      bytes.writeUInt32LE(bytes.length - at, at)
      break
    }
    at += length
  }
  return bytes
}

/** What a stranger says first, and what follows. */
const greeting: Target = {
  seeds: () => ({
    greeting: helloFrame('peer', [echoProtocol]),
    nameless: helloFrame(''),
    twice: Buffer.concat([helloFrame('peer'), helloFrame('peer')]),
    'then a call': Buffer.concat([
      helloFrame('peer', [echoProtocol]),
      bindFrame(2, 0, ['', 'echo', 'a']),
      callFrame(3, 0x1_0000, 2, true),
    ]),
    'then a ping': Buffer.concat([helloFrame('peer'), bare({ kind: kinds.ping, sequence: 2 })]),
    http: Buffer.from('GET / HTTP/1.1\r\nHost: here\r\n\r\n'),
  }),
  mend: resequence,
  run: async (input) => {
    const system = makeSystem()
    let ups = 0
    const downs: string[] = []
    const stream = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
    const link = new Link(
      { stream, expected: null },
      {
        host: 'here',
        clock: manualClock(),
        log: memoryLog(),
        exports: [echoProtocol],
        serve: () => system,
      },
      {
        up: () => {
          ups += 1
        },
        down: (_link, why) => downs.push(why),
      },
    )
    stream.emit('data', Buffer.from(input))
    await settle()
    const isUp = downs.length === 0 && link.peer !== null
    link.end('the input is over')
    assert.equal(downs.length, 1, 'a link ends once')
    assert.ok(ups <= 1, 'a link comes up once')
    await system.stop()
    return `${isUp ? 'up' : 'not up'} ${gist(new Error(downs[0] ?? ''))}`
  },
}

/**
 * A ring that was written in earnest, overwritten by the other side: pieces of the input, each a place in
 * the memory (four bytes), a length (one byte) and bytes, are laid over it.
 */
const ring: Target = {
  seeds: () => ({
    untouched: Buffer.alloc(0),
    'tail ahead': patch(0, Buffer.from([0, 0, 1, 0])),
    'tail behind': patch(0, Buffer.from([0xff, 0xff, 0xff, 0xff])),
    'length of the first frame': patch(256, Buffer.from([0xff, 0xff, 0, 0])),
    'mark of a large frame': patch(256, Buffer.from([0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0])),
    'payload of the first call': patch(256 + 64, Buffer.alloc(16, 0xdd)),
  }),
  run: async (input) => {
    const system = makeSystem()
    const memory = makeRing()
    const writer = new RingWriter(
      memory.writer,
      () => undefined,
      () => undefined,
    )
    const reader = new RingReader(memory.reader)
    for (const whole of written) put(writer, whole)
    assert.ok(writer.begin() && writer.large(large()))
    writer.publish()
    const bytes = Buffer.from(memory.reader.shared)
    for (let at = 0; at + 5 <= input.length;) {
      const count = input[at + 4] ?? 0
      const to = input.readUInt32LE(at) % bytes.length
      input.copy(bytes, to, at + 5, Math.min(at + 5 + count, at + 5 + bytes.length - to))
      at += 5 + count
    }
    const channel = new Channel({
      host: system,
      outlet: deafOutlet(),
      guard: null,
      objection: null,
    })
    let taken = 0
    const refused = refusal(() => {
      for (let turn = 0; turn < 4; turn += 1) {
        taken += reader.drain(64, (cursor) => {
          channel.receive(cursor)
        })
      }
    })
    await settle()
    channel.close('crashed', 'the input is over')
    writer.close()
    reader.close()
    await system.stop()
    return `${taken > 0 ? 'some' : 'none'} ${refused ?? 'taken'}`
  },
}
function patch(at: number, bytes: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32LE(at)
  head.writeUInt8(bytes.length, 4)
  return Buffer.concat([head, bytes])
}
const large = () =>
  frame(
    { kind: kinds.reply, correlation: 9, sequence: written.length + 1 },
    codecOf(echoNothing()),
    null,
  )
function put(writer: RingWriter, whole: Buffer): void {
  assert.ok(writer.begin())
  whole.copy(writer.cursor.buffer, writer.cursor.at)
  writer.cursor.at += whole.length
  writer.end()
}
function cutUp(bytes: Buffer): readonly Buffer[] {
  const all: Buffer[] = []
  new FrameCutter().push(bytes, ({ buffer, at, limit }) => {
    all.push(Buffer.from(buffer.subarray(at, limit)))
  })
  return all
}

/** One row after another on one channel. */
const written = names.flatMap((name, index) =>
  cutUp(dialogue(index, examples[name])).map((whole, at) => {
    whole.writeUInt32LE(index * 6 + at + 1, 20)
    // Each dialogue leaves a call in a slot of its own.
    whole.writeUInt16LE(index, 8)
    return whole
  }),
)

export const targets: Readonly<Record<string, Target>> = { codec, frames, greeting, ring }
