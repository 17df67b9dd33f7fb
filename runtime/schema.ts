/** Schemas are compiled once, at their first use, and checked at every boundary. */
import { createRequire } from 'node:module'
import type { Static, TSchema } from 'typebox'
import type * as Compiler from 'typebox/compile'

/** One thing that is wrong with a value, and where, as JSON pointers. */
export interface Found {
  readonly keyword: string
  readonly instancePath: string
  readonly schemaPath: string
  readonly message: string
  readonly params: object
}
interface Validator {
  readonly Check: (value: unknown) => boolean
  readonly Errors: (value: unknown) => readonly Found[]
}
const compiled = new WeakMap<TSchema, Validator>()
/** Three hundred modules: a thread that compiles nothing at its start does not wait for them. */
const compilerOf = (): typeof Compiler => createRequire(import.meta.url)('typebox/compile')

function validatorOf(schema: TSchema): Validator {
  const found = compiled.get(schema)
  if (found !== undefined) return found
  const made: Validator = compilerOf().Compile(schema)
  compiled.set(schema, made)
  return made
}

/** Whether a value fits a schema. */
export function fits<S extends TSchema>(schema: S, value: unknown): value is Static<S> {
  return validatorOf(schema).Check(value)
}

/** Everything that is wrong with a value, alternatives one by one; nothing when it fits. */
export function wrongWith(schema: TSchema, value: unknown): readonly Found[] {
  return validatorOf(schema).Errors(value)
}

/** The first thing wrong with a value, as `path: what`; empty when it fits. */
export function misfit(schema: TSchema, value: unknown): string {
  const [first] = validatorOf(schema).Errors(value)
  if (first === undefined) return ''
  return `${first.instancePath === '' ? 'value' : first.instancePath}: ${first.message}`
}

/** What is wrong with a value that a codec refused; its own words when the schema finds nothing. */
export function explainMisfit(schema: TSchema, value: unknown, error: Error): string {
  const found = misfit(schema, value)
  return found === '' ? error.message : found
}
