/**
 * Turns a schema into code. One walk over the schema writes three functions as JavaScript text: one
 * writes a value that fits, one reads one back and checks it, one copies one. The text holds only
 * names and constants that come from the schema, each through JSON.stringify.
 *
 * A record is a list of its fields in the schema's order, an enumeration is its index, a union is
 * its variant's index and the value, or nil; anything that has no schema travels as plain msgpack.
 * That is shorter and faster than maps, and safe because a row of a protocol never changes
 * (protocol.ts). The texts of lists lie apart (texts.ts). What stands on the wire is valid msgpack.
 *
 * What writes and what reads keeps its place in the memory in a variable of its own, `at`, and takes what
 * is a single byte itself. For all else it tells the cursor where it is, and asks it afterwards. What writes
 * a record of one number is
 *
 *     const b=c.buffer;let at=c.at;
 *     if(at+14>c.limit)throw overflow;
 *     if(!(typeof x==='object'&&x!==null&&!Array.isArray(x)))wrong("","must be object");
 *     b[at++]=145;
 *     const f1=x["size"];
 *     if(!(Number.isInteger(f1)))wrong("/size","must be a fitting Integer");
 *     if(f1>=1&&f1<128&&(f1|0)===f1)b[at++]=f1;else{c.at=at;writeNumber(c,f1);at=c.at;}
 *     c.at=at;
 *
 * What is read or copied is made by constructors and functions, and not written as literals: the engine may
 * find that the objects of a literal live long and make them in old space from then on, and what is there
 * keeps all that it refers to until the next collection of everything. Messages live long only while a
 * process starts, and it is then that the engine looks.
 */
import type { TSchema } from 'typebox'
import { limits } from '#config/limits.ts'
import type { Cursor } from './cursor.ts'
import { given } from './given.ts'
import { makeRoom, placeOf } from './code.ts'
import { Unit } from './pieces.ts'

/**
 * Another number whenever messages of a schema lie on the wire in another way than before. It is part of what
 * peers compare (contract.ts): of two that lay messages out differently, none takes the other's.
 */
export const layout = 2

/** What a schema compiles to. Each throws Misfit for what breaks the schema. */
export interface Codec {
  /** Writes a value at the cursor; throws Overflow when there is no room. */
  readonly write: (cursor: Cursor, value: unknown) => void
  /** Reads the value that fills the cursor up to its limit. */
  readonly read: (cursor: Cursor) => unknown
  /** A deep copy that shares nothing with the value. */
  readonly copy: (value: unknown) => unknown
}

/** What takes single bytes does not look for the end each time: it is enough to find out before anybody is told. */
const ended = 'if(c.at!==c.limit)wrong("",c.at<c.limit?"more follows":"it ends too early");'

/** Compiles a schema. Throws when it uses what messages may not: optional properties, unknown kinds. */
export function compile(schema: TSchema): Codec {
  const unit = new Unit()
  const piece = unit.piece(schema, '')
  const { enter, leave } = placeOf(piece.hasTexts)
  const count = unit.isCounted ? `c.items=${limits.message_items_max};` : ''
  const ifTexts = (code: string) => (piece.hasTexts ? code : '')
  const source = [
    '"use strict"',
    ...unit.lines,
    'return {',
    `write(c,x){${count}${ifTexts('const start=c.at;openTexts(c);')}${enter}${makeRoom(piece)}${piece.write('x')}${leave}${ifTexts('writeTexts(c,start);')}},`,
    `read(c){${count}${ifTexts('findTexts(c);')}${enter}let x;${piece.read('x')}${leave}${ended}${ifTexts('passTexts(c);')}return x},`,
    `copy(x){return ${piece.copy('x')}}}`,
  ].join('\n')
  const names = Object.keys(given)
  // The one place where text becomes code: see above for what it may hold.
  const make = new Function(...names, 'k', source) as (...values: unknown[]) => Codec
  return make(...Object.values(given), unit.constants)
}
