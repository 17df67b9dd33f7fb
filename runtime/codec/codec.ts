/** The compiled form of a schema, made at its first use and kept. */
import type { TSchema } from 'typebox'
import { compile, type Codec } from './compile.ts'

const compiled = new WeakMap<TSchema, Codec>()

/** The codec of a schema. Throws when messages cannot carry it (compile.ts). */
export function codecOf(schema: TSchema): Codec {
  const found = compiled.get(schema)
  if (found !== undefined) return found
  const made = compile(schema)
  compiled.set(schema, made)
  return made
}
