/**
 * DHCP as OPTE answers it: one address, always the same, with a /32 mask so that every packet goes
 * through the gateway. Formats: RFC 2131, options RFC 2132, classless routes RFC 3442.
 */
import { ipBytes, ipText, macBytes, macText } from './addresses.ts'

/** What a guest's port is given. */
export interface Lease {
  readonly mac: string
  readonly ip: string
  readonly gateway: string
  readonly resolvers: readonly string[]
  readonly hostname: string
  readonly mtu: number
}
export type DhcpKind = 'discover' | 'request'
export interface DhcpRequest {
  readonly kind: DhcpKind
  readonly transaction: number
  readonly mac: string
  /** The client can only hear broadcasts. */
  readonly wantsBroadcast: boolean
  /** The address that the client asks for; null when it leaves it to the server. */
  readonly address: string | null
  /** The server that the client has chosen; null when it has not. */
  readonly server: string | null
}
export interface DhcpReply {
  readonly packet: Buffer
  /** Where it goes: the guest's address, or everybody on the link. */
  readonly to: string
}

export const dhcpPorts = { server: 67, client: 68 } as const
export const lease_s = 86_400

const optionsAt = 240
const packet_bytes_min = optionsAt + 1
const reply_bytes_min = 300
const magic = 0x63825363
const operation = { request: 1, reply: 2 } as const
const ethernet = 1
const broadcastFlag = 0x8000
const broadcast = '255.255.255.255'
const messageType = { discover: 1, offer: 2, request: 3, ack: 5, nak: 6 } as const
const option = {
  pad: 0,
  mask: 1,
  router: 3,
  resolvers: 6,
  hostname: 12,
  mtu: 26,
  address: 50,
  lease: 51,
  type: 53,
  server: 54,
  classlessRoutes: 121,
  end: 255,
} as const

/** Reads a client's packet; null when it is malformed or nothing that we answer. */
export function readRequest(packet: Buffer): DhcpRequest | null {
  if (packet.length < packet_bytes_min || packet.readUInt32BE(236) !== magic) return null
  // A request, from Ethernet, whose addresses have 6 bytes.
  if (packet.readUIntBE(0, 3) !== ((operation.request << 16) | (ethernet << 8) | 6)) return null
  const options = readOptions(packet)
  const type = options?.get(option.type)
  if (options === null || type?.length !== 1) return null
  const kind = kinds.get(type.readUInt8(0))
  if (kind === undefined) return null
  const asked = addressIn(options.get(option.address))
  const current = packet.readUInt32BE(12) === 0 ? null : ipText(packet.subarray(12, 16))
  return {
    kind,
    transaction: packet.readUInt32BE(4),
    mac: macText(packet.subarray(28, 34)),
    wantsBroadcast: (packet.readUInt16BE(10) & broadcastFlag) !== 0,
    address: asked ?? current,
    server: addressIn(options.get(option.server)),
  }
}

const kinds: ReadonlyMap<number, DhcpKind> = new Map([
  [messageType.discover, 'discover'],
  [messageType.request, 'request'],
])

const addressIn = (data: Buffer | undefined): string | null =>
  data?.length === 4 ? ipText(data) : null

/** Null when an option runs over the end of the packet. */
function readOptions(packet: Buffer): ReadonlyMap<number, Buffer> | null {
  const options = new Map<number, Buffer>()
  for (let at = optionsAt; at < packet.length;) {
    const code = packet.readUInt8(at)
    if (code === option.end) break
    if (code === option.pad) {
      at += 1
      continue
    }
    const length = packet[at + 1]
    if (length === undefined || at + 2 + length > packet.length) return null
    options.set(code, packet.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  return options
}

/**
 * The answer to a request: an offer, an acknowledgement, or a refusal of an address that is not the
 * port's. Null: not for us, because the MAC is another's or the client has chosen another server.
 */
export function answer(request: DhcpRequest, lease: Lease): DhcpReply | null {
  if (request.mac !== lease.mac) return null
  if (request.server !== null && request.server !== lease.gateway) return null
  if (request.kind === 'discover') return reply(request, lease, messageType.offer)
  const isOther = request.address !== null && request.address !== lease.ip
  return reply(request, lease, isOther ? messageType.nak : messageType.ack)
}

function reply(request: DhcpRequest, lease: Lease, type: number): DhcpReply {
  const isRefusal = type === messageType.nak
  const gateway = ipBytes(lease.gateway)
  const packet = Buffer.alloc(optionsAt)
  packet.set([operation.reply, ethernet, 6], 0)
  packet.writeUInt32BE(request.transaction, 4)
  if (isRefusal) packet.writeUInt16BE(broadcastFlag, 10)
  else {
    packet.set(ipBytes(lease.ip), 16)
    packet.set(gateway, 20)
  }
  packet.set(macBytes(lease.mac), 28)
  packet.writeUInt32BE(magic, 236)
  const options = [one(option.type, Buffer.from([type])), one(option.server, gateway)]
  if (!isRefusal) options.push(...configuration(lease, gateway))
  const whole = Buffer.concat([packet, ...options, Buffer.from([option.end])])
  // Some clients take nothing shorter than BOOTP's old size.
  const padded = Buffer.concat([whole, Buffer.alloc(Math.max(0, reply_bytes_min - whole.length))])
  return { packet: padded, to: isRefusal || request.wantsBroadcast ? broadcast : lease.ip }
}

function configuration(lease: Lease, gateway: Buffer): readonly Buffer[] {
  const numbers = Buffer.alloc(6)
  numbers.writeUInt32BE(lease_s, 0)
  numbers.writeUInt16BE(lease.mtu, 4)
  // The gateway itself is on the link, everything else is behind it.
  const routes = Buffer.concat([
    Buffer.from([32]),
    gateway,
    Buffer.alloc(4),
    Buffer.from([0]),
    gateway,
  ])
  const name = Buffer.from(lease.hostname, 'latin1')
  return [
    one(option.lease, numbers.subarray(0, 4)),
    one(option.mask, ipBytes(broadcast)),
    one(option.router, gateway),
    ...(lease.resolvers.length === 0
      ? []
      : [one(option.resolvers, Buffer.concat(lease.resolvers.map(ipBytes)))]),
    ...(name.length === 0 ? [] : [one(option.hostname, name)]),
    one(option.mtu, numbers.subarray(4, 6)),
    one(option.classlessRoutes, routes),
  ]
}

const one = (code: number, data: Buffer): Buffer =>
  Buffer.concat([Buffer.from([code, data.length]), data])
