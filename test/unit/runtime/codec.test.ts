/** The compiled codec against independent judges: typebox says what fits, msgpackr what is msgpack. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { pack, Unpackr } from 'msgpackr'
import { Type, type TSchema } from 'typebox'
import { codecOf } from '#runtime/codec/codec.ts'
import { layout } from '#runtime/codec/compile.ts'
import { memoryFor } from '#runtime/codec/memory.ts'
import { cursorOver, Misfit, Overflow } from '#runtime/codec/cursor.ts'
import { seededRandom, systemRandom } from '#runtime/random.ts'
import { fits } from '#runtime/schema.ts'
import { examples, schemas } from '#test/fuzz/schemas.ts'

const seed = Number(process.env['CODEC_SEED'] ?? Math.floor(systemRandom.next() * 2 ** 32))
const random = seededRandom(seed)
const pick = (below: number) => Math.floor(random.next() * below)
const oneOf = <T>(all: readonly T[]): T => {
  const found = all[pick(all.length)]
  assert.ok(found !== undefined)
  return found
}
const room = cursorOver(Buffer.alloc(1024 * 1024))
function encode(schema: TSchema, value: unknown): Buffer {
  room.at = 0
  room.limit = room.buffer.length
  codecOf(schema).write(room, value)
  return Buffer.from(room.buffer.subarray(0, room.at))
}
const decode = (schema: TSchema, bytes: Buffer) => codecOf(schema).read(cursorOver(bytes))

const words = ['', 'a', 'name', 'grüße', '💥', 'x'.repeat(31), 'y'.repeat(32), 'z'.repeat(63)]
const numbers = [
  0,
  1,
  -1,
  -32,
  -33,
  127,
  128,
  255,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 31,
  2 ** 53,
  0.1,
  -1e300,
]

/** A schema by chance, `depth` levels at most. */
function anySchema(depth: number): TSchema {
  const flat: readonly (() => TSchema)[] = [
    () => Type.Null(),
    () => Type.Boolean(),
    () => Type.Integer(),
    () => Type.Integer({ minimum: -10, maximum: 300 }),
    () => Type.Number(),
    () => Type.Number({ minimum: 0 }),
    () => Type.String(),
    () => Type.String({ minLength: pick(3), maxLength: 3 + pick(40) }),
    () => Type.String({ pattern: '^[a-z]*$' }),
    () => Type.Literal(oneOf(['one', 7, true])),
    () => Type.Enum(['red', 'green', 'blue']),
  ]
  if (depth === 0 || pick(3) === 0) return oneOf(flat)()
  const inner = () => anySchema(depth - 1)
  const deep: readonly (() => TSchema)[] = [
    () => Type.Array(inner()),
    () => Type.Array(inner(), { minItems: pick(2), maxItems: 2 + pick(4) }),
    () => Type.Tuple(Array.from({ length: pick(4) }, inner)),
    () =>
      Type.Object(
        Object.fromEntries(Array.from({ length: pick(5) }, (_, at) => [`k${at}`, inner()])),
      ),
    () => Type.Record(Type.String(), inner()),
    () => Type.Union([inner(), Type.Null()]),
    () => Type.Union([oneOf(flat)(), Type.Array(inner()), oneOf(flat)()]),
    () =>
      Type.Union(
        ['a', 'b', 'c'].map((type) => Type.Object({ type: Type.Literal(type), value: inner() })),
      ),
  ]
  return oneOf(deep)()
}

interface Shape {
  readonly '~kind'?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly TSchema[]
  readonly items?: TSchema | readonly TSchema[]
  readonly minItems?: number
  readonly properties?: Readonly<Record<string, TSchema>>
  readonly patternProperties?: Readonly<Record<string, TSchema>>
}

const strange: readonly unknown[] = [null, true, 'text', 3, 0.5, [], {}, Number.NaN, ['x']]

/** A value that is likely to fit a schema; a wrong one now and then. */
function anyValue(schema: TSchema, wrong: number): unknown {
  if (random.next() < wrong) return oneOf(strange)
  const shape = schema as Shape
  return makers[shape['~kind'] ?? '']?.(shape, wrong) ?? null
}
const many = <T>({ minItems = 0 }: Shape, make: (at: number) => T): T[] =>
  Array.from({ length: minItems + pick(3) }, (_, at) => make(at))
const makers: Readonly<Record<string, (shape: Shape, wrong: number) => unknown>> = {
  Boolean: () => pick(2) === 0,
  Integer: () => oneOf(numbers),
  Number: () => oneOf(numbers),
  String: () => oneOf(words),
  Literal: (shape) => shape.const,
  Enum: (shape) => oneOf(shape.enum ?? []),
  Union: (shape, wrong) => anyValue(oneOf(shape.anyOf ?? []), wrong),
  Array: (shape, wrong) => many(shape, () => anyValue(shape.items as TSchema, wrong)),
  Tuple: (shape, wrong) =>
    ((shape.items ?? []) as readonly TSchema[]).map((item) => anyValue(item, wrong)),
  Object: (shape, wrong) =>
    Object.fromEntries(
      Object.entries(shape.properties ?? {}).map(([key, inner]) => [key, anyValue(inner, wrong)]),
    ),
  Record: (shape, wrong) =>
    Object.fromEntries(
      many(shape, (at) => [
        oneOf(['a', 'b', 'toString', `k${at}`]),
        anyValue(Object.values(shape.patternProperties ?? {})[0] ?? Type.Null(), wrong),
      ]),
    ),
}

test(`what fits is written, read and copied as it was, and what does not is refused (seed ${seed})`, () => {
  let fitting = 0
  for (let turn = 0; turn < 250; turn += 1) {
    const schema = anySchema(3)
    for (let count = 0; count < 20; count += 1) {
      const value = anyValue(schema, count % 2 === 0 ? 0 : 0.1)
      const what = `${JSON.stringify(schema)} ${JSON.stringify(value)}`
      if (!fits(schema, value)) {
        assert.throws(() => encode(schema, value), Misfit, what)
        assert.throws(() => codecOf(schema).copy(value), Misfit, what)
        continue
      }
      fitting += 1
      const bytes = encode(schema, value)
      assert.deepEqual(decode(schema, bytes), value, what)
      assert.deepEqual(codecOf(schema).copy(value), value, what)
    }
  }
  assert.ok(fitting > 1_000, `${fitting} values fitted`)
})

test(`what was changed on the way is read as what fits, or refused (seed ${seed})`, () => {
  let read = 0
  let schema = anySchema(2)
  for (let turn = 0; turn < 4_000; turn += 1) {
    // A schema is compiled, which takes longer than to use it a few times.
    if (turn % 20 === 0) schema = anySchema(2)
    const value = anyValue(schema, 0)
    if (!fits(schema, value)) continue
    const bytes = encode(schema, value)
    bytes.writeUInt8(pick(256), pick(bytes.length))
    const length = pick(8) === 0 ? pick(bytes.length) : bytes.length
    try {
      const got = decode(schema, bytes.subarray(0, length))
      assert.ok(fits(schema, got), `${JSON.stringify(schema)} ${bytes.toString('hex')}`)
      read += 1
    } catch (error) {
      assert.ok(error instanceof Misfit, String(error))
    }
  }
  assert.ok(read > 50, `${read} were read`)
})

test(`what is written is one whole value of msgpack (seed ${seed})`, () => {
  const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: false })
  let schema = anySchema(3)
  for (let turn = 0; turn < 3_000; turn += 1) {
    if (turn % 20 === 0) schema = anySchema(3)
    const value = anyValue(schema, 0)
    if (!fits(schema, value)) continue
    const bytes = encode(schema, value)
    // Throws when bytes are left over or missing.
    const plain: unknown = unpackr.unpack(bytes)
    if (typeof value === 'number' || typeof value === 'string') {
      const { '~kind': kind } = schema as Shape
      if (kind === 'Integer' || kind === 'Number' || kind === 'String') assert.equal(plain, value)
    }
  }
})

test('messages lie on the wire as this layout says', () => {
  const hash = createHash('sha256')
  for (const [name, schema] of Object.entries(schemas)) hash.update(encode(schema, examples[name]))
  const found = [layout, hash.digest('hex').slice(0, 16)]
  assert.deepEqual(
    found,
    [2, 'de936ddb0414f1a7'],
    'another layout needs another number: see codec/compile.ts',
  )
})

test('every kind of number that msgpack knows is read', () => {
  const forms: readonly (readonly [number, string])[] = [
    [5, '05'],
    [-3, 'fd'],
    [200, 'ccc8'],
    [300, 'cd012c'],
    [70_000, 'ce00011170'],
    [2 ** 33, 'cf0000000200000000'],
    [-100, 'd09c'],
    [-300, 'd1fed4'],
    [-70_000, 'd2fffeee90'],
    [-(2 ** 33), 'd3fffffffe00000000'],
    [0.5, 'ca3f000000'],
    [0.1, 'cb3fb999999999999a'],
  ]
  for (const [value, hex] of forms) {
    assert.equal(decode(Type.Number(), Buffer.from(hex, 'hex')), value)
  }
  for (const hex of ['c0', 'a0', 'c1', '90', 'cc', 'cb3fb9']) {
    assert.throws(() => decode(Type.Number(), Buffer.from(hex, 'hex')), Misfit, hex)
  }
})

test('numbers come through as they were, the sign of 0 too', () => {
  for (const value of [...numbers, -0]) {
    for (const schema of [Type.Number(), Type.Integer()]) {
      if (!fits(schema, value)) continue
      assert.ok(Object.is(decode(schema, encode(schema, value)), value), String(value))
    }
  }
})

test('text of every length and script comes through', () => {
  for (let length = 0; length < 300; length += 1) {
    for (const char of ['a', 'ä', '€', '💥']) {
      const text = char.repeat(length)
      assert.equal(decode(Type.String(), encode(Type.String(), text)), text)
    }
  }
  // Half a character is no Unicode: it arrives as what stands for that.
  assert.equal(decode(Type.String(), encode(Type.String(), 'a\ud800b')), 'a\ufffdb')
})

test('text in lists comes through wherever it lies, also where another list lay before', () => {
  const list = codecOf(Type.Array(Type.String()))
  const scripts = ['a', 'ü', '\u0141', '💥']
  const text = () => {
    const length = oneOf([0, 3, 12, 15, 16, 36, 85, 86, 255, 256, 257, 1_023, 1_100])
    const plain = pick(4) > 0
    return Array.from({ length }, () =>
      plain ? String.fromCharCode(32 + pick(95)) : oneOf(scripts),
    ).join('')
  }
  const cursor = cursorOver(Buffer.alloc(256 * 1024))
  for (let turn = 0; turn < 200; turn += 1) {
    const texts = Array.from({ length: pick(40) }, text)
    cursor.at = 0
    cursor.limit = cursor.buffer.length
    list.write(cursor, texts)
    cursor.limit = cursor.at
    cursor.at = 0
    assert.deepEqual(list.read(cursor), texts)
  }
})

const item = (state: string, note: string | null, tags: string[]) => ({ state, note, tags })
test('a text that the item before has too takes one byte, whatever lies between', () => {
  const schema = Type.Array(
    Type.Object({
      state: Type.String(),
      note: Type.Union([Type.String(), Type.Null()]),
      tags: Type.Array(Type.String()),
    }),
  )
  const same = Array.from({ length: 20 }, () => item('running', 'as ever', []))
  const other = same.map((each, index) => ({ ...each, state: `turning ${index}` }))
  assert.deepEqual(decode(schema, encode(schema, same)), same)
  assert.equal(encode(schema, same).length, encode(schema, same.slice(1)).length + 4)
  assert.ok(encode(schema, other).length > encode(schema, same).length + 19 * 8)
  const mixed = [
    item('', '', ['', '']),
    item('', null, ['a', 'a', 'b', 'a']),
    item('ab', '', ['a']),
    item('cb', null, []),
    item('cb', '', ['ü', 'ü', 'ä', '💥', '💥']),
  ]
  assert.deepEqual(decode(schema, encode(schema, mixed)), mixed)
  // The first item has nobody before it: -1 is no length.
  const forged = Buffer.from('94d200000000d20000000091ffdb00000000', 'hex')
  assert.throws(() => decode(Type.Array(Type.String()), forged), /not a length/)
})

test('text in lists is what it was, also when it is put together or no Unicode', () => {
  const schema = Type.Array(Type.String())
  const ropes = Array.from({ length: 5 }, (_, index) => {
    let rope = ''
    for (let part = 0; part < 40; part += 1) rope += `${index}.${part} `
    return rope
  })
  assert.deepEqual(decode(schema, encode(schema, ropes)), ropes)
  // Two halves do not become a character because they lie next to each other.
  const halves = ['a\ud83d', '\udca5b', '💥']
  assert.deepEqual(decode(schema, encode(schema, halves)), ['a\ufffd', '\ufffdb', '💥'])
})

test('a message whose texts are not as it says is refused', () => {
  const schema = Type.Array(Type.String())
  const good = encode(schema, ['one', 'two', 'drei'])
  assert.deepEqual(decode(schema, good), ['one', 'two', 'drei'])
  const changed: readonly (readonly [string, number, number])[] = [
    ['fewer units than there are', 5, 9],
    ['more units than bytes', 5, 11],
    ['more bytes than there are', 10, 11],
    ['all of the message', 10, good.length],
    ['more than the message has', 8, 1],
    ['negative', 7, 0xff],
    ['a first text that reaches past the end', 12, 11],
    ['texts that leave some over', 12, 2],
    ['no text where it is', good.length - 15, 0xda],
    ['another length there', good.length - 11, 9],
  ]
  for (const [what, at, byte] of changed) {
    const bad = Buffer.from(good)
    bad.writeUInt8(byte, at)
    assert.notDeepEqual(bad, good, what)
    assert.throws(() => decode(schema, bad), Misfit, what)
  }
  const cut = Buffer.from('94d200000002d200000004920101db00000004f09f92a5', 'hex')
  assert.throws(() => decode(schema, cut), /ends in a character/)
})

test('pieces of memory lie apart, in one slab or in many', () => {
  const lengths = [0, 1, 7, 8, 9, 4_096, 8_191, 8_192, 8_193, 70_000]
  const all = Array.from({ length: 100 }, (_, index) => {
    const piece = memoryFor(lengths[index % lengths.length] ?? 0)
    assert.equal(piece.length, lengths[index % lengths.length])
    return piece.fill(index)
  })
  for (const [index, piece] of all.entries()) assert.ok(piece.every((byte) => byte === index))
})

test('bytes come through as copies of their own', () => {
  const { binary } = schemas
  assert.ok(binary !== undefined)
  for (const length of [0, 1, 255, 256, 8_192, 8_193, 70_000]) {
    const value = new Uint8Array(length).fill(7)
    const bytes = encode(binary, value)
    const got = decode(binary, bytes) as Uint8Array
    assert.deepEqual(got, value)
    bytes.fill(0)
    assert.deepEqual(got, value, 'what was read does not change with where it was read')
  }
  for (const wrong of [3, 'text', null, [1], {}]) {
    assert.throws(() => encode(binary, wrong), Misfit)
    assert.throws(() => decode(binary, pack(wrong)), Misfit)
  }
})

test('a key called __proto__ is refused, and other names of objects are only names', () => {
  const schema = Type.Record(Type.String(), Type.Integer())
  const evil = JSON.parse('{"__proto__": 1}') as unknown
  assert.throws(() => encode(schema, evil), Misfit)
  const forged = Buffer.concat([
    Buffer.from([0x81, 0xa9]),
    Buffer.from('__proto__'),
    Buffer.from([1]),
  ])
  assert.throws(() => decode(schema, forged), Misfit)
  const names = { constructor: 1, toString: 2, hasOwnProperty: 3 }
  assert.deepEqual(decode(schema, encode(schema, names)), names)
})

test('fields that a schema does not name do not travel', () => {
  const schema = Type.Object({ a: Type.Integer() })
  const more = { a: 1, secret: 'x' }
  assert.deepEqual(decode(schema, encode(schema, more)), { a: 1 })
  assert.deepEqual(codecOf(schema).copy(more), { a: 1 })
})

test('what follows a value is refused', () => {
  assert.throws(() => decode(Type.Integer(), Buffer.from([1, 2])), /more follows/)
})

test('a value that finds no room says so wherever the room ends, and writes no further', () => {
  for (const [name, schema] of Object.entries(schemas)) {
    const value = anyValue(schema, 0)
    if (!fits(schema, value)) continue
    const whole = encode(schema, value)
    for (let limit = 0; limit < whole.length; limit += 1) {
      const cursor = cursorOver(Buffer.alloc(whole.length + 16, 0xaa))
      cursor.limit = limit
      assert.throws(() => codecOf(schema).write(cursor, value), Overflow, name)
      assert.ok(
        cursor.buffer.subarray(limit).every((byte) => byte === 0xaa),
        `${name} at ${limit}`,
      )
    }
  }
})

test('a schema that no codec could hold a value against is refused when it is compiled', () => {
  const refused: readonly TSchema[] = [
    Type.Object({ maybe: Type.Optional(Type.String()) }),
    Type.Object({ a: Type.Null() }, { additionalProperties: false }),
    Type.Number({ multipleOf: 2 }),
    Type.Number({ exclusiveMinimum: 2 }),
    Type.Array(Type.Null(), { uniqueItems: true }),
    Type.String({ format: 'date' }),
    Type.Record(Type.String({ pattern: '^a$' }), Type.Null()),
    Type.Refine(Type.String(), (text) => text !== ''),
    Type.Undefined(),
    Type.BigInt(),
    Type.Function([], Type.Null()),
  ]
  for (const schema of refused) {
    assert.throws(() => codecOf(schema), /^Error: schema at/, JSON.stringify(schema))
  }
})
