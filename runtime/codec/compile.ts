/**
 * Turns a schema into code. One walk over the schema writes three functions as JavaScript text: `w`
 * writes a value that fits, `r` reads one back and checks it, `c` copies one. The text holds only
 * names and constants that come from the schema, each through JSON.stringify.
 *
 * A record is a list of its fields in the schema's order, an enumeration is its index, a union is
 * its variant's index and the value, or nil; anything that has no schema travels as plain msgpack.
 * That is shorter and faster than maps, and safe because a row of a protocol never changes
 * (protocol.ts). What stands on the wire is valid msgpack.
 *
 * What is read or copied is made by constructors and functions, and not written as literals: the engine may
 * find that the objects of a literal live long and make them in old space from then on, and what is there
 * keeps all that it refers to until the next collection of everything. Messages live long only while a
 * process starts, and it is then that the engine looks.
 */
import { Packr } from 'msgpackr'
import type { TSchema } from 'typebox'
import { limits } from '#config/limits.ts'
import { fits } from '../schema.ts'
import * as primitives from './cursor.ts'
import { Misfit, type Cursor } from './cursor.ts'

/** What a schema compiles to. Each throws Misfit for what breaks the schema. */
export interface Codec {
  /** Writes a value at the cursor; throws Overflow when there is no room. */
  readonly write: (cursor: Cursor, value: unknown) => void
  /** Reads a value at the cursor, up to its limit and no further. */
  readonly read: (cursor: Cursor) => unknown
  /** A deep copy that shares nothing with the value. */
  readonly copy: (value: unknown) => unknown
}

/** The parts of a schema that matter here; TypeBox keeps the kind out of sight of JSON. */
interface Shape {
  readonly '~kind'?: string
  readonly '~refine'?: unknown
  readonly const?: string | number | boolean
  readonly enum?: readonly (string | number)[]
  readonly anyOf?: readonly TSchema[]
  readonly items?: TSchema | readonly TSchema[]
  readonly minItems?: number
  readonly maxItems?: number
  readonly properties?: Readonly<Record<string, TSchema>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, TSchema>>
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
}
/** Three pieces of code for one schema: statements that write `x`, an expression that reads, one that copies `x`. */
interface Piece {
  readonly write: (x: string) => string
  readonly read: string
  readonly copy: (x: string) => string
}

const packr = new Packr({ useRecords: false, int64AsType: 'number', copyBuffers: true })

/** Compiles a schema. Throws when it uses what messages may not: optional properties, unknown kinds. */
export function compile(schema: TSchema): Codec {
  const unit = new Unit()
  const { write, read, copy } = unit.piece(schema, '')
  const begin = unit.isCounted ? `c.items=${limits.message_items_max};c.window_end=0;` : ''
  const source = [
    '"use strict"',
    ...unit.lines,
    `return { write(c,x){${begin}${write('x')}}, read(c){${begin}const v=${read};if(c.at!==c.limit)bad("","more follows");return v}, copy(x){return ${copy('x')}} }`,
  ].join('\n')
  const names = Object.keys(given)
  // The one place where text becomes code: see above for what it may hold.
  const make = new Function(...names, 'k', source) as (...values: unknown[]) => Codec
  return make(...Object.values(given), unit.constants)
}

const bad = (path: string, what: string): never => {
  throw new Misfit(`${path === '' ? 'value' : path}: ${what}`)
}

/** Length in characters as JSON Schema counts them; UTF-16 units settle nearly every case. */
function hasLength(text: string, min: number, max: number): boolean {
  if (text.length < min || text.length > max * 2) return false
  if (text.length <= max && (min === 0 || text.length >= min * 2)) return true
  const { length } = Array.from(text)
  return length >= min && length <= max
}

const uuidPattern = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
/** The commonest pattern by hand: half of what the engine takes for it. */
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

/** What the generated code may call. */
const given = {
  ...primitives,
  bad,
  fits,
  hasLength,
  isUuid,
  listOf,
  writeAny,
  readAny,
  clone: (value: unknown): unknown => structuredClone(value),
}

/** What has no schema travels as msgpack within msgpack. */
const anything: Piece = {
  write: (x) => `writeAny(c,${x})`,
  read: 'readAny(c)',
  copy: (x) => `clone(${x})`,
}

const literal = (value: unknown): string => JSON.stringify(value)

class Unit {
  readonly lines: string[] = []
  readonly constants: unknown[] = []
  /** Whether it has lists or maps, whose items are counted over the whole message. */
  isCounted = false
  /** How many lists and maps the piece that is being compiled is in. */
  #depth = 0
  #functions = 0

  /** The code of a schema; `path` names it in errors. */
  piece(schema: TSchema, path: string): Piece {
    // A schema is plain data; these are the keywords that JSON Schema and TypeBox define.
    const shape = schema as Shape
    const kind = kindOf(schema)
    const unchecked = Object.keys(schema).find((word) => uncheckedWords.has(word))
    if (unchecked !== undefined) {
      throw new Error(`schema at ${path}: nothing in a codec checks "${unchecked}"`)
    }
    const make = this.#makers[kind]
    if (make === undefined) {
      throw new Error(`schema at ${path}: messages cannot carry the kind "${kind}"`)
    }
    return make(shape, path)
  }

  readonly #makers: Readonly<Record<string, (shape: Shape, path: string) => Piece>> = {
    Null: (_shape, path) => this.#constant(null, path),
    Literal: (shape, path) => this.#constant(shape.const ?? null, path),
    Boolean: (_shape, path) => this.#boolean(path),
    Integer: (shape, path) => this.#number(shape, path),
    Number: (shape, path) => this.#number(shape, path),
    String: (shape, path) => this.#string(shape, path),
    Enum: (shape, path) => this.#choice(shape.enum ?? [], path),
    Union: (shape, path) => this.#union(shape.anyOf ?? [], path),
    Array: (shape, path) => this.#list(shape, path),
    Tuple: (shape, path) => this.#fields(tupleFields(shape), 'list', path),
    Object: (shape, path) => this.#fields(objectFields(shape, path), 'record', path),
    Record: (shape, path) => this.#map(shape, path),
    Unknown: () => anything,
    Any: () => anything,
    // What is checked in code and has no kind: raw bytes (see `binary` of the actors' schemas).
    Bytes: (_shape, path) => this.#bytes(path),
  }

  /** A value that the generated code refers to. */
  #keep(value: unknown): string {
    return `k[${this.constants.push(value) - 1}]`
  }

  /** Names three functions, so that code for large schemas stays small. */
  #functionsOf(body: { write: string; read: string; copy: string }): Piece {
    this.#functions += 1
    const id = this.#functions
    this.lines.push(
      `function w${id}(c,x){${body.write}}`,
      `function r${id}(c){${body.read}}`,
      `function c${id}(x){${body.copy}}`,
    )
    return { write: (x) => `w${id}(c,${x})`, read: `r${id}(c)`, copy: (x) => `c${id}(${x})` }
  }

  #constant(value: unknown, path: string): Piece {
    const refuse = `bad(${literal(path)},${literal(`must be ${literal(value)}`)})`
    return {
      write: (x) => `if(${x}!==${literal(value)})${refuse};writeToken(c,0xc0)`,
      read: `(peek(c)===0xc0?(c.at++,${literal(value)}):${refuse})`,
      copy: (x) => `(${x}===${literal(value)}?${literal(value)}:${refuse})`,
    }
  }

  #boolean(path: string): Piece {
    const refuse = `bad(${literal(path)},"must be boolean")`
    return this.#functionsOf({
      write: `if(typeof x!=='boolean')${refuse};writeToken(c,x?0xc3:0xc2)`,
      read: `const t=peek(c);if(t!==0xc3&&t!==0xc2)${refuse};c.at++;return t===0xc3`,
      copy: `if(typeof x!=='boolean')${refuse};return x`,
    })
  }

  #number(shape: Shape, path: string): Piece {
    const tests = [
      shape['~kind'] === 'Integer' ? 'Number.isInteger(x)' : 'Number.isFinite(x)',
      ...(shape.minimum === undefined ? [] : [`x>=${shape.minimum}`]),
      ...(shape.maximum === undefined ? [] : [`x<=${shape.maximum}`]),
    ]
    return this.#checked(
      tests.join('&&'),
      ['writeNumber', 'readNumber'],
      `must be a fitting ${shape['~kind'] ?? ''}`,
      path,
    )
  }

  #string(shape: Shape, path: string): Piece {
    const { minLength = 0, maxLength, pattern } = shape
    const tests = ["typeof x==='string'"]
    if (maxLength !== undefined || minLength > 0) {
      tests.push(`hasLength(x,${minLength},${maxLength ?? 'Infinity'})`)
    }
    if (pattern === uuidPattern) tests.push('isUuid(x)')
    else if (pattern !== undefined) tests.push(`${this.#keep(new RegExp(pattern, 'u'))}.test(x)`)
    const read = this.#depth > 0 ? 'readListed' : 'readString'
    return this.#checked(tests.join('&&'), ['writeString', read], 'must be fitting text', path)
  }

  /** A value of one token, with a test of `x`. */
  #checked(
    test: string,
    [write, read]: readonly [string, string],
    what: string,
    path: string,
  ): Piece {
    const refuse = `if(!(${test}))bad(${literal(path)},${literal(what)})`
    return this.#functionsOf({
      write: `${refuse};${write}(c,x)`,
      read: `const x=${read}(c);${refuse};return x`,
      copy: `${refuse};return x`,
    })
  }

  #bytes(path: string): Piece {
    const refuse = `if(!(x instanceof Uint8Array))bad(${literal(path)},"must be bytes")`
    return this.#functionsOf({
      write: `${refuse};writeBytes(c,x)`,
      read: 'return readBytes(c)',
      copy: `${refuse};return copyBytes(x)`,
    })
  }

  /** One of a few values, by its index. */
  #choice(values: readonly unknown[], path: string): Piece {
    const list = this.#keep(values)
    const refuse = `bad(${literal(path)},${literal(`must be one of ${values.join(', ')}`)})`
    return this.#functionsOf({
      write: `const i=${list}.indexOf(x);if(i<0)${refuse};writeNumber(c,i)`,
      read: `const v=${list}[readNumber(c)];if(v===undefined)${refuse};return v`,
      copy: `if(!${list}.includes(x))${refuse};return x`,
    })
  }

  #union(variants: readonly TSchema[], path: string): Piece {
    const shapes = variants.map((variant) => variant as Shape)
    if (shapes.every((shape) => shape['~kind'] === 'Literal')) {
      return this.#choice(
        shapes.map((shape) => shape.const),
        path,
      )
    }
    const others = variants.filter((_variant, index) => shapes[index]?.['~kind'] !== 'Null')
    const [only] = others
    // A constant is written as nil, too: next to null it needs its number.
    const isPlain = only !== undefined && others.length === 1 && kindOf(only) !== 'Literal'
    const inner = isPlain ? this.piece(only, path) : this.#variants(others, path)
    if (others.length === variants.length) return inner
    return this.#functionsOf({
      write: `if(x===null)writeToken(c,0xc0);else{${inner.write('x')}}`,
      read: `if(peek(c)===0xc0){c.at++;return null}return ${inner.read}`,
      copy: `return x===null?null:${inner.copy('x')}`,
    })
  }

  /** The first variant that fits: its index, then the value. */
  #variants(variants: readonly TSchema[], path: string): Piece {
    const tag = tagOf(variants)
    const pieces = variants.map((variant) => this.piece(variant, path))
    const test = (index: number, x: string) =>
      tag === null
        ? `fits(${this.#keep(variants[index])},${x})`
        : `${x}?.[${literal(tag.name)}]===${literal(tag.values[index])}`
    const refuse = `bad(${literal(path)},"fits no variant")`
    const write = pieces.map(
      (piece, index) =>
        `if(${test(index, 'x')}){writeListHead(c,2);writeNumber(c,${index});${piece.write('x')};return}`,
    )
    const read = pieces.map((piece, index) => `case ${index}:return ${piece.read};`)
    const copy = pieces.map((piece, index) => `if(${test(index, 'x')})return ${piece.copy('x')};`)
    return this.#functionsOf({
      write: `${write.join('')}${refuse}`,
      read: `if(readListHead(c)!==2)${refuse};switch(readNumber(c)){${read.join('')}default:return ${refuse}}`,
      copy: `${copy.join('')}return ${refuse}`,
    })
  }

  /** The beginning of an expression that makes a record of the values that follow: see the head of this file. */
  #maker(keys: readonly string[]): string {
    this.#functions += 1
    const name = `R${this.#functions}`
    const values = keys.map((_key, index) => `v${index}`)
    const body = keys.map((key, index) => `this[${literal(key)}]=v${index}`)
    this.lines.push(
      `function ${name}(${values.join(',')}){${body.join(';')}}`,
      `${name}.prototype=Object.prototype`,
    )
    return `new ${name}(`
  }

  #itemPiece(schema: TSchema, path: string): Piece {
    this.#depth += 1
    const piece = this.piece(schema, `${path}/*`)
    this.#depth -= 1
    return piece
  }

  #list(shape: Shape, path: string): Piece {
    const { minItems = 0, maxItems } = shape
    this.isCounted = true
    const { write, read, copy } = this.#itemPiece(shape.items as TSchema, path)
    const bounds = `n<${minItems}${maxItems === undefined ? '' : `||n>${maxItems}`}`
    const refuse = `if(${bounds})bad(${literal(path)},"has too few or too many items")`
    const array = `if(!Array.isArray(x))bad(${literal(path)},"must be array");const n=x.length;${refuse}`
    return this.#functionsOf({
      write: `${array};charge(c,n);writeListHead(c,n);for(let i=0;i<n;i++){const y=x[i];${write('y')}}`,
      // An item takes a byte at least: a length beyond what is left is a lie, and costs nothing.
      read: `const n=readListHead(c);${refuse};charge(c,n);if(n>c.limit-c.at)bad(${literal(path)},"ends too early");const v=listOf(n);for(let i=0;i<n;i++)v[i]=${read};return v`,
      copy: `${array};const v=listOf(n);for(let i=0;i<n;i++){const y=x[i];v[i]=${copy('y')}}return v`,
    })
  }

  #map(shape: Shape, path: string): Piece {
    const [[keys, schema] = []] = Object.entries(shape.patternProperties ?? {})
    if (schema === undefined) throw new Error(`schema at ${path}: a record without values`)
    this.isCounted = true
    if (keys !== '^.*$') throw new Error(`schema at ${path}: the keys of a record are any text`)
    const { write, read, copy } = this.#itemPiece(schema, path)
    const open = `if(typeof x!=='object'||x===null||Array.isArray(x))bad(${literal(path)},"must be object");const ks=Object.keys(x)`
    const proto = `if(key==='__proto__')bad(${literal(path)},"must not have __proto__")`
    return this.#functionsOf({
      write: `${open};charge(c,ks.length*4);writeMapHead(c,ks.length);for(const key of ks){${proto};writeString(c,key);const y=x[key];${write('y')}}`,
      read: `const n=readMapHead(c);charge(c,n*4);if(n>c.limit-c.at)bad(${literal(path)},"ends too early");const v={};for(let i=0;i<n;i++){const key=readListed(c);${proto};v[key]=${read}}return v`,
      copy: `${open};const v={};for(const key of ks){${proto};const y=x[key];v[key]=${copy('y')}}return v`,
    })
  }

  /** A record or a tuple: its fields one after another. */
  #fields(fields: readonly Field[], form: 'record' | 'list', path: string): Piece {
    const pieces = fields.map(({ key, schema }) => ({
      key,
      piece: this.piece(schema, `${path}/${key}`),
      access: form === 'record' ? `x[${literal(key)}]` : `x[${key}]`,
    }))
    const count = fields.length
    const isRight =
      form === 'record'
        ? `typeof x==='object'&&x!==null&&!Array.isArray(x)`
        : `Array.isArray(x)&&x.length===${count}`
    const what = form === 'record' ? 'must be object' : `must be a list of ${count}`
    const refuse = `bad(${literal(path)},${literal(what)})`
    const [open, close] =
      form === 'record' ? [this.#maker(pieces.map(({ key }) => key)), ')'] : ['Array.of(', ')']
    const build = (value: (entry: (typeof pieces)[number]) => string) =>
      `${open}${pieces.map(value).join(',')}${close}`
    const writes = pieces.map(({ piece, access }) => `{const y=${access};${piece.write('y')}}`)
    return this.#functionsOf({
      write: `if(!(${isRight}))${refuse};writeListHead(c,${count});${writes.join('')}`,
      read: `if(readListHead(c)!==${count})${refuse};return ${build(({ piece }) => piece.read)}`,
      copy: `if(!(${isRight}))${refuse};return ${build(({ piece, access }) => piece.copy(access))}`,
    })
  }
}

/** Whether a part of a schema takes anything: nothing bounds what reading that costs. */
export function isOpen(schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null) return false
  const { '~kind': kind, '~refine': refine } = schema as Shape
  if ((kind === 'Unknown' || kind === 'Any') && refine === undefined) return true
  return Object.values(schema).some(isOpen)
}

/** Keywords that limit what fits, and that no code here looks at. */
const uncheckedWords: ReadonlySet<string> = new Set([
  ...['exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'format', 'uniqueItems', 'contains'],
  ...['minProperties', 'maxProperties', 'propertyNames', 'additionalProperties', 'not', 'allOf'],
])

/** A check in code is raw bytes (see `binary` of the actors' schemas), or nothing that messages can carry. */
function kindOf(schema: TSchema): string {
  const { '~kind': kind = '', '~refine': refine } = schema as Shape
  if (refine === undefined) return kind
  return fits(schema, new Uint8Array(0)) && !fits(schema, 0) && !fits(schema, {})
    ? 'Bytes'
    : 'Refine'
}

interface Field {
  readonly key: string
  readonly schema: TSchema
}

function tupleFields({ items }: Shape): readonly Field[] {
  return Array.isArray(items)
    ? items.map((schema: TSchema, index) => ({ key: String(index), schema }))
    : []
}

function objectFields({ properties = {}, required = [] }: Shape, path: string): readonly Field[] {
  return Object.entries(properties).map(([key, schema]) => {
    if (!required.includes(key)) {
      throw new Error(`schema at ${path}/${key}: optional; a message says null for what is absent`)
    }
    return { key, schema }
  })
}

/** The property by whose constant the variants can be told apart; null when there is none. */
function tagOf(
  variants: readonly TSchema[],
): { readonly name: string; readonly values: readonly unknown[] } | null {
  const shapes = variants.map((variant) => variant as Shape)
  for (const name of Object.keys(shapes[0]?.properties ?? {})) {
    const tags = shapes.map((shape): Shape | undefined => shape.properties?.[name])
    const values = tags.map((tag) => tag?.const)
    const isTag = tags.every((tag) => tag?.['~kind'] === 'Literal')
    if (isTag && new Set(values).size === values.length) return { name, values }
  }
  return null
}
