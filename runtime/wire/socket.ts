/** Frames over a byte stream: gathered into one write a tick on the way out, cut apart on the way in. */
import type { Duplex } from 'node:stream'
import { limits } from '#config/limits.ts'
import { cursorOver, type Cursor } from '../codec/cursor.ts'
import type { Outlet } from '../channel/outlet.ts'
import { frameLength } from './frame.ts'

const chunk_bytes = 256 * 1024
/** A frame of common size has this much room at least; a larger one has memory of its own. */
const room_bytes = 32 * 1024
const spare_chunks_max = 8

export class SocketOutlet implements Outlet {
  cursor: Cursor
  readonly #socket: Duplex
  readonly #spare: Cursor[] = []
  #written = 0
  #isScheduled = false

  constructor(socket: Duplex) {
    this.#socket = socket
    this.cursor = freshChunk()
  }

  begin(): boolean {
    if (this.#socket.destroyed || this.#socket.writableLength > limits.link_outgoing_bytes_max) {
      return false
    }
    this.cursor.at = this.#written
    if (chunk_bytes - this.#written < room_bytes) this.flush()
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
    if (this.#written === 0 || this.#socket.destroyed) return
    const { cursor } = this
    this.#socket.write(cursor.buffer.subarray(0, this.#written), () => {
      if (this.#spare.length < spare_chunks_max) this.#spare.push(cursor)
    })
    this.#written = 0
    this.cursor = this.#spare.pop() ?? freshChunk()
    this.cursor.at = 0
  }

  readonly #flushLater = (): void => {
    this.#isScheduled = false
    this.flush()
  }
}

const freshChunk = (): Cursor => cursorOver(Buffer.allocUnsafeSlow(chunk_bytes))

/** Cuts a byte stream into frames. A frame that announces too much ends the stream. */
export class FrameCutter {
  #held: Buffer[] = []
  #heldBytes = 0
  /** How many bytes must be there before anything can be taken; 0 while nothing is held. */
  #due = 0

  /** Takes what arrived and hands over the whole frames in it. Throws FrameError. */
  push(chunk: Buffer, take: (cursor: Cursor) => void): void {
    let bytes = chunk
    if (this.#heldBytes > 0) {
      this.#held.push(chunk)
      this.#heldBytes += chunk.length
      if (this.#heldBytes < this.#due) return
      bytes = Buffer.concat(this.#held)
    }
    this.#hold(this.#cut(bytes, take))
  }

  /** Hands over whole frames; gives back what is left. */
  #cut(bytes: Buffer, take: (cursor: Cursor) => void): Buffer {
    const cursor = cursorOver(bytes)
    let at = 0
    this.#due = 4
    while (bytes.length - at >= 4) {
      const length = frameLength(cursor.view, at)
      if (bytes.length - at < length) {
        this.#due = length
        break
      }
      cursor.at = at
      cursor.limit = at + length
      take(cursor)
      at += length
    }
    return bytes.subarray(at)
  }

  #hold(rest: Buffer): void {
    this.#held = rest.length > 0 ? [rest] : []
    this.#heldBytes = rest.length
  }
}
