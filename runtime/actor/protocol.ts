/**
 * A protocol is a table: one row per message. The table is the contract between threads, hosts and
 * versions; clients, codecs and the golden file all follow from it.
 *
 * A row never changes. What is to change becomes a new row, with `since` naming the version that
 * brought it; a row that nobody needs any more is `retired`, and its number is never used again. So
 * peers of different versions agree on every row that both of them have.
 */
import { Type, type Static, type TSchema } from 'typebox'
import { codecOf } from '../codec/codec.ts'
import type { Codec } from '../codec/compile.ts'
import { fingerprint } from './contract.ts'

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
  /** The version of the protocol that brought this row. */
  readonly since: number
}
export type AnyCall = Call<TSchema, TSchema, string>

/** A row as the runtime uses it. The codecs are compiled at their first use. */
export class Row {
  readonly protocol: string
  readonly name: string
  readonly call: AnyCall
  /** Its place in the table, by `op`: the same in every table with the same fingerprint. */
  readonly index: number
  #request: Codec | null = null
  #reply: Codec | null = null

  constructor(kind: string, name: string, made: AnyCall, index: number) {
    this.index = index
    this.protocol = kind
    this.name = name
    this.call = made
  }

  get request(): Codec {
    return (this.#request ??= codecOf(this.call.request))
  }

  get reply(): Codec {
    return (this.#reply ??= codecOf(this.call.reply))
  }
}

export interface Protocol<T extends Record<string, AnyCall> = Record<string, AnyCall>> {
  /** Also the kind of the actors that speak it: an actor's name is `kind/id`. */
  readonly name: string
  readonly version: number
  readonly messages: T
  /** Numbers of rows that are gone. */
  readonly retired: readonly number[]
  readonly rows: ReadonlyMap<string, Row>
  readonly ops: ReadonlyMap<number, Row>
  /** A number made of the whole table; see contract.ts. */
  readonly fingerprint: number
}
export type Name<P extends Protocol> = keyof P['messages'] & string
export type Request<P extends Protocol, K extends Name<P>> = Static<P['messages'][K]['request']>
export type Reply<P extends Protocol, K extends Name<P>> = Static<P['messages'][K]['reply']>
export type Failure<P extends Protocol, K extends Name<P>> =
  P['messages'][K] extends Call<TSchema, TSchema, infer E> ? E : never

/**
 * Failures of delivery that every caller must handle; the way there makes them, not the actor, but for `busy`.
 * `busy`: mailbox or link full, or the actor cannot take it now. `deadline`: not answered in time.
 * `cancelled`: the caller gave up.
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
const deliveryCodes: ReadonlySet<string> = new Set<DeliveryFailure>(deliveryFailures)
export const isDeliveryFailure = (code: string): code is DeliveryFailure => deliveryCodes.has(code)

interface RowSpec<Q extends TSchema, R extends TSchema, E extends string> {
  readonly request: Q
  readonly reply: R
  /** Required even when empty: an omitted set would be inferred as `string` and check nothing. */
  readonly errors: readonly E[]
  readonly lane?: Lane
  readonly idempotent?: boolean
  readonly since?: number
}

/** A row of a protocol table. */
export function call<Q extends TSchema, R extends TSchema, const E extends string>(
  op: number,
  row: RowSpec<Q, R, E>,
): Call<Q, R, NoInfer<E>> {
  return { op, lane: 'normal', idempotent: false, since: 1, ...row }
}

/**
 * A protocol table. Throws when an op number is used twice, is retired, or is outside 1…65535, and
 * when a row claims a later version than the table's.
 */
export function protocol<T extends Record<string, AnyCall>>(
  name: string,
  version: number,
  messages: T,
  retired: readonly number[] = [],
): Protocol<T> {
  const rows = new Map<string, Row>()
  const ops = new Map<number, Row>()
  const inOrder = Object.entries(messages).toSorted(([, a], [, b]) => a.op - b.op)
  for (const [message, made] of inOrder) {
    const { op, since } = made
    const wrong = (what: string) => new Error(`protocol ${name}: ${message}: ${what}`)
    if (!Number.isInteger(op) || op < 1 || op > 0xffff) throw wrong(`op ${op} is outside 1…65535`)
    if (ops.has(op) || retired.includes(op)) throw wrong(`op ${op} is used twice`)
    if (since > version) throw wrong(`it is there since ${since}, the table is ${version}`)
    const row = new Row(name, message, made, rows.size)
    rows.set(message, row)
    ops.set(op, row)
  }
  const made = { name, version, messages, retired }
  return { ...made, rows, ops, fingerprint: fingerprint(made) }
}

/** The schema of "no content". */
export const nothing = Type.Null()
