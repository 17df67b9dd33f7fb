import { inspect } from 'node:util'

/**
 * Expected failures are values with a closed set of names; anything else throws and ends the actor. Made by
 * constructors and not as literals, for the reason that records of messages are; see codec/compile.ts.
 */
export class Ok<T> {
  readonly ok = true
  readonly value: T

  constructor(value: T) {
    this.value = value
  }
}
export class Err<E extends string> {
  readonly ok = false
  readonly error: E
  /** One sentence with the operands: what was being done and what stood in the way. */
  readonly detail: string

  constructor(error: E, detail: string) {
    this.error = error
    this.detail = detail
  }
}
// A promise that is given a value looks for its `then`: for these it looks here and no further.
for (const { prototype } of [Ok, Err]) Object.setPrototypeOf(prototype, null)

export type Result<T, E extends string> = Ok<T> | Err<E>

export const ok = <T>(value: T): Ok<T> => new Ok(value)
export const err = <const E extends string>(error: E, detail: string): Err<E> =>
  new Err(error, detail)

/** The messages of an error and of everything that caused it, outermost first: "a: b: c". */
export function explain(error: unknown): string {
  const parts: string[] = []
  for (let at: unknown = error; at !== undefined && at !== null && parts.length < 8;) {
    parts.push(at instanceof Error ? at.message : inspect(at))
    at = at instanceof Error ? at.cause : undefined
  }
  return parts.join(': ')
}
