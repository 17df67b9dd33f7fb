/** New inputs out of old ones, from a seed. */
import type { Random } from '#runtime/random.ts'

export type Pick = (below: number) => number
export const picker =
  (random: Random): Pick =>
  (below) =>
    Math.floor(random.next() * below)

/** Bytes that formats give a meaning: ends of ranges, heads of msgpack's long values, marks of frames. */
const telling = [
  0x00, 0x01, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xcb, 0xcf, 0xd3,
  0xd9, 0xdb, 0xdd, 0xdf, 0xe0, 0xff,
] as const
const words = [0, 1, 23, 24, 0xff, 0xffff, 0x1_0000, 0x40_0000, 0x7fff_ffff, 0xffff_ffff] as const
const input_bytes_max = 64 * 1024

type Mutation = (bytes: Buffer, pick: Pick, other: Buffer) => Buffer
const mutations: readonly Mutation[] = [
  // A bit, a byte, a word.
  (bytes, pick) =>
    changed(bytes, pick, 1, (copy, at) => copy.writeUInt8((copy[at] ?? 0) ^ (1 << pick(8)), at)),
  (bytes, pick) =>
    changed(bytes, pick, 1, (copy, at) => copy.writeUInt8(telling[pick(telling.length)] ?? 0, at)),
  (bytes, pick) => changed(bytes, pick, 1, (copy, at) => copy.writeUInt8(pick(256), at)),
  (bytes, pick) =>
    changed(bytes, pick, 4, (copy, at) => copy.writeUInt32LE(words[pick(words.length)] ?? 0, at)),
  (bytes, pick) =>
    changed(bytes, pick, 4, (copy, at) => copy.writeUInt32BE(words[pick(words.length)] ?? 0, at)),
  // Less, more, again, elsewhere.
  (bytes, pick) => bytes.subarray(0, pick(bytes.length + 1)),
  (bytes, pick) => {
    const at = pick(bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + pick(16))])
  },
  (bytes, pick) => {
    const from = pick(bytes.length + 1)
    const piece = bytes.subarray(from, from + 1 + pick(64))
    const to = pick(bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, to), piece, bytes.subarray(to)])
  },
  (bytes, pick, other) =>
    Buffer.concat([
      bytes.subarray(0, pick(bytes.length + 1)),
      other.subarray(pick(other.length + 1)),
    ]),
  (bytes, pick) => {
    const at = pick(bytes.length + 1)
    const random = Buffer.from(Array.from({ length: 1 + pick(8) }, () => pick(256)))
    return Buffer.concat([bytes.subarray(0, at), random, bytes.subarray(at)])
  },
]

function changed(
  bytes: Buffer,
  pick: Pick,
  width: number,
  change: (copy: Buffer, at: number) => void,
): Buffer {
  if (bytes.length < width) return bytes
  const copy = Buffer.from(bytes)
  change(copy, pick(bytes.length - width + 1))
  return copy
}

/** A few mutations one after another. */
export function mutate(bytes: Buffer, other: Buffer, pick: Pick): Buffer {
  let result = bytes
  for (let count = 1 + pick(4); count > 0; count -= 1) {
    const mutation = mutations[pick(mutations.length)]
    if (mutation !== undefined) result = mutation(result, pick, other)
  }
  return result.subarray(0, input_bytes_max)
}
