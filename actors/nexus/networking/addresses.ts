/** Arithmetic on IP addresses: as numbers, as sortable text, and as members of blocks. */
import ipaddr from 'ipaddr.js'

export interface Block {
  readonly family: 4 | 6
  readonly first: bigint
  readonly last: bigint
  readonly prefix: number
}

/** The number of an address; throws when the text is none. */
export function toNumber(address: string): bigint {
  const bytes = ipaddr.parse(address).toByteArray()
  return bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
}

export function familyOf(address: string): 4 | 6 {
  return ipaddr.parse(address).kind() === 'ipv4' ? 4 : 6
}

export function toAddress(value: bigint, family: 4 | 6): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((bits) => (value >> bits) & 0xffn).join('.')
  const length = 16
  const bytes = Array.from({ length }, (_, at) =>
    Number((value >> BigInt(8 * (length - 1 - at))) & 0xffn),
  )
  return ipaddr.fromByteArray(bytes).toString()
}

/** Text of one length for all addresses, which sorts as the addresses do. */
export const sortKey = (address: string): string =>
  `${familyOf(address)}:${toNumber(address).toString(16).padStart(32, '0')}`

/** An `address/length` block; throws when the text is none. */
export function blockOf(cidr: string): Block {
  const [address, prefix] = ipaddr.parseCIDR(cidr)
  const family = address.kind() === 'ipv4' ? 4 : 6
  const width = BigInt((family === 4 ? 32 : 128) - prefix)
  const first = (toNumber(address.toString()) >> width) << width
  return { family, first, last: first + (1n << width) - 1n, prefix }
}

/** A block as `address/length`, its address the first. */
export const blockText = ({ first, family, prefix }: Omit<Block, 'last'>): string =>
  `${toAddress(first, family)}/${prefix}`

/** Whether a block is a part of another, or the same. */
export const isWithin = (inner: Block, outer: Block): boolean =>
  inner.family === outer.family && inner.first >= outer.first && inner.last <= outer.last

export const overlaps = (one: Block, other: Block): boolean =>
  one.family === other.family && one.first <= other.last && other.first <= one.last

export function inBlock(address: string, block: Block): boolean {
  const value = toNumber(address)
  return familyOf(address) === block.family && value >= block.first && value <= block.last
}
