/**
 * The kernel's table of flows, through ctnetlink: read, and forgotten or taken over one flow at a time.
 * Layout: linux/netfilter/nfnetlink_conntrack.h.
 */
import { ipText } from './addresses.ts'
import { OsError } from './libc.sys.ts'
import { attribute, attributesOf, flag, nest, Netlink, type Trace, u8 } from './netlink.ts'

/** One direction of a flow: addresses of 4 bytes, ports where the protocol has them. */
export interface Tuple {
  readonly source: Buffer
  readonly destination: Buffer
  readonly protocol: number
  readonly sourcePort: number | null
  readonly destinationPort: number | null
}
/**
 * A flow: how its first packet looked when it came in, and how the answers to it look when they come
 * in. Where the two are not mirrored, addresses or ports are translated.
 */
export interface TrackedFlow {
  readonly original: Tuple
  readonly reply: Tuple
  /** What names the flow to the kernel. */
  readonly key: Buffer
  /** How far it is: the kernel's bits, how long it is kept yet, and what TCP is at (raw attributes). */
  readonly status: number
  readonly progress: readonly Buffer[]
}

const netfilter = 12
const subsystem = 1 << 8
const message = { new: subsystem, get: subsystem | 1, delete: subsystem | 2 } as const
const AF_INET = 2
const header = u8(AF_INET, 0, 0, 0)
const isNested = 0x8000
const cta = {
  original: 1,
  reply: 2,
  status: 3,
  protocolInfo: 4,
  natSource: 6,
  timeout: 7,
  id: 12,
  natDestination: 13,
} as const
/** Of a flow's status: what is so for its whole life, and what is worth keeping. */
const status = { seenReply: 2, assured: 4, confirmed: 8 } as const
const protocols = { tcp: 6, udp: 17 } as const

export class Conntrack implements Disposable {
  readonly #netlink: Netlink

  /** Opens a socket in the calling thread's namespace. */
  constructor(trace: Trace) {
    this.#netlink = new Netlink(netfilter, trace)
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]()
  }

  /** Every IPv4 flow that is tracked in this namespace. */
  flows(): readonly TrackedFlow[] {
    return this.#netlink
      .dump(message.get, [header], 'list flows')
      .map(flowOf)
      .filter((flow) => flow !== null)
  }

  /** Forgets a flow, its address translation with it; one that has ended meanwhile is fine. */
  forget(flow: TrackedFlow): void {
    const { source, destination, protocol } = flow.original
    const what = `forget the flow ${ipText(source)} → ${ipText(destination)}, protocol ${protocol}`
    try {
      this.#netlink.change(message.delete, 0, [header, flow.key], what)
    } catch (error) {
      if (!(error instanceof OsError) || error.code !== 'ENOENT') throw error
    }
  }

  /**
   * Makes a flow of TCP or UDP that was tracked elsewhere, with its address translation, in the place of one
   * between the same ends. Others need none: their next packet begins them anew.
   */
  adopt(flow: TrackedFlow): void {
    const { original, reply } = flow
    if (original.protocol !== protocols.tcp && original.protocol !== protocols.udp) return
    const what = `take over the flow ${ipText(original.source)} → ${ipText(original.destination)}`
    const key = tupleAttribute(cta.original, original)
    this.forget({ ...flow, key })
    const kept = flow.status & (status.seenReply | status.assured)
    const parts = [
      header,
      key,
      // As if nothing were translated: the kernel does that itself.
      tupleAttribute(cta.reply, mirrored(original)),
      ...(isSame(reply.destination, reply.destinationPort, original.source, original.sourcePort)
        ? []
        : [natAttribute(cta.natSource, reply.destination, reply.destinationPort)]),
      ...(isSame(reply.source, reply.sourcePort, original.destination, original.destinationPort)
        ? []
        : [natAttribute(cta.natDestination, reply.source, reply.sourcePort)]),
      attribute(cta.status, u32be(status.confirmed | kept)),
      ...flow.progress,
    ]
    this.#netlink.change(message.new, flag.create | flag.exclusive, parts, what)
  }
}

const u32be = (value: number): Buffer => {
  const data = Buffer.alloc(4)
  data.writeUInt32BE(value)
  return data
}
const u16be = (value: number | null): Buffer => {
  const data = Buffer.alloc(2)
  data.writeUInt16BE(value ?? 0)
  return data
}

const mirrored = (tuple: Tuple): Tuple => ({
  source: tuple.destination,
  destination: tuple.source,
  protocol: tuple.protocol,
  sourcePort: tuple.destinationPort,
  destinationPort: tuple.sourcePort,
})

const isSame = (a: Buffer, aPort: number | null, b: Buffer, bPort: number | null): boolean =>
  a.equals(b) && aPort === bPort

/** CTA_TUPLE_IP and CTA_TUPLE_PROTO. */
const tupleAttribute = (type: number, tuple: Tuple): Buffer =>
  nest(
    type,
    nest(1, attribute(1, tuple.source), attribute(2, tuple.destination)),
    nest(
      2,
      attribute(1, u8(tuple.protocol)),
      attribute(2, u16be(tuple.sourcePort)),
      attribute(3, u16be(tuple.destinationPort)),
    ),
  )

/** CTA_NAT_V4_MINIP, _MAXIP and CTA_NAT_PROTO: exactly this address and port. */
const natAttribute = (type: number, address: Buffer, port: number | null): Buffer =>
  nest(
    type,
    attribute(1, address),
    attribute(2, address),
    nest(3, attribute(1, u16be(port)), attribute(2, u16be(port))),
  )

function flowOf(data: Buffer): TrackedFlow | null {
  const attributes = attributesOf(data, header.length)
  const rawOriginal = attributes.get(cta.original)
  const rawReply = attributes.get(cta.reply)
  const id = attributes.get(cta.id)
  if (rawOriginal === undefined || rawReply === undefined) return null
  const original = tupleOf(rawOriginal)
  const reply = tupleOf(rawReply)
  if (original === null || reply === null) return null
  const key = Buffer.concat([
    attribute(cta.original | isNested, rawOriginal),
    // With its id only this very flow is meant, not a later one between the same ends.
    ...(id === undefined ? [] : [attribute(cta.id, id)]),
  ])
  const info = attributes.get(cta.protocolInfo)
  const timeout = attributes.get(cta.timeout)
  const progress = [
    ...(timeout === undefined ? [] : [attribute(cta.timeout, timeout)]),
    ...(info === undefined ? [] : [attribute(cta.protocolInfo | isNested, info)]),
  ]
  const bits = attributes.get(cta.status)?.readUInt32BE(0) ?? 0
  return { original, reply, key, status: bits, progress }
}

function tupleOf(data: Buffer): Tuple | null {
  const attributes = attributesOf(data)
  const addresses = attributesOf(attributes.get(1) ?? Buffer.alloc(0))
  const protocol = attributesOf(attributes.get(2) ?? Buffer.alloc(0))
  const source = addresses.get(1)
  const destination = addresses.get(2)
  if (source === undefined || destination === undefined) return null
  return {
    source,
    destination,
    protocol: protocol.get(1)?.readUInt8(0) ?? 0,
    sourcePort: protocol.get(2)?.readUInt16BE(0) ?? null,
    destinationPort: protocol.get(3)?.readUInt16BE(0) ?? null,
  }
}
