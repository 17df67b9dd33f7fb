import { inspect } from 'node:util'

/** Expected failures are values with a closed set of names; anything else throws and ends the actor. */
export interface Ok<T> {
  readonly ok: true
  readonly value: T
}
export interface Err<E extends string> {
  readonly ok: false
  readonly error: E
  /** One sentence with the operands: what was being done and what stood in the way. */
  readonly detail: string
}
export type Result<T, E extends string> = Ok<T> | Err<E>

export const ok = <T>(value: T): Ok<T> => ({ ok: true, value })
export const err = <const E extends string>(error: E, detail: string): Err<E> => ({
  ok: false,
  error,
  detail,
})

/** The messages of an error and of everything that caused it, outermost first: "a: b: c". */
export function explain(error: unknown): string {
  const parts: string[] = []
  for (let at: unknown = error; at !== undefined && at !== null && parts.length < 8;) {
    parts.push(at instanceof Error ? at.message : inspect(at))
    at = at instanceof Error ? at.cause : undefined
  }
  return parts.join(': ')
}
