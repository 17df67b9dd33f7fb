/** Times in bodies. */
import { readIsoTime } from '#runtime/clock.ts'
import { badRequest } from '#actors/http/errors.ts'

/** A time of RFC 3339 as milliseconds since the epoch. Throws 400 for what is none, or before 1970. */
export function readTime(field: string, text: string): number {
  const ms = readIsoTime(text)
  if (ms !== null && ms >= 0) return ms
  throw badRequest(`unable to parse JSON body: invalid time for field \`${field}\``)
}
