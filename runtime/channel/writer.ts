/**
 * Puts frames on their way: now, when there is room; later, when the other end waits for them; never,
 * when a caller can be told `busy` instead.
 */
import { limits } from '#config/limits.ts'
import type { Codec } from '../codec/compile.ts'
import { cursorOver, Misfit, Overflow, type Cursor } from '../codec/cursor.ts'
import type { Span } from '../trace.ts'
import * as frame from '../wire/frame.ts'
import { flags, FrameError, header_bytes, type Header } from '../wire/frame.ts'
import type { Outlet } from './outlet.ts'

export class FrameWriter {
  readonly #outlet: Outlet
  readonly #header: Header = frame.emptyHeader()
  /**
   * Frames that must go out although the outlet is full: replies, above all. Nothing else goes before
   * them. They are few, because the calls in flight are.
   */
  readonly #parked: Buffer[] = []
  #parkedBytes = 0
  #sent = 0

  constructor(outlet: Outlet) {
    this.#outlet = outlet
  }

  /** More waits to be read by the other end than one end may ask of the other. */
  get isOverfull(): boolean {
    return this.#parkedBytes > limits.link_outgoing_bytes_max
  }

  get isParked(): boolean {
    return this.#parked.length > 0
  }
  /** How many frames wait for room. */
  get parked(): number {
    return this.#parked.length
  }
  /** More waits to be read than an end that keeps to its bounds can bring about. */
  get isFlooded(): boolean {
    return (
      this.#parkedBytes > limits.link_parked_bytes_max ||
      this.#parked.length > limits.link_parked_max
    )
  }

  /** The header of the next frame, with nothing in it but this. */
  head(kind: number, correlation: number, target = 0): Header {
    const header = this.#header
    header.kind = kind
    header.op = 0
    header.correlation = correlation
    header.target = target
    header.remaining_ms = 0
    return header
  }

  /**
   * Writes the frame that `head` has begun. False when there is no room. Throws Misfit when the value
   * breaks its schema, FrameError when it is too large for any frame.
   */
  send(codec: Codec, value: unknown, span: Span | null): boolean {
    if (this.#parked.length > 0 || !this.#outlet.begin()) return false
    const { cursor } = this.#outlet
    const start = cursor.at
    try {
      this.#write(cursor, codec, value, span)
    } catch (error) {
      cursor.at = start
      if (!(error instanceof Overflow)) throw error
      if (!this.#outlet.large(this.#writeApart(codec, value, span))) return false
      this.#sent = this.#header.sequence
      return true
    }
    this.#sent = this.#header.sequence
    this.#outlet.end()
    return true
  }

  /** The same for what the other end waits for: it goes as soon as there is room. */
  must(codec: Codec, value: unknown): void {
    if (this.send(codec, value, null)) return
    const whole = this.#writeApart(codec, value, null)
    this.#sent = this.#header.sequence
    // Most are short, and the memory that they were written in is not.
    this.#parked.push(whole.length < 2_048 ? Buffer.from(whole) : whole)
    this.#parkedBytes += whole.length
    if (this.#parked.length === 1) this.#outlet.onRoom(this.#unpark)
  }

  /** Nothing goes out any more. */
  close(): void {
    this.#parked.length = 0
    this.#parkedBytes = 0
  }

  #write(cursor: Cursor, codec: Codec, value: unknown, span: Span | null): void {
    const start = cursor.at
    cursor.at = start + header_bytes
    this.#header.flags = span === null ? 0 : flags.trace
    this.#header.sequence = (this.#sent + 1) >>> 0
    if (span !== null) frame.writeSpan(cursor, span)
    codec.write(cursor, value)
    frame.writeHeader(cursor, start, this.#header)
  }

  /** The frame in memory of its own, which grows until it fits. Throws FrameError beyond the limit. */
  #writeApart(codec: Codec, value: unknown, span: Span | null): Buffer {
    for (let bytes = 4_096; ; bytes *= 4) {
      const cursor = cursorOver(Buffer.allocUnsafeSlow(Math.min(bytes, frame.frame_bytes_max)))
      try {
        this.#write(cursor, codec, value, span)
        return cursor.buffer.subarray(0, cursor.at)
      } catch (error) {
        if (!(error instanceof Overflow)) throw error
        if (bytes >= frame.frame_bytes_max) {
          throw new FrameError(`it takes more than ${frame.frame_bytes_max} bytes`, {
            cause: error,
          })
        }
      }
    }
  }

  readonly #unpark = (): void => {
    let done = 0
    for (const whole of this.#parked) {
      if (!this.#put(whole)) break
      done += 1
      this.#parkedBytes -= whole.length
    }
    this.#parked.splice(0, done)
    if (this.#parked.length > 0) this.#outlet.onRoom(this.#unpark)
  }

  #put(whole: Buffer): boolean {
    if (!this.#outlet.begin()) return false
    const { cursor } = this.#outlet
    if (cursor.at + whole.length > cursor.limit) return this.#outlet.large(whole)
    cursor.buffer.set(whole, cursor.at)
    cursor.at += whole.length
    this.#outlet.end()
    return true
  }
}

/** Bytes that are a payload already. */
export const rawCodec: Codec = {
  write: (cursor, value) => {
    if (!(value instanceof Uint8Array)) throw new Misfit('these are no bytes')
    if (cursor.at + value.length > cursor.limit) throw new Overflow('no room')
    cursor.buffer.set(value, cursor.at)
    cursor.at += value.length
  },
  read: (cursor) => cursor,
  copy: (value) => value,
}
