/**
 * One frame for threads and hosts. All numbers are big-endian:
 *
 *   u32 length of what follows · u8 kind · u8 flags · u16 op · u32 correlation · u32 remaining ms
 *   · u8 host length · u8 protocol length · u16 actor length · host · protocol · actor
 *   · msgpack payload
 *
 * `host` is whom a call is for; a thread passes on what is for another host. `op` names a row of the protocol; in a reply it is 0 for ok, 1 for a failure. The remaining time
 * is relative, because two hosts' clocks differ.
 */
import { Packr } from 'msgpackr'
import { limits } from '#config/limits.ts'

export const kinds = { call: 1, reply: 2, cancel: 3, hello: 4, ping: 5, pong: 6 } as const
export type Kind = keyof typeof kinds
const kindNames = new Map<number, Kind>(
  Object.entries(kinds).map(([name, number]) => [number, name as Kind]),
)
export const flags = { urgent: 1 } as const

export interface Frame {
  readonly kind: Kind
  readonly flags: number
  readonly op: number
  readonly correlation: number
  readonly remaining_ms: number
  readonly host: string
  readonly protocol: string
  readonly actor: string
  readonly payload: unknown
}

const header_bytes = 20
/** What a frame may say at most; a longer one ends the connection. */
export const frame_bytes_max = limits.frame_bytes_max

/** A frame that cannot be read: the connection it came on is over. */
export class FrameError extends Error {}

const empty = Buffer.alloc(0)
// Plain maps, no records: a frame must be readable without any that came before it.
const packr = new Packr({ useRecords: false, int64AsType: 'number' })

/** The whole frame, length included. Throws FrameError when it would exceed the limit. */
export function encodeFrame(frame: Frame): Buffer {
  const names = [frame.host, frame.protocol, frame.actor].map((name) => Buffer.from(name))
  const [host = empty, protocol = empty, actor = empty] = names
  const payload = packr.pack(frame.payload)
  const total = header_bytes + host.length + protocol.length + actor.length + payload.length
  if (total - 4 > frame_bytes_max) {
    throw new FrameError(`a frame of ${total} bytes exceeds ${frame_bytes_max}`)
  }
  const out = Buffer.allocUnsafe(total)
  out.writeUInt32BE(total - 4, 0)
  out.writeUInt8(kinds[frame.kind], 4)
  out.writeUInt8(frame.flags, 5)
  out.writeUInt16BE(frame.op, 6)
  out.writeUInt32BE(frame.correlation, 8)
  out.writeUInt32BE(Math.min(0xffff_ffff, Math.max(0, Math.ceil(frame.remaining_ms))), 12)
  out.writeUInt8(host.length, 16)
  out.writeUInt8(protocol.length, 17)
  out.writeUInt16BE(actor.length, 18)
  let at = header_bytes
  for (const part of [...names, payload]) at += part.copy(out, at)
  return out
}

/** Reads one whole frame (length included). Throws FrameError when it makes no sense. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.length < header_bytes) throw new FrameError('a frame shorter than its header')
  const kind = kindNames.get(view.readUInt8(4))
  if (kind === undefined) throw new FrameError(`unknown frame kind ${view.readUInt8(4)}`)
  const hostEnd = header_bytes + view.readUInt8(16)
  const protocolEnd = hostEnd + view.readUInt8(17)
  const actorEnd = protocolEnd + view.readUInt16BE(18)
  if (actorEnd > view.length) throw new FrameError('names reach past the end of the frame')
  let payload: unknown
  try {
    payload = detach(packr.unpack(view.subarray(actorEnd)))
  } catch (cause) {
    throw new FrameError('the payload is not msgpack', { cause })
  }
  return {
    kind,
    flags: view.readUInt8(5),
    op: view.readUInt16BE(6),
    correlation: view.readUInt32BE(8),
    remaining_ms: view.readUInt32BE(12),
    host: view.toString('utf8', header_bytes, hostEnd),
    protocol: view.toString('utf8', hostEnd, protocolEnd),
    actor: view.toString('utf8', protocolEnd, actorEnd),
    payload,
  }
}

/** msgpackr hands out views of its input; what outlives the frame must be a copy. */
function detach(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value)
  if (Array.isArray(value)) return value.map(detach)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, detach(inner)]))
  }
  return value
}

/** Cuts a byte stream into frames. A frame that announces too much ends the stream. */
export class FrameReader {
  #chunks: Buffer[] = []
  #held = 0

  /** Adds what arrived and returns the whole frames in it. Throws FrameError. */
  push(chunk: Buffer): readonly Frame[] {
    this.#chunks.push(chunk)
    this.#held += chunk.length
    if (this.#held < 4) return []
    let buffer = Buffer.concat(this.#chunks)
    const frames: Frame[] = []
    while (buffer.length >= 4) {
      const length = buffer.readUInt32BE(0)
      if (length > frame_bytes_max || length < header_bytes - 4) {
        throw new FrameError(`a frame announces ${length} bytes`)
      }
      if (buffer.length < length + 4) break
      frames.push(decodeFrame(buffer.subarray(0, length + 4)))
      buffer = buffer.subarray(length + 4)
    }
    this.#chunks = buffer.length > 0 ? [buffer] : []
    this.#held = buffer.length
    return frames
  }
}
