/** Addresses as text and as the bytes that the kernel takes. */
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Text that was handed in and does not mean what it should. */
export class InvalidText extends Error {
  override readonly name = 'InvalidText'
}

/** `address/length`, taken apart. */
export interface Prefix {
  /** 4 or 16 bytes. */
  readonly bytes: Buffer
  readonly length: number
}

/** The 4 or 16 bytes of an address; throws when the text is none. */
export function ipBytes(text: string): Buffer {
  if (isIP(text) === 0) throw new InvalidText(`"${text}" is not an IP address`)
  return Buffer.from(ipaddr.parse(text).toByteArray())
}

/** Text of 4 or 16 address bytes, in its shortest form. */
export function ipText(bytes: Uint8Array): string {
  return ipaddr.fromByteArray([...bytes]).toString()
}

/** The 6 bytes of `aa:bb:cc:dd:ee:ff`; throws when the text is no MAC. */
export function macBytes(text: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) throw new InvalidText(`"${text}" is not a MAC`)
  return Buffer.from(text.replaceAll(':', ''), 'hex')
}

export function macText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
}

/** Takes `address/length` apart; host bits stay as they are. Throws when the text is none. */
export function prefixOf(text: string): Prefix {
  const [address = '', length = '', ...rest] = text.split('/')
  const bytes = ipBytes(address)
  const bits = Number(length)
  const isLength = /^[0-9]{1,3}$/.test(length) && bits <= bytes.length * 8
  if (rest.length > 0 || !isLength) throw new InvalidText(`"${text}" is not address/length`)
  return { bytes, length: bits }
}

/** The address part of `address/length`. */
export function addressOf(text: string): string {
  return ipText(prefixOf(text).bytes)
}

/** Whether two prefixes of one family have addresses in common. */
export function overlap(a: Prefix, b: Prefix): boolean {
  if (a.bytes.length !== b.bytes.length) return false
  const bits = Math.min(a.length, b.length)
  for (let at = 0; at < bits; at += 8) {
    const mask = bits - at >= 8 ? 0xff : (0xff << (8 - (bits - at))) & 0xff
    if (((a.bytes[at / 8] ?? 0) & mask) !== ((b.bytes[at / 8] ?? 0) & mask)) return false
  }
  return true
}

/** The first usable address of an IPv4 subnet: by Oxide's rule, its gateway. */
export function gatewayOf(subnet: string): string {
  const { bytes, length } = prefixOf(subnet)
  if (bytes.length !== 4) {
    throw new InvalidText(`subnet ${subnet} is not IPv4: guests have IPv4 only`)
  }
  const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0
  const first = Buffer.alloc(4)
  first.writeUInt32BE((((bytes.readUInt32BE(0) & mask) >>> 0) + 1) >>> 0)
  return ipText(first)
}
