/**
 * Reading and writing msgpack in place. A cursor is a window into memory that somebody else owns (a
 * ring, a socket's chunk); what is read out of it is always a copy.
 *
 * Source of the formats: the msgpack specification, github.com/msgpack/msgpack/blob/master/spec.md.
 */
import { memoryFor } from './memory.ts'
import { shortText } from './text.ts'

declare global {
  // Node has had these from its first versions; its types leave them out.
  interface Buffer {
    utf8Slice(start: number, end: number): string
    latin1Slice(start: number, end: number): string
    utf8Write(text: string, at: number, bytes_max: number): number
  }
}

/** Where bytes are read or written: `buffer` and `view` show the same memory. */
export interface Cursor {
  buffer: Buffer
  view: DataView
  /** The next byte. */
  at: number
  /** The first byte that is out of bounds. */
  limit: number
  /** How many more items lists and maps of this message may have. */
  items: number
  /**
   * Up to where it is worth to look for texts of frames behind this one; 0 where the owner of the memory does
   * not forget what was seen before it reads what has come since.
   */
  known: number
  /** A piece of this memory as text, and where it is from. */
  seen: string
  seen_from: number
  seen_end: number
  /** Of the texts in its lists (texts.ts): whether all are ASCII, the next one, their end, and that of their bytes. */
  is_ascii: boolean
  text_at: number
  texts: string[]
  text_end: number
  text_limit: number
  /** A piece of these texts, which units it has, and where its bytes begin. */
  window: string
  window_from: number
  window_end: number
  window_at: number
}

/** A cursor over a piece of memory. */
export function cursorOver(bytes: Uint8Array): Cursor {
  const { buffer, byteOffset, byteLength } = bytes
  return {
    buffer: Buffer.from(buffer, byteOffset, byteLength),
    view: new DataView(buffer, byteOffset, byteLength),
    at: 0,
    limit: byteLength,
    items: 0,
    known: 0,
    seen: '',
    seen_from: 0,
    seen_end: 0,
    is_ascii: true,
    text_at: 0,
    texts: [],
    text_end: 0,
    text_limit: 0,
    window: '',
    window_from: 0,
    window_end: 0,
    window_at: 0,
  }
}

/** A value that breaks its schema, or bytes that are none of ours. */
export class Misfit extends Error {}
/** There is no room for a value here: it must be written where there is more. */
export class Overflow extends Error {}

export const overflow = new Overflow('no room')
/** Refuses what is being read or written. */
export function bad(what: string): never {
  throw new Misfit(what)
}

/** Makes sure of room for `bytes`; throws Overflow. */
export function room(cursor: Cursor, bytes: number): void {
  if (cursor.at + bytes > cursor.limit) throw overflow
}
function need(cursor: Cursor, bytes: number): void {
  if (cursor.at + bytes > cursor.limit) bad('it ends too early')
}

/** Counts items of lists, so that no message keeps its reader from others for long. */
export function charge(cursor: Cursor, items: number): void {
  cursor.items -= items
  if (cursor.items < 0) bad('lists and maps of one message have too many items')
}

/** The head of a list of `count` items. */
export function writeListHead(cursor: Cursor, count: number): void {
  room(cursor, 5)
  const { buffer, view, at } = cursor
  if (count < 16) {
    buffer[at] = 0x90 | count
    cursor.at = at + 1
  } else {
    buffer[at] = 0xdd
    view.setUint32(at + 1, count)
    cursor.at = at + 5
  }
}

/** The head of a map of `count` pairs. */
export function writeMapHead(cursor: Cursor, count: number): void {
  room(cursor, 5)
  const { buffer, view, at } = cursor
  buffer[at] = 0xdf
  view.setUint32(at + 1, count)
  cursor.at = at + 5
}

/** One byte that stands for itself: nil, a boolean, a small number. */
export function writeToken(cursor: Cursor, token: number): void {
  room(cursor, 1)
  cursor.buffer[cursor.at++] = token
}

/** A number; whole ones of 32 bits as integers, all others, and -0, as doubles. */
export function writeNumber(cursor: Cursor, value: number): void {
  room(cursor, 9)
  const { buffer, view, at } = cursor
  if ((value | 0) !== value || Object.is(value, -0)) {
    buffer[at] = 0xcb
    view.setFloat64(at + 1, value)
    cursor.at = at + 9
  } else if (value >= -32 && value < 128) {
    buffer[at] = value
    cursor.at = at + 1
  } else {
    buffer[at] = 0xd2
    view.setInt32(at + 1, value)
    cursor.at = at + 5
  }
}

/** Longer text is written by the engine: reading a string character by character is what takes long. */
const loop_chars_max = 15
/** UTF-8 takes at most three bytes for a UTF-16 unit. */
const bytes_a_char_max = 3
/** Whatever this much text is, a head of two bytes can tell its length. */
const short_chars_max = 85

/** Text as UTF-8. */
export function writeString(cursor: Cursor, text: string): void {
  const { length } = text
  if (length > loop_chars_max) {
    writeByEngine(cursor, text)
    return
  }
  room(cursor, length + 1)
  const { buffer, at } = cursor
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(index)
    if (code > 127) {
      writeByEngine(cursor, text)
      return
    }
    buffer[at + 1 + index] = code
  }
  buffer[at] = 0xa0 | length
  cursor.at = at + 1 + length
}

function writeByEngine(cursor: Cursor, text: string): void {
  const bytes_max = text.length * bytes_a_char_max
  const { buffer, view, at } = cursor
  if (text.length <= short_chars_max) {
    room(cursor, bytes_max + 2)
    const written = buffer.utf8Write(text, at + 2, bytes_max)
    buffer[at] = 0xd9
    buffer[at + 1] = written
    cursor.at = at + 2 + written
  } else {
    room(cursor, bytes_max + 5)
    const written = buffer.utf8Write(text, at + 5, bytes_max)
    buffer[at] = 0xdb
    view.setUint32(at + 1, written)
    cursor.at = at + 5 + written
  }
}

// Into shared memory, and out of it, the engine's own `set` is ten times slower than this.
const { copy } = Buffer.prototype

/** Raw bytes. */
export function writeBytes(cursor: Cursor, bytes: Uint8Array): void {
  const { length } = bytes
  room(cursor, length + 5)
  const { buffer, view, at } = cursor
  buffer[at] = 0xc6
  view.setUint32(at + 1, length)
  copy.call(bytes, buffer, at + 5)
  cursor.at = at + 5 + length
}

/** The next byte, without taking it. */
export function peek(cursor: Cursor): number {
  need(cursor, 1)
  return cursor.view.getUint8(cursor.at)
}

/** The length of a list. */
export function readListHead(cursor: Cursor): number {
  const token = peek(cursor)
  if (token >> 4 === 0x9) {
    cursor.at += 1
    return token & 0x0f
  }
  return readLength(cursor, token, 0xdc, 'a list')
}

/** The number of pairs of a map. */
export function readMapHead(cursor: Cursor): number {
  const token = peek(cursor)
  if (token >> 4 === 0x8) {
    cursor.at += 1
    return token & 0x0f
  }
  return readLength(cursor, token, 0xde, 'a map')
}

/** A 16 or 32 bit length, by two tokens that follow each other. */
function readLength(cursor: Cursor, token: number, short: number, what: string): number {
  const { view, at } = cursor
  if (token === short) {
    need(cursor, 3)
    cursor.at = at + 3
    return view.getUint16(at + 1)
  }
  if (token !== short + 1) bad(`it is not ${what}`)
  need(cursor, 5)
  cursor.at = at + 5
  return view.getUint32(at + 1)
}

/** A number of any of msgpack's kinds. */
export function readNumber(cursor: Cursor): number {
  const token = peek(cursor)
  const { view, at } = cursor
  if (token < 0x80) {
    cursor.at = at + 1
    return token
  }
  if (token === 0xd2) {
    need(cursor, 5)
    cursor.at = at + 5
    return view.getInt32(at + 1)
  }
  if (token === 0xcb) {
    need(cursor, 9)
    cursor.at = at + 9
    return view.getFloat64(at + 1)
  }
  if (token >= 0xe0) {
    cursor.at = at + 1
    return token - 0x100
  }
  return readOtherNumber(cursor, token)
}

/** What other writers of msgpack choose for numbers: bytes after the token, and how to read them. */
const otherNumbers: ReadonlyMap<number, readonly [number, (view: DataView, at: number) => number]> =
  new Map([
    [0xca, [4, (view, at) => view.getFloat32(at)]],
    [0xcc, [1, (view, at) => view.getUint8(at)]],
    [0xcd, [2, (view, at) => view.getUint16(at)]],
    [0xce, [4, (view, at) => view.getUint32(at)]],
    [0xcf, [8, (view, at) => Number(view.getBigUint64(at))]],
    [0xd0, [1, (view, at) => view.getInt8(at)]],
    [0xd1, [2, (view, at) => view.getInt16(at)]],
    [0xd3, [8, (view, at) => Number(view.getBigInt64(at))]],
  ])

function readOtherNumber(cursor: Cursor, token: number): number {
  const found = otherNumbers.get(token)
  if (found === undefined) return bad('it is not a number')
  const [bytes, read] = found
  need(cursor, 1 + bytes)
  const value = read(cursor.view, cursor.at + 1)
  cursor.at += 1 + bytes
  return value
}

/** What is asked for at once to take texts from: each that is kept keeps so much. */
export const piece_bytes = 1_024
/** Shorter text is copied, of whatever it is a part; for longer text there is no need to ask for more than it. */
const part_chars_min = 13
const part_chars_max = piece_bytes / 4

/**
 * Text that is in no list. To have the engine make one text costs as much as for a kilobyte: where more frames
 * are known to lie behind this one, their texts become parts of one that was asked for.
 */
export function readString(cursor: Cursor): string {
  const length = readTextHead(cursor)
  const { buffer, at: from } = cursor
  const end = from + length
  if (end > cursor.limit) bad('text reaches past the end')
  cursor.at = end
  if (from < cursor.seen_from || end > cursor.seen_end) {
    if (length < part_chars_min || length > part_chars_max || cursor.known === 0) {
      return shortText(buffer, from, length) ?? buffer.utf8Slice(from, end)
    }
    cursor.seen_from = from
    cursor.seen_end = Math.min(from + piece_bytes, Math.max(cursor.known, cursor.limit))
    cursor.seen = buffer.latin1Slice(from, cursor.seen_end)
  }
  if (!isAscii(cursor.view, from, end)) return buffer.utf8Slice(from, end)
  return cursor.seen.slice(from - cursor.seen_from, end - cursor.seen_from)
}

function isAscii(view: DataView, from: number, end: number): boolean {
  let seen = 0
  let at = from
  for (; at + 4 <= end; at += 4) seen |= view.getInt32(at)
  for (; at < end; at += 1) seen |= view.getUint8(at)
  return (seen & 0x80808080) === 0
}

function readTextHead(cursor: Cursor): number {
  const token = peek(cursor)
  if (token >> 5 === 0x5) {
    cursor.at += 1
    return token & 0x1f
  }
  if (token !== 0xd9) return readLength(cursor, token, 0xda, 'text')
  need(cursor, 2)
  cursor.at += 2
  return cursor.view.getUint8(cursor.at - 1)
}

/** A copy of raw bytes. */
export function readBytes(cursor: Cursor): Uint8Array {
  const token = peek(cursor)
  let length: number
  if (token === 0xc4) {
    need(cursor, 2)
    length = cursor.view.getUint8(cursor.at + 1)
    cursor.at += 2
  } else {
    length = readLength(cursor, token, 0xc5, 'bytes')
  }
  const from = cursor.at
  if (from + length > cursor.limit) bad('bytes reach past the end')
  cursor.at = from + length
  const made = memoryFor(length)
  copy.call(cursor.buffer, made, 0, from, from + length)
  return made
}

/** A copy of bytes that a caller keeps. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const made = memoryFor(bytes.length)
  made.set(bytes)
  return made
}
