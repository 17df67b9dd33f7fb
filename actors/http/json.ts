/**
 * JSON as Omicron's serde_json reads it, which is stricter than JSON.parse and names the place: no
 * duplicate keys, at most 127 levels, no halves of surrogate pairs, no numbers beyond a double's.
 */

/** What is wrong with a text, with the line and column (in bytes, from 1) where it shows. */
export class JsonError extends Error {}

const depth_max = 127

/** The value of a text. Throws JsonError. */
export function parseJson(bytes: Buffer): { readonly value: unknown; readonly text: string } {
  const text = decode(bytes)
  new Scanner(text).document()
  return { value: JSON.parse(text), text }
}

/** Where the value at a JSON pointer ends in a text that has been parsed: ` at line … column …`. */
export function placeOf(text: string, pointer: string): string {
  const scanner = new Scanner(text, pointer.split('/').slice(1).map(unescapePointer))
  scanner.document()
  return placeAt(text, scanner.end)
}

const unescapePointer = (part: string) => part.replaceAll('~1', '/').replaceAll('~0', '~')

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new JsonError('invalid unicode code point: the body is not UTF-8')
  }
}

function placeAt(text: string, offset: number): string {
  const lines = text.slice(0, offset).split('\n')
  return ` at line ${lines.length} column ${Buffer.byteLength(lines.at(-1) ?? '')}`
}

const whitespace = /[ \t\n\r]*/y
const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const plainText = /[ !#-[\]-\uffff]*/y
const simpleEscape = /["\\/bfnrt]/
const words: readonly string[] = ['true', 'false', 'null']

class Scanner {
  readonly #text: string
  /** The path of the value whose end is wanted. */
  readonly #wanted: readonly string[] | null
  #at = 0
  /** Where the wanted value ends. */
  end: number

  constructor(text: string, wanted: readonly string[] | null = null) {
    this.#text = text
    this.#wanted = wanted
    this.end = text.length
  }

  document(): void {
    this.#value(0, this.#wanted)
    this.#skip(whitespace)
    if (this.#at < this.#text.length) throw this.#error('trailing characters', 1)
  }

  #value(depth: number, wanted: readonly string[] | null): void {
    this.#skip(whitespace)
    const first = this.#peek('a value')
    if (first === '{' || first === '[') {
      if (depth === depth_max) throw this.#error('recursion limit exceeded', 1)
      this.#at += 1
      if (first === '{') this.#fields(depth + 1, wanted)
      else this.#items(depth + 1, wanted)
    } else if (first === '"') this.#string()
    else if (first === '-' || (first >= '0' && first <= '9')) this.#number()
    else this.#word()
    if (wanted?.length === 0) this.end = this.#at
  }

  #fields(depth: number, wanted: readonly string[] | null): void {
    const seen = new Set<string>()
    for (;;) {
      this.#skip(whitespace)
      const next = this.#peek('an object')
      if (next === '}' && seen.size === 0) break
      if (next !== '"') {
        throw this.#error(next === '}' ? 'trailing comma' : 'key must be a string', 1)
      }
      const key = this.#string()
      if (seen.has(key)) throw this.#error(`duplicate field \`${key.slice(0, 64)}\``)
      seen.add(key)
      this.#skip(whitespace)
      if (this.#peek('an object') !== ':') throw this.#error('expected `:`', 1)
      this.#at += 1
      this.#value(depth, rest(wanted, key))
      if (!this.#more('}', 'an object')) break
    }
    this.#at += 1
  }

  #items(depth: number, wanted: readonly string[] | null): void {
    for (let index = 0; ; index += 1) {
      this.#skip(whitespace)
      if (this.#peek('a list') === ']') {
        if (index > 0) throw this.#error('trailing comma', 1)
        break
      }
      this.#value(depth, rest(wanted, String(index)))
      if (!this.#more(']', 'a list')) break
    }
    this.#at += 1
  }

  /** Whether a comma follows rather than the end. */
  #more(closing: string, what: string): boolean {
    this.#skip(whitespace)
    const next = this.#peek(what)
    if (next === closing) return false
    if (next !== ',') throw this.#error(`expected \`,\` or \`${closing}\``, 1)
    this.#at += 1
    return true
  }

  #string(): string {
    const start = this.#at
    this.#at += 1
    for (;;) {
      this.#skip(plainText)
      const next = this.#peek('a string')
      this.#at += 1
      if (next === '"') break
      if (next !== '\\') {
        throw this.#error('control character (\\u0000-\\u001F) found while parsing a string')
      }
      this.#escape()
    }
    const read: unknown = JSON.parse(this.#text.slice(start, this.#at))
    return String(read)
  }

  #escape(): void {
    const letter = this.#peek('a string')
    this.#at += 1
    if (simpleEscape.test(letter)) return
    if (letter !== 'u') throw this.#error('invalid escape')
    const unit = this.#hex()
    if (unit < 0xd800 || unit > 0xdfff) return
    const isPair = unit < 0xdc00 && this.#text.startsWith('\\u', this.#at)
    if (isPair) {
      this.#at += 2
      const low = this.#hex()
      if (low >= 0xdc00 && low <= 0xdfff) return
    }
    throw this.#error('lone leading surrogate in hex escape')
  }

  #hex(): number {
    const digits = this.#text.slice(this.#at, this.#at + 4)
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw this.#error('invalid escape')
    this.#at += 4
    return Number.parseInt(digits, 16)
  }

  #number(): void {
    const start = this.#at
    this.#skip(number)
    const next = this.#text[this.#at] ?? ''
    if (this.#at === start || /[0-9.eE+-]/.test(next)) throw this.#error('invalid number', 1)
    if (!Number.isFinite(Number(this.#text.slice(start, this.#at)))) {
      throw this.#error('number out of range')
    }
  }

  #word(): void {
    const word = words.find((known) => this.#text.startsWith(known, this.#at))
    if (word === undefined) throw this.#error('expected value', 1)
    this.#at += word.length
  }

  #skip(what: RegExp): void {
    what.lastIndex = this.#at
    this.#at += what.exec(this.#text)?.[0].length ?? 0
  }

  #peek(what: string): string {
    const next = this.#text[this.#at]
    if (next === undefined) throw this.#error(`EOF while parsing ${what}`)
    return next
  }

  #error(why: string, beyond = 0): JsonError {
    return new JsonError(`${why}${placeAt(this.#text, this.#at + beyond)}`)
  }
}

const rest = (wanted: readonly string[] | null, step: string): readonly string[] | null =>
  wanted?.[0] === step ? wanted.slice(1) : null
