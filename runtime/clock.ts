/** Time as an argument, so that a whole rack can run on time that a test moves. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number
  /** Calls back once after `delay_ms`; the returned function takes it back. */
  readonly after: (delay_ms: number, callback: () => void) => () => void
  readonly sleep: (delay_ms: number, signal?: AbortSignal) => Promise<void>
}
