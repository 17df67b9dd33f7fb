/**
 * A protocol is a table: one row per message. The table is the contract between threads, hosts and
 * versions; clients, decoders and the golden file all follow from it.
 */
import { Type, type Static, type TSchema } from 'typebox'

/** Stop-like messages overtake the others and may abort the handler that runs. */
export type Lane = 'normal' | 'urgent'

/** One row. `op` is the wire number: never reused, never renumbered. */
export interface Call<Q extends TSchema, R extends TSchema, E extends string> {
  readonly op: number
  readonly request: Q
  readonly reply: R
  readonly errors: readonly E[]
  readonly lane: Lane
  /** Only idempotent rows may be sent again after `unreachable`. */
  readonly idempotent: boolean
}
export type AnyCall = Call<TSchema, TSchema, string>

export interface Protocol<T extends Record<string, AnyCall> = Record<string, AnyCall>> {
  /** Also the kind of the actors that speak it: an actor's name is `kind/id`. */
  readonly name: string
  readonly version: number
  readonly messages: T
}
export type Name<P extends Protocol> = keyof P['messages'] & string
export type Request<P extends Protocol, K extends Name<P>> = Static<P['messages'][K]['request']>
export type Reply<P extends Protocol, K extends Name<P>> = Static<P['messages'][K]['reply']>
export type Failure<P extends Protocol, K extends Name<P>> =
  P['messages'][K] extends Call<TSchema, TSchema, infer E> ? E : never

/**
 * Failures of delivery that every caller must handle; the way there makes them, not the actor.
 * `busy`: mailbox or link full. `deadline`: not answered in time. `cancelled`: the caller gave up.
 * `unreachable`: no such host or actor, or the link broke. `crashed`: the actor died on it.
 * `unsupported`: the peer has no such row. `invalid`: request or reply breaks its schema.
 */
export const deliveryFailures = [
  'busy',
  'deadline',
  'cancelled',
  'unreachable',
  'crashed',
  'unsupported',
  'invalid',
] as const
export type DeliveryFailure = (typeof deliveryFailures)[number]

interface Row<Q extends TSchema, R extends TSchema, E extends string> {
  readonly request: Q
  readonly reply: R
  /** Required even when empty: an omitted set would be inferred as `string` and check nothing. */
  readonly errors: readonly E[]
  readonly lane?: Lane
  readonly idempotent?: boolean
}

/** A row of a protocol table. */
export function call<Q extends TSchema, R extends TSchema, const E extends string>(
  op: number,
  row: Row<Q, R, E>,
): Call<Q, R, NoInfer<E>> {
  return { op, lane: 'normal', idempotent: false, ...row }
}

/** A protocol table. Throws when an op number is used twice or is outside 1…65535. */
export function protocol<T extends Record<string, AnyCall>>(
  name: string,
  version: number,
  messages: T,
): Protocol<T> {
  const seen = new Set<number>()
  for (const [message, { op }] of Object.entries(messages)) {
    if (!Number.isInteger(op) || op < 1 || op > 0xffff) {
      throw new Error(`protocol ${name}: ${message} has op ${op}, outside 1…65535`)
    }
    if (seen.has(op)) throw new Error(`protocol ${name}: op ${op} is used twice`)
    seen.add(op)
  }
  return { name, version, messages }
}

/** The schema of "no content". */
export const nothing = Type.Null()
