/**
 * A ring of frames in shared memory: one thread writes, one reads, nobody locks. Head and tail are byte
 * counts that only grow; an entry is one frame, padded to eight bytes, and never split: what begins
 * before the end may run over into the slack behind it. Frames too large for the slack lie in a
 * second piece of shared memory, made when the first of them comes, and the ring holds their place.
 *
 * Control words, each on a cache line of its own: tail (writer's), head (reader's), closed.
 */
import { MessageChannel, receiveMessageOnPort, type MessagePort } from 'node:worker_threads'
import { limits } from '#config/limits.ts'
import { cursorOver, type Cursor } from '../codec/cursor.ts'
import type { Outlet } from '../channel/outlet.ts'
import { FrameError, frameLength, header_bytes } from '../wire/frame.ts'

const ring_bytes = 1 << 20
const slack_bytes = 64 * 1024
/** Two of the largest frames: one may be written while the other is read. */
const bulk_bytes = 2 * limits.frame_bytes_max
/**
 * The reader begins with a long batch before all of it is written, and the writer goes on before all of it
 * is read: both threads work at once.
 */
const batch_bytes_max = 64 * 1024
const control_bytes = 256
const tail_word = 0
const head_word = 16
const closed_word = 32
/** The length word of an entry whose frame lies in the bulk memory. */
const bulk_mark = 0xffff_ffff
const bulk_entry_bytes = 16

/** One direction of a pair of threads; both ends get the same memory. */
export interface RingMemory {
  readonly shared: SharedArrayBuffer
  /** Hands over the bulk memory. */
  readonly port: MessagePort
}

/** Memory for one direction: the writer's and the reader's side. */
export function makeRing(): { readonly writer: RingMemory; readonly reader: RingMemory } {
  const shared = new SharedArrayBuffer(control_bytes + ring_bytes + slack_bytes)
  const { port1, port2 } = new MessageChannel()
  return { writer: { shared, port: port1 }, reader: { shared, port: port2 } }
}

/** Cheaper than queueMicrotask; see the scheduler. */
const soon = Promise.resolve()

const padded = (bytes: number): number => (bytes + 7) & ~7
/** The next position: past an entry, and to the beginning when it reached the end. */
function advance(position: number, bytes: number): number {
  const at = position & (ring_bytes - 1)
  const step = at + padded(bytes) >= ring_bytes ? ring_bytes - at : padded(bytes)
  return (position + step) | 0
}

export class RingWriter implements Outlet {
  readonly cursor: Cursor
  readonly #control: Int32Array
  readonly #port: MessagePort
  /** Tells the reader that there is something, if it sleeps. */
  readonly #wake: () => void
  readonly #later: (callback: () => void) => void
  #tail = 0
  #published = 0
  #head = 0
  #start = 0
  #isScheduled = false
  #bulk: { readonly memory: Buffer; readonly control: Int32Array; tail: number } | null = null

  /** `wake`: see Bell. `later`: calls back after about a millisecond. */
  constructor(memory: RingMemory, wake: () => void, later: (callback: () => void) => void) {
    this.#control = new Int32Array(memory.shared, 0, control_bytes / 4)
    this.#port = memory.port
    this.cursor = cursorOver(new Uint8Array(memory.shared, control_bytes))
    this.#wake = wake
    this.#later = later
    memory.port.unref()
  }

  begin(): boolean {
    if (this.#free() < slack_bytes) {
      this.#head = Atomics.load(this.#control, head_word)
      if (this.#free() < slack_bytes || Atomics.load(this.#control, closed_word) !== 0) return false
    }
    this.#start = this.#tail & (ring_bytes - 1)
    this.cursor.at = this.#start
    this.cursor.limit = this.#start + slack_bytes
    return true
  }

  end(): void {
    this.#commit(this.cursor.at - this.#start)
  }

  large(frame: Buffer): boolean {
    const bulk = this.#bulk ?? this.#makeBulk()
    const at = bulk.tail % bulk_bytes
    // A frame stands in one piece: what is left at the end is passed over.
    const skipped = at + frame.length > bulk_bytes ? bulk_bytes - at : 0
    // Both count in eights, and both begin again from below after 2³¹ of them.
    const used = ((bulk.tail / 8 - Atomics.load(bulk.control, 0)) | 0) * 8
    if (used + skipped + padded(frame.length) > bulk_bytes) return false
    const from = skipped > 0 ? 0 : at
    frame.copy(bulk.memory, from)
    bulk.tail += skipped + padded(frame.length)
    const { view } = this.cursor
    view.setUint32(this.#start, bulk_mark, true)
    view.setUint32(this.#start + 4, frame.length, true)
    view.setUint32(this.#start + 8, from, true)
    view.setUint32(this.#start + 12, bulk.tail / 8, true)
    this.#commit(bulk_entry_bytes)
    return true
  }

  onRoom(callback: () => void): void {
    this.#later(callback)
  }

  /** Lets the reader see what was written. */
  publish(): void {
    if (this.#published === this.#tail) return
    this.#published = this.#tail
    Atomics.store(this.#control, tail_word, this.#tail)
    this.#wake()
  }

  close(): void {
    Atomics.store(this.#control, closed_word, 1)
    this.#port.close()
    this.#wake()
  }

  #free(): number {
    return ring_bytes - ((this.#tail - this.#head) | 0)
  }

  #commit(bytes: number): void {
    this.#tail = advance(this.#tail, bytes)
    if (((this.#tail - this.#published) | 0) >= batch_bytes_max) this.publish()
    if (this.#isScheduled) return
    // One publication for all that is written until then.
    this.#isScheduled = true
    void soon.then(this.#publishLater)
  }

  readonly #publishLater = (): void => {
    this.#isScheduled = false
    this.publish()
  }

  #makeBulk() {
    const shared = new SharedArrayBuffer(8 + bulk_bytes)
    this.#port.postMessage(shared)
    const memory = Buffer.from(shared, 8, bulk_bytes)
    this.#bulk = { memory, control: new Int32Array(shared, 0, 2), tail: 0 }
    return this.#bulk
  }
}

export class RingReader {
  readonly #cursor: Cursor
  readonly #control: Int32Array
  readonly #port: MessagePort
  #head = 0
  #bulk: { readonly cursor: Cursor; readonly control: Int32Array } | null = null

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.shared, 0, control_bytes / 4)
    this.#port = memory.port
    this.#cursor = cursorOver(new Uint8Array(memory.shared, control_bytes))
    memory.port.unref()
  }

  get hasMore(): boolean {
    return Atomics.load(this.#control, tail_word) !== this.#head
  }
  get isClosed(): boolean {
    return Atomics.load(this.#control, closed_word) !== 0
  }

  /**
   * Hands over up to `max` frames; gives back how many. Throws FrameError when the memory holds what no
   * writer of ours writes.
   */
  drain(max: number, take: (cursor: Cursor) => void): number {
    const tail = Atomics.load(this.#control, tail_word)
    let released = this.#head
    let done = 0
    this.#know(tail)
    while (this.#head !== tail && done < max) {
      const waiting = (tail - this.#head) | 0
      if (waiting <= 0 || waiting > ring_bytes) throw new FrameError('the ring is out of step')
      this.#head = advance(this.#head, this.#one(waiting, take))
      done += 1
      if (((this.#head - released) | 0) < batch_bytes_max) continue
      released = this.#head
      Atomics.store(this.#control, head_word, released)
    }
    if (this.#head !== released) Atomics.store(this.#control, head_word, this.#head)
    return done
  }

  close(): void {
    this.#port.close()
  }

  /** What was seen before may have been overwritten; nothing is read now that is behind this tail. */
  #know(tail: number): void {
    const at = this.#head & (ring_bytes - 1)
    this.#cursor.known = Math.min(ring_bytes, at + ((tail - this.#head) | 0))
    this.#cursor.seen_end = 0
  }

  /** Hands over the frame at the head; gives back how long its entry is. */
  #one(waiting: number, take: (cursor: Cursor) => void): number {
    const cursor = this.#cursor
    const at = this.#head & (ring_bytes - 1)
    if (cursor.view.getUint32(at, true) === bulk_mark) {
      this.#large(at, take)
      return bulk_entry_bytes
    }
    const length = frameLength(cursor.view, at)
    // The last entry before the end runs over into the slack.
    const inRing = Math.min(length, ring_bytes - at)
    if (inRing > waiting || length > slack_bytes) {
      throw new FrameError('a frame reaches past the tail')
    }
    cursor.at = at
    cursor.limit = at + length
    take(cursor)
    return length
  }

  #large(at: number, take: (cursor: Cursor) => void): void {
    const { view } = this.#cursor
    const { cursor, control } = this.#bulk ?? this.#findBulk()
    const length = view.getUint32(at + 4, true)
    const from = view.getUint32(at + 8, true)
    if (from + length > bulk_bytes || length < header_bytes) {
      throw new FrameError('a large frame is nowhere')
    }
    cursor.at = from
    cursor.limit = from + length
    take(cursor)
    Atomics.store(control, 0, view.getInt32(at + 12, true))
  }

  #findBulk() {
    // The writer posts the memory before it publishes the first frame in it.
    const received = receiveMessageOnPort(this.#port)?.message as unknown
    if (!(received instanceof SharedArrayBuffer)) throw new FrameError('the bulk memory is missing')
    const cursor = cursorOver(new Uint8Array(received, 8, bulk_bytes))
    this.#bulk = { cursor, control: new Int32Array(received, 0, 2) }
    return this.#bulk
  }
}
