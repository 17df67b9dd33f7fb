/** The words of the API: names, sizes, addresses, and the fields that every resource has. */
import { Type } from 'typebox'
import ipaddr from 'ipaddr.js'
import { isoTime } from '#runtime/clock.ts'

const uuidForm = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i

/** Why a text is no name, in Omicron's words and order; null when it is one. */
export function nameProblem(text: string): string | null {
  const characters = Array.from(text)
  const [first] = characters
  if (characters.length > 63) return 'name may contain at most 63 characters'
  if (first === undefined) return 'name requires at least one character'
  if (!/^[a-z]$/.test(first)) return 'name must begin with an ASCII lowercase character'
  const wrong = characters.find((character) => !/^[a-z0-9-]$/.test(character))
  if (wrong !== undefined) {
    return `name contains invalid character: "${wrong}" (allowed characters are lowercase ASCII, digits, and "-")`
  }
  if (text.endsWith('-')) return 'name cannot end with "-"'
  return uuidForm.test(text) ? 'name cannot be a UUID to avoid ambiguity with IDs' : null
}

export const name = Type.Refine(
  Type.String(),
  (value) => nameProblem(value) === null,
  (value) => nameProblem(value) ?? '',
)
export const description = Type.String({ maxLength: 512 })
export const uuid = Type.String({
  pattern: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$',
})
/** Bytes; beyond 2^53 JavaScript's numbers are not exact, and no disk is that large. */
export const byteCount = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const ipAddress = Type.Refine(
  Type.String(),
  (value) => isIp(value),
  () => 'invalid IP address syntax',
)
export const identity = { name, description }
export const updatedIdentity = {
  name: Type.Optional(Type.Union([name, Type.Null()])),
  description: Type.Optional(Type.Union([description, Type.Null()])),
}

function isIp(text: string): boolean {
  return text.includes(':') ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text)
}

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
