/**
 * One frame for threads and hosts. A header of six words, little-endian:
 *
 *   u32 length of the whole frame · u8 kind · u8 flags · u16 op · u32 correlation · u32 target
 *   · u32 remaining ms · u32 sequence · [u8×24 trace, with flag 2] · payload
 *
 * `op` names a row of the protocol. `target` is a number that a `bind` frame has given to an actor before.
 * The remaining time is relative, because two hosts' clocks differ. `sequence` counts the frames of
 * one direction: what was lost, doubled or changed places on the way shows at once, and ends the
 * channel. The payload is msgpack: a request or reply by its row's schema, or one of the shapes here.
 */
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { codecOf } from '../codec/codec.ts'
import type { Cursor } from '../codec/cursor.ts'
import type { Span } from '../trace.ts'

export const kinds = {
  call: 1,
  reply: 2,
  failure: 3,
  cancel: 4,
  cast: 5,
  bind: 6,
  monitor: 7,
  demonitor: 8,
  down: 9,
  hello: 10,
  ping: 11,
  pong: 12,
} as const
export const flags = { trace: 2 } as const

/** A header; one object serves for all frames of a channel. */
export interface Header {
  kind: number
  flags: number
  op: number
  correlation: number
  target: number
  remaining_ms: number
  sequence: number
}
export const emptyHeader = (): Header => ({
  kind: 0,
  flags: 0,
  op: 0,
  correlation: 0,
  target: 0,
  remaining_ms: 0,
  sequence: 0,
})

export const header_bytes = 24
const trace_bytes = 24
/** What a frame may say at most; a longer one ends the connection. */
export const frame_bytes_max = limits.frame_bytes_max
/** Longer than any call waits; what a frame says for "no limit". */
export const remaining_ms_max = 0xffff_ffff

/** A frame that cannot be: the channel that it came on is over. */
export class FrameError extends Error {}

/** `bind`: the actor that a number stands for from now on. */
export const bindCodec = codecOf(
  Type.Tuple([
    Type.String({ maxLength: 128 }),
    Type.String({ minLength: 1, maxLength: 64 }),
    Type.String({ minLength: 1, maxLength: 512 }),
  ]),
)
const detail_chars_max = 4_096
/** `failure` and `down`: a code and a sentence. */
export const failureCodec = codecOf(
  Type.Tuple([
    Type.String({ minLength: 1, maxLength: 64 }),
    Type.String({ maxLength: detail_chars_max }),
  ]),
)
export const shorten = (detail: string): string => detail.slice(0, detail_chars_max / 2)

/** Writes a header over the frame that begins at `start` and ends at the cursor. */
export function writeHeader(cursor: Cursor, start: number, header: Header): void {
  const { view } = cursor
  view.setUint32(start, cursor.at - start, true)
  view.setUint32(start + 4, header.kind | (header.flags << 8) | (header.op << 16), true)
  view.setUint32(start + 8, header.correlation, true)
  view.setUint32(start + 12, header.target, true)
  view.setUint32(start + 16, header.remaining_ms, true)
  view.setUint32(start + 20, header.sequence, true)
}

/** Reads the header at the cursor and moves past it. */
export function readHeader(cursor: Cursor, header: Header): void {
  const { view, at } = cursor
  const word = view.getUint32(at + 4, true)
  header.kind = word & 0xff
  header.flags = (word >>> 8) & 0xff
  header.op = word >>> 16
  header.correlation = view.getUint32(at + 8, true)
  header.target = view.getUint32(at + 12, true)
  header.remaining_ms = view.getUint32(at + 16, true)
  header.sequence = view.getUint32(at + 20, true)
  cursor.at = at + header_bytes
}

/** The trace that a frame carries behind its header. */
export function writeSpan(cursor: Cursor, span: Span): void {
  cursor.buffer.write(span.trace_id + span.span_id, cursor.at, 'hex')
  cursor.at += trace_bytes
}
export function readSpan(cursor: Cursor): Span {
  const end = cursor.at + trace_bytes
  if (end > cursor.limit) throw new FrameError('a frame is shorter than its trace')
  const text = cursor.buffer.toString('hex', cursor.at, end)
  cursor.at = end
  return { trace_id: text.slice(0, 32), span_id: text.slice(32) }
}

/** The length of the frame that begins at `at`. Throws FrameError when it makes no sense. */
export function frameLength(view: DataView, at: number): number {
  const length = view.getUint32(at, true)
  if (length < header_bytes || length > frame_bytes_max) {
    throw new FrameError(`a frame announces ${length} bytes`)
  }
  return length
}
