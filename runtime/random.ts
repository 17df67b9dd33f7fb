/** Chance as an argument: a cluster that runs from a seed replays exactly. */
export interface Random {
  /** A number in [0, 1). */
  readonly next: () => number
  readonly bytes: (count: number) => Uint8Array
  /** A version 4 UUID in lower case. */
  readonly uuid: () => string
}
