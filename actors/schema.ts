/** The words that several protocols share: identifiers, addresses, sizes. */
import { Type, type Static } from 'typebox'

export const uuid = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
})
export const mac = Type.String({ pattern: '^([0-9a-f]{2}:){5}[0-9a-f]{2}$' })
export const ipv4 = Type.String({ pattern: '^([0-9]{1,3}\\.){3}[0-9]{1,3}$' })
/** An address of either family, as text. */
export const ip = Type.String({ pattern: '^[0-9a-fA-F:.]+$', maxLength: 45 })
/** A prefix of either family, `address/length`. */
export const cidr = Type.String({ pattern: '^[0-9a-fA-F:.]+/[0-9]{1,3}$', maxLength: 49 })
export const port = Type.Integer({ minimum: 0, maximum: 65_535 })
export const bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const generation = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
/** A moment, as milliseconds since the Unix epoch. */
export const moment_ms = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const path = Type.String({ minLength: 1, maxLength: 4096 })
export const nullable = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
/** By what right something is asked of a sled: a saga, owned by a session of the Nexus that asks. */
export const fence = Type.Object({
  /** The Nexus' host. */
  nexus: Type.String({ minLength: 1, maxLength: 128 }),
  saga_id: uuid,
  owner: Type.String({ minLength: 1, maxLength: 256 }),
})
export type Fence = Static<typeof fence>
/** Raw bytes. */
export const binary = Type.Unsafe<Uint8Array>(
  Type.Refine(Type.Unknown(), (value) => value instanceof Uint8Array),
)
