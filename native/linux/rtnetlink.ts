/**
 * Links, addresses, routes, neighbours and policy rules of one namespace. Every `ensure…` and
 * `remove…` may be called again: what is there already, or gone already, is fine.
 * Layouts: linux/if_link.h, linux/if_addr.h, linux/neighbour.h, linux/fib_rules.h.
 */
import { ipBytes, ipText, macBytes, macText, type Prefix, prefixOf } from './addresses.ts'
import { OsError } from './libc.sys.ts'
import {
  attribute,
  attributesOf,
  flag,
  nest,
  Netlink,
  text,
  textOf,
  type Trace,
  u16,
  u32,
  u8,
} from './netlink.ts'

export interface Link {
  readonly index: number
  readonly name: string
  readonly mac: string | null
  readonly mtu: number
  readonly isUp: boolean
  /** Free text that the kernel keeps with the link. */
  readonly alias: string | null
  readonly kind: string | null
}
export interface VethEnd {
  readonly name: string
  readonly mtu: number
  readonly mac?: string
}
export interface LinkChange {
  readonly isUp?: true
  readonly mac?: string
  readonly mtu?: number
  readonly alias?: string
  readonly master?: number
}
export interface Route {
  /** `address/length`; `0.0.0.0/0` and `::/0` are the defaults. */
  readonly destination: string
  /** Index of the link it leaves by; null for a blackhole. */
  readonly link: number | null
  /** Next hop, taken to be on the link whatever its addresses say; null: the destination itself. */
  readonly via: string | null
  readonly table: number
  /** Who makes it; absent: `protocolOurs`. */
  readonly protocol?: typeof protocolTold
}
export interface FoundRoute {
  readonly destination: Prefix
  readonly link: number | null
  /** Its next hop's address; null: none. */
  readonly via: string | null
  readonly table: number
  /** Who made it, as the kernel keeps it: `protocolOurs` is us. */
  readonly protocol: number
  readonly type: number
}
export interface Address {
  readonly link: number
  readonly bytes: Buffer
  readonly length: number
}

/** Routes of ours carry this number, so that only they are ever taken away. */
export const protocolOurs = 0x6c
/** The same for those that lead to other sleds, as Nexus has told where guests are. */
export const protocolTold = 0x6d
export const tableMain = 254
const tableLocal = 255

const type = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  delRule: 33,
  newLinkProperty: 108,
} as const
const ifla = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  info: 18,
  alias: 20,
  netnsFd: 28,
  extra: 29,
  properties: 52,
  altName: 53,
} as const
const skipCounters = 8
const AF_INET = 2
const AF_INET6 = 10
const AF_BRIDGE = 7
const AF_BRIDGE_PORT_ANY = 0
const IFF_UP = 1
const route = { unicast: 1, local: 2, broadcast: 3, blackhole: 6, multicast: 5 } as const
const NTF_SELF = 2
const NTF_PROXY = 8
const NUD_PERMANENT = 0x80
const IFA_F_NODAD = 2

const family = (bytes: Uint8Array): number => (bytes.length === 4 ? AF_INET : AF_INET6)
const linkHeader = (index: number, flags: number, change: number): Buffer =>
  Buffer.concat([u8(AF_BRIDGE_PORT_ANY, 0, 0, 0), u32(index), u32(flags), u32(change)])

export class Rtnetlink implements Disposable {
  readonly #netlink: Netlink

  /** Opens a socket in the calling thread's namespace. */
  constructor(trace: Trace) {
    this.#netlink = new Netlink(0, trace)
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]()
  }

  links(): readonly Link[] {
    // Without counters, which are most of what the kernel has to say of a link.
    const parts = [linkHeader(0, 0, 0), attribute(ifla.extra, u32(skipCounters))]
    return this.#netlink.dump(type.getLink, parts, 'list links').map(linkOf)
  }

  /** The link of a name; null when there is none. */
  link(name: string): Link | null {
    const parts = [linkHeader(0, 0, 0), attribute(ifla.name, text(name))]
    const found = this.#netlink.ask(type.getLink, parts, `look for link ${name}`)
    return found === null ? null : linkOf(found)
  }

  /** Makes a pair: one end here, the other in the namespace behind the descriptor. */
  createVeth(here: VethEnd, there: VethEnd, netnsFd: number): void {
    const peer = Buffer.concat([
      linkHeader(0, 0, 0),
      ...endOf(there),
      attribute(ifla.netnsFd, u32(netnsFd)),
    ])
    const info = nest(
      ifla.info,
      attribute(1, text('veth')),
      // IFLA_INFO_DATA with VETH_INFO_PEER.
      nest(2, attribute(1 | 0x8000, peer)),
    )
    this.#netlink.change(
      type.newLink,
      flag.create | flag.exclusive,
      [linkHeader(0, 0, 0), ...endOf(here), info],
      `make link ${here.name} with its other end ${there.name}`,
    )
  }

  /** A bridge that floods multicast: neighbour discovery must not wait for a querier. */
  createBridge(name: string): void {
    const snoopingOff = nest(2, attribute(23, u8(0)))
    const info = nest(ifla.info, attribute(1, text('bridge')), snoopingOff)
    const parts = [linkHeader(0, 0, 0), attribute(ifla.name, text(name)), info]
    this.#netlink.change(type.newLink, flag.create | flag.exclusive, parts, `make bridge ${name}`)
  }

  /**
   * A VXLAN link (RFC 7348) in the namespace behind the descriptor, whose packets pass through this one.
   * It learns nothing: who is behind which address is said with `ensureForwarding`.
   */
  createVxlan(
    here: Required<VethEnd>,
    { vni, local, port }: { readonly vni: number; readonly local: string; readonly port: number },
    netnsFd: number,
  ): void {
    const portBE = Buffer.alloc(2)
    portBE.writeUInt16BE(port)
    // IFLA_VXLAN_ID, _LOCAL6, _LEARNING, _PORT.
    const data = nest(
      2,
      attribute(1, u32(vni)),
      attribute(17, ipBytes(local)),
      attribute(7, u8(0)),
      attribute(15, portBE),
    )
    const info = nest(ifla.info, attribute(1, text('vxlan')), data)
    const parts = [linkHeader(0, 0, 0), ...endOf(here), attribute(ifla.netnsFd, u32(netnsFd)), info]
    const what = `make link ${here.name} of VXLAN ${vni}`
    this.#netlink.change(type.newLink, flag.create | flag.exclusive, parts, what)
  }

  change({ index, name }: Link, change: LinkChange): void {
    const up = change.isUp === true ? IFF_UP : 0
    const parts = [
      linkHeader(index, up, up),
      ...(change.mac === undefined ? [] : [attribute(ifla.address, macBytes(change.mac))]),
      ...(change.mtu === undefined ? [] : [attribute(ifla.mtu, u32(change.mtu))]),
      ...(change.alias === undefined ? [] : [attribute(ifla.alias, text(change.alias))]),
      ...(change.master === undefined ? [] : [attribute(ifla.master, u32(change.master))]),
    ]
    this.#netlink.change(type.newLink, 0, parts, `set ${Object.keys(change).join(', ')} of ${name}`)
  }

  /** Gives a link a second name; those may be long. */
  ensureAltName({ index, name }: Link, alternative: string): void {
    const parts = [
      linkHeader(index, 0, 0),
      nest(ifla.properties, attribute(ifla.altName, text(alternative))),
    ]
    const flags = flag.create | flag.exclusive
    unless('EEXIST', () => {
      this.#netlink.change(type.newLinkProperty, flags, parts, `name ${name} also ${alternative}`)
    })
  }

  /** Removes a link, and with a veth its other end. Takes the kernel some 16 ms. */
  removeLink(name: string): void {
    const parts = [linkHeader(0, 0, 0), attribute(ifla.name, text(name))]
    unless('ENODEV', () => {
      this.#netlink.change(type.delLink, 0, parts, `remove link ${name}`)
    })
  }

  addresses(): readonly Address[] {
    const header = u8(0, 0, 0, 0, 0, 0, 0, 0)
    return this.#netlink.dump(type.getAddress, [header], 'list addresses').map((data) => {
      const attributes = attributesOf(data, 8)
      // IFA_LOCAL is the own address of a point-to-point link; IPv6 has IFA_ADDRESS only.
      const bytes = attributes.get(2) ?? attributes.get(1) ?? Buffer.alloc(4)
      return { link: data.readUInt32LE(4), length: data.readUInt8(1), bytes }
    })
  }

  /** Makes `addresses` (`address/length`) the link's only ones, IPv6 link-local ones aside. */
  setAddresses(link: Link, addresses: readonly string[]): void {
    const wanted = addresses.map(prefixOf)
    for (const found of this.addresses()) {
      if (found.link !== link.index || isLinkLocal(found.bytes)) continue
      const isWanted = wanted.some(
        ({ bytes, length }) => length === found.length && bytes.equals(found.bytes),
      )
      if (!isWanted) this.#address(type.delAddress, 0, link, found)
    }
    for (const prefix of wanted) {
      this.#address(type.newAddress, flag.create | flag.replace, link, prefix)
    }
  }

  #address(kind: number, flags: number, link: Link, { bytes, length }: Prefix): void {
    const verb = kind === type.newAddress ? 'add' : 'remove'
    const parts = [
      u8(family(bytes), length, bytes.length === 16 ? IFA_F_NODAD : 0, 0),
      u32(link.index),
      attribute(2, bytes),
      attribute(1, bytes),
    ]
    const what = `${verb} address ${ipText(bytes)}/${length} on ${link.name}`
    this.#netlink.change(kind, flags, parts, what)
  }

  /** IPv4 routes of every table but the local one. */
  routes(): readonly FoundRoute[] {
    const header = u8(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return this.#netlink
      .dump(type.getRoute, [header], 'list routes')
      .map(routeOf)
      .filter(({ table }) => table !== tableLocal)
  }

  ensureRoute(wanted: Route): void {
    const flags = flag.create | flag.replace
    const isDirect = wanted.link !== null && wanted.via === null
    const parts = routeParts(wanted, isDirect ? scope.link : scope.universe)
    this.#netlink.change(type.newRoute, flags, parts, `add ${inWords(wanted)}`)
  }

  /** Removes a route; without `via`, whatever its next hop. */
  removeRoute(known: Route): void {
    unless('ESRCH', () => {
      const parts = routeParts(known, scope.nowhere)
      this.#netlink.change(type.delRoute, 0, parts, `remove ${inWords(known)}`)
    })
  }

  /** Fixes which MAC an address has, so that nobody is asked and nobody can lie. */
  ensureNeighbour(link: Link, address: string, mac: string): void {
    const parts = [
      neighbourHeader(link.index, ipBytes(address), NUD_PERMANENT, 0),
      attribute(1, ipBytes(address)),
      attribute(2, macBytes(mac)),
    ]
    const what = `make ${address} on ${link.name} neighbour ${mac}`
    this.#netlink.change(type.newNeighbour, flag.create | flag.replace, parts, what)
  }

  removeNeighbour(link: Link, address: string): void {
    const bytes = ipBytes(address)
    const parts = [neighbourHeader(link.index, bytes, 0, 0), attribute(1, bytes)]
    unless('ENOENT', () => {
      this.#netlink.change(type.delNeighbour, 0, parts, `forget neighbour ${address}`)
    })
  }

  /** Says which host of the underlay frames to a MAC are sent to. */
  ensureForwarding(vxlan: Link, mac: string, host: string): void {
    const parts = [
      Buffer.concat([
        u8(AF_BRIDGE, 0, 0, 0),
        u32(vxlan.index),
        u16(NUD_PERMANENT),
        u8(NTF_SELF, 0),
      ]),
      attribute(1, ipBytes(host)),
      attribute(2, macBytes(mac)),
    ]
    const what = `send frames for ${mac} on ${vxlan.name} to ${host}`
    this.#netlink.change(type.newNeighbour, flag.create | flag.replace, parts, what)
  }

  /** Addresses that ARP on this link is answered for although they are elsewhere. */
  proxied(link: Link): readonly string[] {
    const header = neighbourHeader(0, Buffer.alloc(4), 0, NTF_PROXY)
    return this.#netlink
      .dump(type.getNeighbour, [header], 'list proxied addresses')
      .filter((data) => data.readUInt32LE(4) === link.index)
      .map((data) => attributesOf(data, 12).get(1))
      .filter((bytes) => bytes !== undefined)
      .map((bytes) => ipText(bytes))
  }

  setProxied(link: Link, address: string, isProxied: boolean): void {
    const bytes = ipBytes(address)
    const parts = [neighbourHeader(link.index, bytes, 0, NTF_PROXY), attribute(1, bytes)]
    const what = `${isProxied ? 'answer' : 'stop answering'} ARP for ${address} on ${link.name}`
    const [kind, flags] = isProxied
      ? ([type.newNeighbour, flag.create | flag.replace] as const)
      : ([type.delNeighbour, 0] as const)
    unless('ENOENT', () => {
      this.#netlink.change(kind, flags, parts, what)
    })
  }

  /** Packets with this mark are routed by this table. */
  ensureRule(mark: number, table: number): void {
    unless('EEXIST', () => {
      this.#rule(type.newRule, flag.create | flag.exclusive, mark, table)
    })
  }

  removeRule(mark: number, table: number): void {
    unless('ENOENT', () => {
      this.#rule(type.delRule, 0, mark, table)
    })
  }

  #rule(kind: number, flags: number, mark: number, table: number): void {
    const FR_ACT_TO_TBL = 1
    const header = Buffer.concat([u8(AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL), u32(0)])
    // FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK, FRA_TABLE.
    const parts = [
      header,
      attribute(6, u32(rulePriority)),
      attribute(10, u32(mark)),
      attribute(16, u32(0xffffffff)),
      attribute(15, u32(table)),
    ]
    const verb = kind === type.newRule ? 'add' : 'remove'
    this.#netlink.change(kind, flags, parts, `${verb} rule: mark ${mark} → table ${table}`)
  }
}

const rulePriority = 100

function endOf({ name, mtu, mac }: VethEnd): readonly Buffer[] {
  return [
    attribute(ifla.name, text(name)),
    attribute(ifla.mtu, u32(mtu)),
    ...(mac === undefined ? [] : [attribute(ifla.address, macBytes(mac))]),
  ]
}

function linkOf(data: Buffer): Link {
  const attributes = attributesOf(data, 16)
  const mac = attributes.get(ifla.address)
  const info = attributes.get(ifla.info)
  return {
    index: data.readInt32LE(4),
    name: textOf(attributes.get(ifla.name)) ?? '',
    mac: mac?.length === 6 ? macText(mac) : null,
    mtu: attributes.get(ifla.mtu)?.readUInt32LE(0) ?? 0,
    isUp: (data.readUInt32LE(8) & IFF_UP) !== 0,
    alias: textOf(attributes.get(ifla.alias)),
    kind: info === undefined ? null : textOf(attributesOf(info).get(1)),
  }
}

function routeOf(data: Buffer): FoundRoute {
  const attributes = attributesOf(data, 12)
  const via = attributes.get(5)
  return {
    destination: { bytes: attributes.get(1) ?? Buffer.alloc(4), length: data.readUInt8(1) },
    link: attributes.get(4)?.readUInt32LE(0) ?? null,
    via: via === undefined ? null : ipText(via),
    table: attributes.get(15)?.readUInt32LE(0) ?? data.readUInt8(4),
    protocol: data.readUInt8(5),
    type: data.readUInt8(7),
  }
}

/** RT_SCOPE_…; to remove, `nowhere` stands for any. */
const scope = { universe: 0, link: 253, nowhere: 255 } as const

function routeParts(given: Route, reach: number): readonly Buffer[] {
  const { destination, link, via, table, protocol = protocolOurs } = given
  const { bytes, length } = prefixOf(destination)
  const ONLINK = 4
  const kind = link === null ? route.blackhole : route.unicast
  return [
    u8(family(bytes), length, 0, 0, table < 256 ? table : 0, protocol, reach, kind),
    u32(via === null ? 0 : ONLINK),
    ...(length === 0 ? [] : [attribute(1, bytes)]),
    ...(link === null ? [] : [attribute(4, u32(link))]),
    ...(via === null ? [] : [attribute(5, ipBytes(via))]),
    attribute(15, u32(table)),
  ]
}

function inWords({ destination, link, via, table }: Route): string {
  const hop = via === null ? '' : ` via ${via}`
  const out = link === null ? ' to nowhere' : ` by link number ${link}`
  return `route ${destination}${hop}${out}${table === tableMain ? '' : ` in table ${table}`}`
}

function neighbourHeader(index: number, bytes: Buffer, state: number, flags: number): Buffer {
  return Buffer.concat([u8(family(bytes), 0, 0, 0), u32(index), u16(state), u8(flags, 0)])
}

const isLinkLocal = (bytes: Buffer): boolean =>
  bytes.length === 16 && bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80

/** Does it, taking one kind of refusal for "it is so already". */
function unless(code: string, change: () => void): void {
  try {
    change()
  } catch (error) {
    if (!(error instanceof OsError) || error.code !== code) throw error
  }
}
