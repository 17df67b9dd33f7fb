/** Who takes part in a comparison of speed: one interface for our own side and for every peer. */

/** What some operations took, on all processes of a contestant together. */
export interface Measurement {
  readonly operations: number
  readonly wall_ns: number
  /** Of every thread of every process that has a part in it, garbage collectors included. */
  readonly cpu_ns: number
  /** Of single operations, one in sixteen of which is timed; null where they are not told apart. */
  readonly p50_ns: number | null
  readonly p99_ns: number | null
  /** Memory that one operation's result holds; null where that is not the question. */
  readonly bytes: number | null
  /** Of the slowest operation, where that is the question. */
  readonly max_ns?: number
}

export interface Contestant {
  /** Does so many operations, no matter how long it takes, and tells what they took. */
  readonly run: (operations: number) => Promise<Measurement>
  /** Ends everything that was started for it. */
  readonly close: () => Promise<void>
}

export interface Entrant {
  readonly name: string
  /** Why it cannot take part on this machine; null when it can. */
  readonly obstacle: () => string | null
  readonly open: () => Promise<Contestant>
}
