/** Notes that the kernel keeps with links, as their aliases: small JSON texts. */
import type { Static, TSchema } from 'typebox'
import { fits } from '#runtime/schema.ts'

/** What an alias says; null when there is none, or another's. */
export function readAlias<S extends TSchema>(schema: S, alias: string | null): Static<S> | null {
  if (alias === null) return null
  try {
    const value: unknown = JSON.parse(alias)
    return fits(schema, value) ? value : null
  } catch {
    return null
  }
}
