/** Columns that hold JSON: read back against the schema of what was written. */
import type { Static, TSchema } from 'typebox'
import { misfit, fits } from '#runtime/schema.ts'

/** The value of a JSON column. Throws when the store holds something else: a bug or a damaged file. */
export function readColumn<S extends TSchema>(schema: S, text: string): Static<S> {
  const value: unknown = JSON.parse(text)
  if (fits(schema, value)) return value
  throw new Error(`a column holds what it should not: ${misfit(schema, value)}`)
}
