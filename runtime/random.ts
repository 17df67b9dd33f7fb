/** Chance as an argument: a cluster that runs from a seed replays exactly. */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'

export interface Random {
  /** A number in [0, 1). */
  readonly next: () => number
  readonly bytes: (count: number) => Uint8Array
  /** A version 4 UUID in lower case. */
  readonly uuid: () => string
}

/** The operating system's randomness, fit for keys and tokens. */
export const systemRandom: Random = {
  next: () => randomInt(2 ** 47) / 2 ** 47,
  bytes: (count) => new Uint8Array(randomBytes(count)),
  uuid: () => randomUUID(),
}

/** The same sequence for the same seed (mulberry32). Never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const bytes = (count: number) =>
    Uint8Array.from({ length: count }, () => Math.floor(next() * 256))
  return {
    next,
    bytes,
    uuid: () => {
      const raw = Buffer.from(bytes(16))
      raw.writeUInt8((raw.readUInt8(6) & 0x0f) | 0x40, 6)
      raw.writeUInt8((raw.readUInt8(8) & 0x3f) | 0x80, 8)
      const hex = raw.toString('hex')
      const parts = [
        [0, 8],
        [8, 12],
        [12, 16],
        [16, 20],
        [20, 32],
      ] as const
      return parts.map(([from, to]) => hex.slice(from, to)).join('-')
    },
  }
}
