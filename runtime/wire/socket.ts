/** Frames over a byte stream: gathered into one write a tick on the way out, cut apart on the way in. */
import type { Duplex } from 'node:stream'
import { limits } from '#config/limits.ts'
import { cursorOver, type Cursor } from '../codec/cursor.ts'
import type { Outlet } from '../channel/outlet.ts'
import { frame_bytes_max, FrameError, frameLength } from './frame.ts'

const chunk_bytes = 256 * 1024
/** A frame of common size has this much room at least; a larger one has memory of its own. */
const room_bytes = 32 * 1024
const spare_chunks_max = 8

export class SocketOutlet implements Outlet {
  cursor: Cursor
  readonly #socket: Duplex
  readonly #spare: Cursor[] = []
  /** How much of the chunk is written, and how much of that the socket has. */
  #written = 0
  #flushed = 0
  #isScheduled = false

  constructor(socket: Duplex) {
    this.#socket = socket
    this.cursor = freshChunk()
  }

  begin(): boolean {
    if (this.#socket.destroyed || this.#socket.writableLength > limits.link_outgoing_bytes_max) {
      return false
    }
    if (chunk_bytes - this.#written < room_bytes) this.#change()
    this.cursor.at = this.#written
    this.cursor.limit = chunk_bytes
    return true
  }

  end(): void {
    this.#written = this.cursor.at
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(this.#flushLater)
  }

  large(frame: Buffer): boolean {
    this.flush()
    this.#socket.write(frame)
    return true
  }

  onRoom(callback: () => void): void {
    if (this.#socket.writableNeedDrain) this.#socket.once('drain', callback)
    else setImmediate(callback)
  }

  /** Hands what was written to the socket. */
  flush(): void {
    const end = this.#written
    if (end === this.#flushed || this.#socket.destroyed) return
    const { cursor } = this
    this.#socket.write(cursor.buffer.subarray(this.#flushed, end), () => {
      this.#sent(cursor, end)
    })
    this.#flushed = end
  }

  /** A chunk is used to its end before the next: a peer that reads slowly costs no more than it is owed. */
  #change(): void {
    this.flush()
    this.cursor.at = this.#written
    this.cursor = this.#spare.pop() ?? freshChunk()
    this.#written = 0
    this.#flushed = 0
  }

  /** The socket has passed on what was written up to `end`. */
  #sent(cursor: Cursor, end: number): void {
    if (cursor === this.cursor) {
      if (end !== this.#written) return
      this.#written = 0
      this.#flushed = 0
    } else if (end === cursor.at && this.#spare.length < spare_chunks_max) {
      this.#spare.push(cursor)
    }
  }

  readonly #flushLater = (): void => {
    this.#isScheduled = false
    this.flush()
  }
}

const freshChunk = (): Cursor => cursorOver(Buffer.allocUnsafeSlow(chunk_bytes))

/** Memory for frames that come in pieces; what one needed beyond the second is given back. */
const held_bytes_min = 4_096
const held_bytes_kept = 64 * 1024

/**
 * Cuts a byte stream into frames. A frame that announces too much ends the stream; one that announces
 * much gets memory as its bytes come, in whatever pieces they do.
 */
export class FrameCutter {
  /** A longer frame is refused. */
  bytes_max = frame_bytes_max
  /** The beginning of a frame that has not come whole, and how much is there of how much. */
  #held = cursorOver(Buffer.alloc(held_bytes_min))
  #heldBytes = 0
  #due = 0

  /** Takes what arrived and hands over the whole frames in it. Throws FrameError. */
  push(chunk: Buffer, take: (cursor: Cursor) => void): void {
    let at = 0
    while (this.#heldBytes > 0 && at < chunk.length) {
      const count = Math.min(this.#due - this.#heldBytes, chunk.length - at)
      this.#hold(chunk, at, count)
      at += count
      if (this.#heldBytes < this.#due) return
      if (this.#due === length_bytes) this.#due = this.#lengthAt(this.#held, 0)
      else this.#takeHeld(take)
    }
    if (at >= chunk.length) return
    const cursor = cursorOver(chunk)
    cursor.known = chunk.length
    this.#cut(cursor, at, take)
  }

  #cut(cursor: Cursor, from: number, take: (cursor: Cursor) => void): void {
    const count = cursor.buffer.length
    let at = from
    this.#due = length_bytes
    while (count - at >= length_bytes) {
      const length = this.#lengthAt(cursor, at)
      if (count - at < length) {
        this.#due = length
        break
      }
      cursor.at = at
      cursor.limit = at + length
      take(cursor)
      at += length
    }
    if (at < count) this.#hold(cursor.buffer, at, count - at)
  }

  #takeHeld(take: (cursor: Cursor) => void): void {
    const cursor = this.#held
    cursor.at = 0
    cursor.limit = this.#due
    this.#heldBytes = 0
    if (cursor.buffer.length > held_bytes_kept) {
      this.#held = cursorOver(Buffer.allocUnsafeSlow(held_bytes_min))
    }
    take(cursor)
  }

  #lengthAt({ view }: Cursor, at: number): number {
    const length = frameLength(view, at)
    if (length > this.bytes_max) throw new FrameError(`a frame announces ${length} bytes`)
    return length
  }

  #hold(bytes: Buffer, at: number, count: number): void {
    const needed = this.#heldBytes + count
    if (needed > this.#held.buffer.length) {
      const larger = cursorOver(
        Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#held.buffer.length)),
      )
      this.#held.buffer.copy(larger.buffer, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    bytes.copy(this.#held.buffer, this.#heldBytes, at, at + count)
    this.#heldBytes = needed
  }
}

const length_bytes = 4
