/** Times, and the fields that every named resource shows. */
import { isoTime, type Clock } from '#runtime/clock.ts'

/** A moment as the API writes it. */
export const timestamp = isoTime

export interface IdentityRow {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly time_created_ms: number
  readonly time_modified_ms: number
}

/** The fields that every named resource shows. */
export const identityView = (row: IdentityRow) => ({
  id: row.id,
  name: row.name,
  description: row.description,
  time_created: timestamp(row.time_created_ms),
  time_modified: timestamp(row.time_modified_ms),
})

/** What an update of something named changes: what was given of it, and when that was. */
export function changesOf(
  { clock }: { readonly clock: Clock },
  {
    name = null,
    description = null,
  }: { readonly name?: string | null; readonly description?: string | null },
) {
  return {
    ...(name === null ? {} : { name }),
    ...(description === null ? {} : { description }),
    time_modified_ms: clock.now(),
  }
}
