/** What can go wrong with a store that is not a mistake of ours: a closed set, the same for both dialects. */
import { inspect } from 'node:util'

export type StoreFailure =
  /** A unique index already has the row. */
  | 'conflict'
  /** Another transaction was in the way: the whole transaction may be run again. */
  | 'retry'
  /** The database cannot be reached or cannot work now. What was being committed may be there or not. */
  | 'away'
  /** A text that the database cannot hold: a NUL character. */
  | 'unstorable'

/** A failed statement or transaction. The driver's own error is its cause. */
export class StoreError extends Error {
  readonly failure: StoreFailure

  constructor(failure: StoreFailure, message: string, cause: unknown) {
    super(message, { cause })
    this.failure = failure
  }
}

/** Whether a write failed because a unique index already has the row. */
export const isConflict = (error: unknown): boolean =>
  error instanceof StoreError && error.failure === 'conflict'

const messages: Readonly<Record<StoreFailure, string>> = {
  conflict: 'a row is there already',
  retry: 'another transaction was in the way',
  away: 'the database does not answer',
  unstorable: 'a text holds a NUL character, which the database cannot keep',
}

/** The error to throw for a driver's: a StoreError where `failure` says so, else the very same. */
export function storeError(failure: StoreFailure | null, cause: unknown): Error {
  if (failure !== null) return new StoreError(failure, messages[failure], cause)
  return cause instanceof Error ? cause : new Error(inspect(cause))
}

/** The code that SQLite or PostgreSQL gave an error; null when neither made it. */
export const codeOf = (error: unknown): string | null =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
