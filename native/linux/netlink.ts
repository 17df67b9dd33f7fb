/**
 * Netlink messages by hand: a message is a fixed header, a fixed body, and attributes. Integers are
 * in the machine's order (little-endian on everything we run on) unless their name says `be`.
 * Layouts: linux/netlink.h, linux/rtnetlink.h.
 */
import { endianness } from 'node:os'
import assert from 'node:assert/strict'
import { type Descriptor, openNetlink, OsError, receive, send } from './libc.sys.ts'

assert.equal(endianness(), 'LE', 'netlink messages are written for little-endian machines')

/** Called with what is about to be changed, before every change of the kernel's state. */
export type Trace = (what: string) => void

export const u8 = (...values: readonly number[]): Buffer => Buffer.from(values)
export function u16(value: number): Buffer {
  const data = Buffer.alloc(2)
  data.writeUInt16LE(value)
  return data
}
export function u32(value: number): Buffer {
  const data = Buffer.alloc(4)
  data.writeUInt32LE(value >>> 0)
  return data
}
/** A string as the kernel wants it, with its end. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'utf8')

const aligned = (length: number): number => (length + 3) & ~3
const attributeHeader = 4
const isNested = 0x8000
const typeMask = 0x3fff

/** One attribute, padded. */
export function attribute(type: number, data: Uint8Array): Buffer {
  const length = attributeHeader + data.length
  const whole = Buffer.alloc(aligned(length))
  whole.writeUInt16LE(length, 0)
  whole.writeUInt16LE(type, 2)
  whole.set(data, attributeHeader)
  return whole
}

/** An attribute that holds attributes. */
export const nest = (type: number, ...inner: readonly Uint8Array[]): Buffer =>
  attribute(type | isNested, Buffer.concat(inner))

/** The attributes in `data` from `offset` on, by type; of a repeated one the last. */
export function attributesOf(data: Buffer, offset = 0): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>()
  for (let at = offset; at + attributeHeader <= data.length;) {
    const length = data.readUInt16LE(at)
    if (length < attributeHeader || at + length > data.length) break
    found.set(
      data.readUInt16LE(at + 2) & typeMask,
      data.subarray(at + attributeHeader, at + length),
    )
    at += aligned(length)
  }
  return found
}

/** A string attribute's text, without its end. */
export const textOf = (data: Buffer | undefined): string | null =>
  data === undefined ? null : data.toString('utf8').replace(/\0.*$/s, '')

export const flag = { create: 0x400, replace: 0x100, exclusive: 0x200 } as const
const request = 0x1
const acknowledge = 0x4
const dump = 0x300
const dumpInterrupted = 0x10
const hasExtendedAnswer = 0x200

const headerLength = 16
const typeError = 2
const typeDone = 3
const receiveBytes = 65_536
const dumpTries = 8

interface Received {
  readonly type: number
  readonly flags: number
  readonly seq: number
  readonly payload: Buffer
}

/** One netlink socket of one namespace. */
export class Netlink implements Disposable {
  readonly #socket: Descriptor
  readonly #trace: Trace
  readonly #buffer = Buffer.alloc(receiveBytes)
  #seq = 0

  /** Opens it in the calling thread's namespace. `protocol`: 0 route, 12 netfilter. */
  constructor(protocol: number, trace: Trace) {
    this.#socket = openNetlink(protocol)
    this.#trace = trace
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]()
  }

  /** Changes something; `what` completes "cannot …". Throws OsError with the kernel's own words. */
  change(type: number, flags: number, parts: readonly Uint8Array[], what: string): void {
    this.#trace(what)
    const seq = this.#send(type, acknowledge | flags, parts, what)
    for (;;) {
      for (const message of this.#receive(what)) {
        if (message.seq !== seq || message.type !== typeError) continue
        throwOnError(message, what)
        return
      }
    }
  }

  /** Asks for one object; null when there is none (`ENODEV`, `ENOENT`). */
  ask(type: number, parts: readonly Uint8Array[], what: string): Buffer | null {
    const seq = this.#send(type, 0, parts, what)
    for (;;) {
      for (const message of this.#receive(what)) {
        if (message.seq !== seq) continue
        if (message.type !== typeError) return Buffer.from(message.payload)
        if (isAbsence(message)) return null
        throwOnError(message, what)
      }
    }
  }

  /** Asks for all objects of a kind. */
  dump(type: number, parts: readonly Uint8Array[], what: string): readonly Buffer[] {
    for (let tries = 1; ; tries += 1) {
      const found = this.#dumpOnce(type, parts, what)
      if (found !== null) return found
      // Something changed while the kernel was listing: the list may lack objects.
      if (tries === dumpTries) throw new OsError(`cannot ${what}: it never holds still`, 0)
    }
  }

  #dumpOnce(type: number, parts: readonly Uint8Array[], what: string): readonly Buffer[] | null {
    const seq = this.#send(type, dump, parts, what)
    const found: Buffer[] = []
    let isWhole = true
    for (;;) {
      for (const message of this.#receive(what)) {
        if (message.seq !== seq) continue
        if ((message.flags & dumpInterrupted) !== 0) isWhole = false
        if (message.type === typeDone || message.type === typeError) {
          throwOnError(message, what)
          return isWhole ? found : null
        }
        found.push(Buffer.from(message.payload))
      }
    }
  }

  #send(type: number, flags: number, parts: readonly Uint8Array[], what: string): number {
    this.#seq = (this.#seq + 1) >>> 0
    const message = Buffer.concat([Buffer.alloc(headerLength), ...parts])
    message.writeUInt32LE(message.length, 0)
    message.writeUInt16LE(type, 4)
    message.writeUInt16LE(request | flags, 6)
    message.writeUInt32LE(this.#seq, 8)
    send(this.#socket, message, what)
    return this.#seq
  }

  #receive(what: string): readonly Received[] {
    const data = receive(this.#socket, this.#buffer, what)
    const messages: Received[] = []
    for (let at = 0; at + headerLength <= data.length;) {
      const length = data.readUInt32LE(at)
      if (length < headerLength || at + length > data.length) break
      messages.push({
        type: data.readUInt16LE(at + 4),
        flags: data.readUInt16LE(at + 6),
        seq: data.readUInt32LE(at + 8),
        payload: data.subarray(at + headerLength, at + length),
      })
      at += aligned(length)
    }
    return messages
  }
}

const errnoOf = ({ payload }: Received): number =>
  payload.length < 4 ? 0 : -payload.readInt32LE(0)

const ENOENT = 2
const ENODEV = 19
const isAbsence = (message: Received): boolean => [ENOENT, ENODEV].includes(errnoOf(message))

function throwOnError(message: Received, what: string): void {
  const errno = errnoOf(message)
  if (errno === 0) return
  const hasWords = (message.flags & hasExtendedAnswer) !== 0
  // The failed request's header stands before the extended answer, its body does not (CAP_ACK).
  const extended =
    message.type === typeError ? attributesOf(message.payload, 4 + headerLength) : null
  const words = hasWords && extended !== null ? textOf(extended.get(1)) : null
  throw new OsError(`cannot ${what}`, errno, words ?? '')
}
