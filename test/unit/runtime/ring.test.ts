/** The ring between two threads, byte by byte: whatever the sizes, frames come out as they went in. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { limits } from '#config/limits.ts'
import { Type } from 'typebox'
import { codecOf } from '#runtime/codec/codec.ts'
import type { Cursor } from '#runtime/codec/cursor.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { makeRing, RingReader, RingWriter } from '#runtime/thread/ring.ts'
import { FrameError, header_bytes } from '#runtime/wire/frame.ts'

const ending: Array<() => void> = []
after(() => {
  for (const end of ending) end()
})
const later: Array<() => void> = []
function ring() {
  const memory = makeRing()
  let woken = 0
  const writer = new RingWriter(
    memory.writer,
    () => {
      woken += 1
    },
    (callback) => later.push(callback),
  )
  const reader = new RingReader(memory.reader)
  ending.push(() => {
    writer.close()
    reader.close()
  })
  return { writer, reader, memory, woken: () => woken }
}

/** A frame of `bytes` that can be told from others: its number stands in it again and again. */
function frame(bytes: number, number: number): Buffer {
  const whole = Buffer.alloc(bytes, number & 0xff)
  whole.writeUInt32LE(bytes)
  whole.writeUInt32LE(number, 8)
  return whole
}
/** False when there is no room. */
function put(writer: RingWriter, whole: Buffer): boolean {
  if (!writer.begin()) return false
  const { cursor } = writer
  if (cursor.at + whole.length > cursor.limit) return writer.large(whole)
  whole.copy(cursor.buffer, cursor.at)
  cursor.at += whole.length
  writer.end()
  return true
}
const copyOf = ({ buffer, at, limit }: Cursor) => Buffer.from(buffer.subarray(at, limit))

test('frames of every size cross the end of the ring at every alignment', () => {
  const { writer, reader } = ring()
  let number = 0
  // Twice around with each step, so that entries end at every place before and at the ring's end.
  for (const step of [24, 25, 31, 32, 40, 1_000, 1_021, 65_528, 65_536]) {
    for (let sent = 0; sent < 2 * 1024 * 1024; sent += step) {
      number += 1
      const whole = frame(step, number)
      assert.ok(put(writer, whole))
      writer.publish()
      let got: Buffer | null = null
      assert.equal(
        reader.drain(10, (cursor) => {
          got = copyOf(cursor)
        }),
        1,
      )
      assert.ok(whole.equals(got ?? Buffer.alloc(0)), `frame ${number} of ${step} bytes`)
    }
  }
})

test('sizes by chance, written and read in bursts, come in order and whole', () => {
  const seed = Math.floor(systemRandom.next() * 2 ** 32)
  const random = seededRandom(seed)
  const { writer, reader } = ring()
  const waiting: Buffer[] = []
  let refused = 0
  for (let number = 1; number < 20_000; number += 1) {
    const isLarge = random.next() < 0.01
    const bytes = header_bytes + Math.floor(random.next() ** 4 * (isLarge ? 1_000_000 : 20_000))
    const whole = frame(bytes, number)
    if (put(writer, whole)) waiting.push(whole)
    else refused += 1
    // The reader is slower than the writer for a while, then faster.
    if (random.next() < ((number >> 10) % 2 === 0 ? 0.9 : 0.2)) continue
    writer.publish()
    reader.drain(Math.ceil(random.next() * 8), (cursor) => {
      const due = waiting.shift()
      assert.ok(due?.equals(copyOf(cursor)), `seed ${seed}: frame ${number}`)
    })
  }
  writer.publish()
  while (reader.drain(100, (cursor) => assert.ok(waiting.shift()?.equals(copyOf(cursor)))) > 0);
  assert.equal(waiting.length, 0, `seed ${seed}`)
  assert.ok(refused > 0, 'it was full at times')
})

test('texts are those of their frame, and stay what they were, lap after lap', () => {
  const seed = Math.floor(systemRandom.next() * 2 ** 32)
  const random = seededRandom(seed)
  const pick = (below: number) => Math.floor(random.next() * below)
  const { writer, reader } = ring()
  const words = codecOf(Type.Tuple([Type.String(), Type.String(), Type.String()]))
  const chars = ['a', '7', 'z', '-', 'q', '\u0141', '💥']
  const text = () => {
    // Few differ in length: a text of the lap before would pass for this one.
    const known = pick(8) === 0 ? chars.length : 5
    const length = [0, 6, 13, 36, 36, 36, 257][pick(7)] ?? 0
    return Array.from({ length }, () => chars[pick(known)]).join('')
  }
  const [sent, got]: [unknown[], unknown[]] = [[], []]
  const take = (cursor: Cursor) => {
    cursor.at += header_bytes
    got.push(words.read(cursor))
  }
  for (let bytes = 0; bytes < 3 * 1024 * 1024;) {
    const value = [text(), text(), text()]
    assert.ok(writer.begin())
    const { cursor } = writer
    const start = cursor.at
    cursor.at += header_bytes
    words.write(cursor, value)
    cursor.view.setUint32(start, cursor.at - start, true)
    bytes += cursor.at - start
    writer.end()
    sent.push(value)
    if (pick(30) > 0) continue
    writer.publish()
    while (reader.drain(1 + pick(20), take) > 0);
  }
  writer.publish()
  while (reader.drain(1_000, take) > 0);
  assert.deepEqual(got, sent, `seed ${seed}`)
})

test('what is written is seen when it is published, and one wake tells of all', async () => {
  const { writer, reader, woken } = ring()
  for (let number = 1; number <= 10; number += 1) put(writer, frame(100, number))
  assert.equal(reader.hasMore, false)
  await Promise.resolve()
  assert.equal(reader.hasMore, true)
  assert.equal(woken(), 1)
  assert.equal(
    reader.drain(100, () => undefined),
    10,
  )
  assert.equal(reader.hasMore, false)
})

test('a full ring takes nothing until something was read, and calls back then', () => {
  const { writer, reader } = ring()
  let count = 0
  while (put(writer, frame(1_000, count))) count += 1
  assert.ok(count * 1_000 > 900_000 && count * 1_000 <= 1024 * 1024)
  assert.equal(put(writer, frame(24, 0)), false)
  let called = 0
  writer.onRoom(() => {
    called += 1
  })
  assert.equal(called, 0)
  writer.publish()
  reader.drain(200, () => undefined)
  for (const callback of later.splice(0)) callback()
  assert.equal(called, 1)
  assert.ok(put(writer, frame(1_000, 0)))
})

test('a writer has room again before all of a long batch is read', () => {
  const { writer, reader } = ring()
  let sent = 0
  while (put(writer, frame(4_096, sent))) sent += 1
  writer.publish()
  let read = 0
  let putAfter = -1
  reader.drain(sent, () => {
    read += 1
    if (putAfter < 0 && put(writer, frame(4_096, sent))) putAfter = read
  })
  assert.equal(read, sent)
  assert.ok(putAfter > 0 && putAfter < sent / 4, `after ${putAfter} of ${sent}`)
})

test('the largest frames go through memory of their own, and wait for room there', () => {
  const { writer, reader } = ring()
  const sizes = [65_537, 1_000_003, limits.frame_bytes_max]
  // Many times around that memory, too.
  for (let turn = 0; turn < 30; turn += 1) {
    for (const bytes of sizes) {
      const whole = frame(bytes, turn)
      assert.ok(put(writer, whole))
      assert.ok(put(writer, frame(24, turn)), 'small ones keep their place')
      writer.publish()
      const got: Buffer[] = []
      reader.drain(10, (cursor) => got.push(copyOf(cursor)))
      assert.ok(got[0]?.equals(whole))
      assert.equal(got[1]?.length, 24)
    }
  }
  let count = 0
  while (put(writer, frame(limits.frame_bytes_max, count))) count += 1
  assert.ok(count >= 1 && count <= 2, `${count} of the largest wait at most`)
  writer.publish()
  assert.equal(
    reader.drain(10, () => undefined),
    count,
  )
  assert.ok(put(writer, frame(limits.frame_bytes_max, 0)))
})

test('a closed ring takes nothing, and its reader learns of it', () => {
  const { writer, reader } = ring()
  put(writer, frame(100, 1))
  writer.publish()
  writer.close()
  assert.ok(reader.isClosed)
  assert.equal(
    reader.drain(10, () => undefined),
    1,
    'what was there before can still be read',
  )
})

test('memory that another thread scribbles over is read as frames or refused, again and again', async () => {
  const scribble = `
    const { workerData } = require('node:worker_threads')
    const bytes = new Uint8Array(workerData.shared)
    let state = workerData.seed
    const next = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0)
    for (;;) bytes[next() % bytes.length] = next() >>> 16
  `
  const first = ring()
  const worker = new Worker(scribble, {
    eval: true,
    workerData: { shared: first.memory.reader.shared, seed: 7 },
  })
  ending.push(() => void worker.terminate())
  await new Promise<void>((resolve) => {
    worker.once('online', resolve)
  })
  let [refused, taken] = [0, 0]
  for (let turn = 0; turn < 2_000; turn += 1) {
    // A new pair of ends over the same memory: both begin at its beginning.
    const writer = new RingWriter(
      first.memory.writer,
      () => undefined,
      () => undefined,
    )
    const reader = new RingReader(first.memory.reader)
    new Int32Array(first.memory.reader.shared, 0, 64).fill(0)
    for (let number = 1; number < 10; number += 1) put(writer, frame(30 * number, number))
    writer.publish()
    try {
      taken += reader.drain(100, (cursor) => {
        assert.ok(cursor.limit - cursor.at >= header_bytes)
        assert.ok(cursor.limit <= cursor.buffer.length)
      })
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error))
      refused += 1
    }
  }
  await worker.terminate()
  assert.ok(taken > 0 && refused > 0, `${taken} frames were taken, ${refused} rings refused`)
})
