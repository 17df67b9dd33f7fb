/** What the generated code may call: all that moves a cursor, and the checks and makers that are here. */
import { Packr } from 'msgpackr'
import { fits } from '../schema.ts'
import * as primitives from './cursor.ts'
import { Misfit, type Cursor } from './cursor.ts'
import * as listed from './texts.ts'

const packr = new Packr({ useRecords: false, int64AsType: 'number', copyBuffers: true })

/** Refuses a value, or what is read as one; `path` is where it is. */
function wrong(path: string, what: string): never {
  throw new Misfit(`${path === '' ? 'value' : path}: ${what}`)
}

/** Length in characters as JSON Schema counts them; UTF-16 units settle nearly every case. */
function hasLength(text: string, min: number, max: number): boolean {
  if (text.length < min || text.length > max * 2) return false
  if (text.length <= max && (min === 0 || text.length >= min * 2)) return true
  const { length } = Array.from(text)
  return length >= min && length <= max
}

/** The commonest pattern (shape.ts) by hand: half of what the engine takes for it. */
function isUuid(text: string): boolean {
  if (text.length !== 36) return false
  for (let index = 0; index < 36; index += 1) {
    const code = text.charCodeAt(index)
    if (index === 8 || index === 13 || index === 18 || index === 23) {
      if (code !== 45) return false
    } else if (code < 48 || code > 102 || (code > 57 && code < 97)) return false
  }
  return true
}

function writeAny(cursor: Cursor, value: unknown): void {
  primitives.writeBytes(cursor, packr.pack(value))
}
function readAny(cursor: Cursor): unknown {
  const bytes = primitives.readBytes(cursor)
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new Misfit('it is not msgpack', { cause })
  }
}

const blank_items = 64
const blank: readonly unknown[] = Array.from({ length: blank_items }, () => null)
/** A list to fill from its beginning: of `count` items if they are few, otherwise it grows. */
const listOf = (count: number): unknown[] => blank.slice(0, count)

/** By the names that the code has for them. */
export const given: Readonly<Record<string, unknown>> = {
  ...primitives,
  ...listed,
  wrong,
  fits,
  hasLength,
  isUuid,
  listOf,
  writeAny,
  readAny,
  clone: (value: unknown): unknown => structuredClone(value),
}
