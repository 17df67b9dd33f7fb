/**
 * The texts in a message's lists.
 *
 * To have the engine write one text, or make one, costs as much as for a kilobyte. So the texts of lists
 * travel behind the value of their message, all in one, and where they belong the value has their lengths, in
 * UTF-16 units, or -1 for the text that the item before has in that place. Such a message is a list of four:
 * how many units and how many bytes all texts have, the value, the texts.
 *
 * What is read of them are parts of pieces of about a kilobyte; a text that is kept keeps its piece.
 */
import { bad, overflow, peek, piece_bytes, readNumber, room, type Cursor } from './cursor.ts'

/** -1: the text that was there before. */
export const same_token = 0xff
const head_token = 0x94
const number_token = 0xd2
const text_token = 0xdb
/** The list's token and two numbers of 32 bits; a text's token and its length. */
const head_bytes = 11
const text_head_bytes = 5
/** UTF-8 takes at most three bytes for a UTF-16 unit. */
const bytes_a_unit_max = 3

/** How many texts the last message had. */
let count_before = 0
const none: string[] = []
/** More than so many texts get their room as they come. */
const room_texts_max = 1_024

/** Begins a message: what comes behind these bytes is its value. */
export function openTexts(cursor: Cursor): void {
  room(cursor, head_bytes)
  cursor.at += head_bytes
  cursor.text_at = 0
  cursor.texts = Array<string>(Math.min(count_before, room_texts_max))
}

/** Ends the message that began at `start`, with its texts. */
export function writeTexts(cursor: Cursor, start: number): void {
  const { buffer, view, at, text_at: count, texts: all } = cursor
  count_before = count
  if (count !== all.length) all.length = count
  cursor.texts = none
  let text = all.join('')
  let bytes = put(cursor, text)
  if (bytes !== text.length) {
    // Halves of a character that happen to meet must not become one.
    text = all.map((part) => part.toWellFormed()).join('')
    bytes = put(cursor, text)
  }
  buffer[at] = text_token
  view.setUint32(at + 1, bytes)
  buffer[start] = head_token
  buffer[start + 1] = number_token
  view.setInt32(start + 2, text.length)
  buffer[start + 6] = number_token
  view.setInt32(start + 7, bytes)
  cursor.at = at + text_head_bytes + bytes
}

/** Writes text behind room for its head; gives back its bytes. */
function put({ buffer, at, limit }: Cursor, text: string): number {
  const left = limit - at - text_head_bytes
  const bytes_max = text.length * bytes_a_unit_max
  if (left < bytes_max && left < Buffer.byteLength(text)) throw overflow
  return buffer.utf8Write(text, at + text_head_bytes, Math.min(left, bytes_max))
}

/** Begins to read such a message: what is at the cursor then, up to its limit, is the value. */
export function findTexts(cursor: Cursor): void {
  if (peek(cursor) !== head_token) bad('it is not a value with its texts')
  cursor.at += 1
  const units = readCount(cursor)
  const bytes = readCount(cursor)
  const end = cursor.limit
  const head = end - bytes - text_head_bytes
  if (head < cursor.at || units > bytes) bad('text reaches past the end')
  const { buffer, view } = cursor
  if (buffer[head] !== text_token || view.getUint32(head + 1) !== bytes) {
    bad('its texts are not where it says')
  }
  cursor.limit = head
  cursor.is_ascii = units === bytes
  cursor.text_at = 0
  cursor.text_end = units
  cursor.text_limit = end
  cursor.window = ''
  cursor.window_from = 0
  cursor.window_end = 0
  cursor.window_at = head + text_head_bytes
}

/** The value has been read: so must the texts be. */
export function passTexts(cursor: Cursor): void {
  if (cursor.text_at !== cursor.text_end) bad('more text follows')
  cursor.limit = cursor.text_limit
  cursor.at = cursor.limit
}

/** The length of a text. */
export function readCount(cursor: Cursor): number {
  const count = readNumber(cursor)
  if (!Number.isInteger(count) || count < 0) bad('it is not a length')
  return count
}

/** Has the next text in the window, which it does not reach. */
export function showText(cursor: Cursor, units: number): void {
  const { buffer, text_at: from, text_limit: limit } = cursor
  if (from + units > cursor.text_end) bad('text reaches past the end')
  const passed = cursor.window.slice(0, from - cursor.window_from)
  const at = Math.min(cursor.window_at + Buffer.byteLength(passed), limit)
  const bytes_max = cursor.is_ascii ? units : units * bytes_a_unit_max
  let end = Math.min(at + Math.max(piece_bytes, bytes_max), limit)
  // Not in the middle of a character.
  while (end > at && end < limit && ((buffer[end] ?? 0) & 0xc0) === 0x80) end -= 1
  const window = buffer.utf8Slice(at, end)
  if (window.length < units) bad('text ends too early')
  cursor.window = window
  cursor.window_at = at
  cursor.window_from = from
  // Short texts do not keep a long one.
  cursor.window_end = from + (units > piece_bytes / 4 ? units : window.length)
}
