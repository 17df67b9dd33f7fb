/**
 * The kernel's table of flows, through ctnetlink: read, and forgotten one flow at a time.
 * Layout: linux/netfilter/nfnetlink_conntrack.h.
 */
import { ipText } from './addresses.ts'
import { OsError } from './libc.sys.ts'
import { attribute, attributesOf, Netlink, type Trace, u8 } from './netlink.ts'

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
}

const netfilter = 12
const subsystem = 1 << 8
const message = { get: subsystem | 1, delete: subsystem | 2 } as const
const AF_INET = 2
const header = u8(AF_INET, 0, 0, 0)
const isNested = 0x8000
const cta = { original: 1, reply: 2, id: 12 } as const

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
}

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
  return { original, reply, key }
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
