/**
 * Memory shared by two threads, as far as a channel sees it: frames in order, seen by the reader a little
 * after they were published, as much as fits. Its faults are those of memory that somebody else
 * overwrites: frames that are gone, there twice, or out of order.
 */
import { crc32 } from 'node:zlib'
import { limits } from '#config/limits.ts'
import type { Outlet } from '#runtime/channel/outlet.ts'
import { cursorOver, type Cursor } from '#runtime/codec/cursor.ts'
import type { Random } from '#runtime/random.ts'
import { FrameError } from '#runtime/wire/frame.ts'
import { kindNames, type End, type FrameWatch } from './frames.ts'
import { Violation, type Life } from './world.ts'

/** A frame of common size. Small, so that the way of large frames is gone as well. */
const room_bytes = 4_096
/** Little, so that it is full now and then. */
const capacity_bytes = 8 * 1024
const large_bytes_max = 2 * limits.frame_bytes_max
const frames_a_turn_max = 64
/** From publication to the reader's look. */
const wake_ms_max = 0.2

/** What may go wrong between two threads, or with one connection, at present. */
export interface Trouble {
  /** Of frames: lost, doubled or moved. */
  frames_share: number
  /** Nothing more fits. */
  isFull: boolean
}
export const calm = (): Trouble => ({ frames_share: 0, isFull: false })

export interface RingParts {
  readonly name: string
  readonly writer: Life
  readonly random: Random
  readonly watch: FrameWatch
  readonly end: End
  readonly trouble: Trouble
}
interface Reader {
  readonly life: Life
  readonly take: (cursor: Cursor) => void
  readonly broken: (error: FrameError) => void
}

export class SimRing implements Outlet {
  readonly cursor: Cursor = cursorOver(Buffer.alloc(room_bytes))
  readonly #parts: RingParts
  #reader: Reader | null = null
  #written: Buffer[] = []
  #frames: Buffer[] = []
  #bytes = 0
  #isScheduled = false
  #isAwake = false
  #isClosed = false
  /** Whether what was written is not what is read. */
  #isDamaged = false

  constructor(parts: RingParts) {
    this.#parts = parts
  }

  begin(): boolean {
    if (this.#isClosed || this.#parts.trouble.isFull || this.#bytes > capacity_bytes) return false
    this.cursor.at = 0
    this.cursor.limit = room_bytes
    return true
  }
  end(): void {
    this.#put(Buffer.from(this.cursor.buffer.subarray(0, this.cursor.at)))
  }
  large(frame: Buffer): boolean {
    if (this.#bytes + frame.length > large_bytes_max) return false
    this.#put(Buffer.from(frame))
    return true
  }
  onRoom(callback: () => void): void {
    this.#parts.writer.after(limits.ring_retry_ms, callback)
  }
  /** The writer writes no more. */
  close(): void {
    this.#isClosed = true
  }

  /** Begins to read, or with null ends. */
  read(reader: Reader | null): void {
    this.#reader = reader
    this.#wake()
  }

  #put(frame: Buffer): void {
    const { writer, watch, end, name } = this.#parts
    const { kind, sequence } = watch.sent(end, frame)
    const what = kindNames[kind] ?? String(kind)
    writer.world.note(name, `${what} #${sequence} ${frame.length} ${crc32(frame).toString(16)}`)
    this.#written.push(frame)
    this.#bytes += frame.length
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#publish()
    })
  }

  #publish(): void {
    const { random, trouble } = this.#parts
    const arrived = damage(this.#written, trouble.frames_share, random)
    this.#isDamaged ||= !isSame(arrived, this.#written)
    this.#bytes += lengthOf(arrived) - lengthOf(this.#written)
    this.#written = []
    this.#frames.push(...arrived)
    this.#wake()
  }

  #wake(): void {
    if (this.#isAwake || this.#reader === null || this.#frames.length === 0) return
    this.#isAwake = true
    this.#reader.life.after(this.#parts.random.next() * wake_ms_max, () => {
      this.#isAwake = false
      this.#drain()
    })
  }

  #drain(): void {
    try {
      for (let turn = 0; turn < frames_a_turn_max; turn += 1) {
        const frame = this.#reader === null ? undefined : this.#frames.shift()
        if (frame === undefined) break
        this.#bytes -= frame.length
        this.#reader?.take(cursorOver(frame))
      }
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      const { writer, name } = this.#parts
      writer.world.note(name, `broken: ${error.message}`)
      if (!this.#isDamaged) writer.world.fail(new Violation(`${name}: ${error.message}`))
      this.#reader?.broken(error)
    }
    this.#wake()
  }
}

/** Whether frames arrive as they were sent. */
export const isSame = (one: readonly Buffer[], other: readonly Buffer[]): boolean =>
  one.length === other.length && one.every((frame, index) => frame === other[index])
const lengthOf = (frames: readonly Buffer[]): number =>
  frames.reduce((sum, { length }) => sum + length, 0)

/** Loses, doubles and moves some of the frames. */
export function damage(frames: readonly Buffer[], share: number, random: Random): Buffer[] {
  if (share === 0) return [...frames]
  const out: Buffer[] = []
  for (const frame of frames) {
    if (random.next() >= share) {
      out.push(frame)
      continue
    }
    const kind = Math.floor(random.next() * 3)
    if (kind === 1) out.push(frame, frame)
    else if (kind === 2) out.splice(Math.max(0, out.length - 1), 0, frame)
  }
  return out
}
