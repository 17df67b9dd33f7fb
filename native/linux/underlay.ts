/**
 * The sled's own network, whatever guests come:
 *
 *   outside (the host's or a given namespace)     the sled's namespace, ox<tag>_gz
 *     oxup<tag>  gateway  ───────── veth ───────── net0
 *                                                  underlay0 ─ veth ─ underlay0p ┐
 *                                    zones' control links, oxService<n> … ───────┴ stub0
 *                                    VPCs, vpc<vni> …
 *                                    other sleds' trunks, sled<n> …
 *
 * Of several sleds the first has the uplink. The others' net0 is a trunk to it, which carries both what
 * guests send outside (IPv4) and the underlay (IPv6). Packets are forwarded inside sleds' namespaces
 * only; of the outside's settings none is touched.
 */
import type { UnderlaySpec } from '#native/platform/ports.ts'
import { addressOf, overlap, prefixOf } from './addresses.ts'
import { AddressTaken, NotPossible } from './failure.ts'
import type { Names, Namespace, Namespaces } from './namespace.ts'
import { type Link, type Rtnetlink, tableMain } from './rtnetlink.ts'
import { declareSteering } from './steering.ts'
import { hops, joinTrunk, trunkLinks } from './trunk.ts'

export const stub = 'stub0'
export const inner = 'net0'
const own = 'underlay0'
const ownPort = 'underlay0p'
/** Inner ends of VPCs' links are named so. */
export const vpcLinks = 'vpc'
/** A guest's frames pass whole between sleds, with what VXLAN puts around them. */
const trunk_mtu_bytes = 9_000

/**
 * Who may pass through the sled: guests to the outside and to each other's external addresses, the
 * outside to guests, zones among themselves. Nobody reaches the sled itself but its zones; a ping
 * from the outside is answered. Answers to translated flows carry the mark of their VPC (external.ts
 * fills the maps), by which they are routed. Nothing here tracks flows: VPCs do.
 */
const rules = `
add table inet luge
add chain inet luge steer { type filter hook prerouting priority mangle; policy accept; }
add chain inet luge input { type filter hook input priority filter; policy accept; }
add chain inet luge forward { type filter hook forward priority filter; policy drop; }
flush chain inet luge steer
flush chain inet luge input
flush chain inet luge forward
${declareSteering('own')}add rule inet luge input iifname "${vpcLinks}*" drop
add rule inet luge forward iifname "${vpcLinks}*" oifname ${inner} accept
add rule inet luge forward iifname "${vpcLinks}*" oifname "${vpcLinks}*" accept
add rule inet luge forward iifname ${inner} oifname "${vpcLinks}*" accept
add rule inet luge forward iifname ${stub} oifname ${stub} accept
`
/** What the way out of a whole rack lets pass besides; what Nexus says of an address goes before what ports say. */
const boundaryRules = `
${declareSteering('told')}
add rule inet luge input iifname "${trunkLinks}*" meta nfproto ipv4 drop
add rule inet luge forward iifname "${trunkLinks}*" oifname { ${inner}, "${vpcLinks}*", "${trunkLinks}*" } accept
add rule inet luge forward iifname { ${inner}, "${vpcLinks}*" } oifname "${trunkLinks}*" accept
add rule inet luge forward iifname "${trunkLinks}*" oifname ${own} meta nfproto ipv6 accept
add rule inet luge forward iifname ${own} oifname "${trunkLinks}*" meta nfproto ipv6 accept
`
/** What a trunk brings besides: the underlay, which is the rack's sleds' own. */
const trunkRules = `
add rule inet luge input iifname ${inner} meta nfproto ipv6 accept
add rule inet luge forward iifname ${inner} oifname ${own} meta nfproto ipv6 accept
add rule inet luge forward iifname ${own} oifname ${inner} meta nfproto ipv6 accept
`
const uplinkRules = `
add rule inet luge input iifname ${inner} icmp type echo-request accept
`
const lastRules = `
add rule inet luge input iifname ${inner} drop
`

function rulesOf({ rack }: UnderlaySpec): string {
  const way = (rack?.trunk ?? null) === null ? uplinkRules : trunkRules
  const others = rack !== null && rack.trunk === null ? boundaryRules : ''
  return `${rules}${others}${way}${lastRules}`
}

/** What the parts of the sled's network are made from. */
export interface Surroundings {
  readonly names: Names
  readonly namespaces: Namespaces
  readonly mtu: number
}

/** Makes what is missing and corrects what differs. Throws AddressTaken before anything is made. */
export function ensureUnderlay(around: Surroundings, spec: UnderlaySpec): Namespace {
  const { names, namespaces } = around
  const cable = cableOf(names, spec)
  const far = findFarEnd(namespaces, cable)
  refuseConflicts(far.rt, cable)
  const sled = namespaces.ensure(names.sled)
  sled.configure({
    'ipv6/conf/all/accept_dad': '0',
    'ipv6/conf/default/accept_dad': '0',
    'ipv6/conf/default/accept_ra': '0',
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/default/rp_filter': '0',
  })
  sled.nft.apply(rulesOf(spec), 'set the rules of the sled')
  up(sled.rt, 'lo')
  ensureStub(sled, around.mtu, spec.addresses)
  ensureCable(around.mtu, { sled, far }, cable)
  const { rack } = spec
  if (rack !== null && rack.trunk !== null) {
    const ends = {
      near: { namespace: sled, link: up(sled.rt, inner) },
      far: { namespace: far, link: up(far.rt, cable.link) },
    }
    joinTrunk(ends, { ...rack.trunk, prefix: rack.prefix, addresses: spec.addresses })
  }
  sled.configure({
    'ipv4/ip_forward': '1',
    'ipv4/conf/all/send_redirects': '0',
    'ipv4/conf/default/send_redirects': '0',
    [`ipv4/conf/${inner}/send_redirects`]: '0',
    [`ipv6/conf/${inner}/disable_ipv6`]: cable.isTrunk ? '0' : '1',
    ...(rack === null ? {} : { 'ipv6/conf/all/forwarding': '1' }),
    // ARP that is answered for others is answered at once, not after up to 0.8 s.
    [`ipv4/neigh/${inner}/proxy_delay`]: '0',
  })
  return sled
}

/** What the sled's net0 leads to. */
interface Cable {
  /** Path of the namespace of its far end; null: the host's own. */
  readonly netns: string | null
  /** What the far end is called there. */
  readonly link: string
  readonly gateway: string
  readonly address: string
  readonly isTrunk: boolean
}

/** Where a sled's net0 leads: outside, or to the sled with the uplink. */
export function cableOf(names: Names, { uplink, rack }: UnderlaySpec): Cable {
  const trunk = rack?.trunk ?? null
  if (trunk !== null) return { ...trunk, isTrunk: true }
  const { outside_netns: netns, gateway, address } = uplink
  return { netns, link: names.uplink, gateway, address, isTrunk: false }
}

function findFarEnd(namespaces: Namespaces, { netns, isTrunk }: Cable): Namespace {
  const far = namespaces.find(netns)
  if (far !== null) return far
  throw new NotPossible(
    isTrunk
      ? `the sled with the uplink has no network yet: there is no ${netns}`
      : `there is no network namespace ${netns}: make it, or take the host's own`,
  )
}

/** Sets a link up that must be there. */
export function up(rt: Rtnetlink, name: string): Link {
  const link = rt.link(name)
  if (link === null) throw new Error(`link ${name} is gone as soon as it is made`)
  if (!link.isUp) rt.change(link, { isUp: true })
  return link
}

/** The gateway's subnet must be nobody else's outside, or their packets would come to our guests. */
function refuseConflicts(outside: Rtnetlink, cable: Cable): void {
  const gateway = prefixOf(cable.gateway)
  const ours = outside.link(cable.link)?.index ?? null
  const nameOf = (index: number | null): string =>
    outside.links().find((link) => link.index === index)?.name ?? 'a link that is gone'
  const where = cable.netns ?? "the host's network"
  const advice =
    'take that away, or give the uplink another gateway and address in a profile of your own (--config)'
  const holder = outside
    .addresses()
    .find(({ link, bytes }) => link !== ours && bytes.equals(gateway.bytes))
  if (holder !== undefined) {
    const text = addressOf(cable.gateway)
    throw new AddressTaken(`${text} is already on ${nameOf(holder.link)} of ${where}: ${advice}`)
  }
  const rival = outside
    .routes()
    .find(
      ({ destination, link, table }) =>
        link !== ours &&
        table === tableMain &&
        destination.length > 0 &&
        overlap(destination, gateway),
    )
  if (rival !== undefined) {
    const through = rival.link === null ? 'to nowhere' : `by ${nameOf(rival.link)}`
    throw new AddressTaken(
      `the subnet of ${cable.gateway} is already routed ${through} in ${where}: ${advice}`,
    )
  }
}

function ensureStub(sled: Namespace, mtu: number, addresses: readonly string[]): void {
  const { rt } = sled
  if (rt.link(stub) === null) rt.createBridge(stub)
  const bridge = up(rt, stub)
  if (rt.link(own) === null) {
    sled.withFd((fd) => {
      rt.createVeth({ name: own, mtu }, { name: ownPort, mtu }, fd)
    })
  }
  rt.change(up(rt, ownPort), { master: bridge.index })
  rt.setAddresses(up(rt, own), addresses)
}

function ensureCable(
  guestMtu: number,
  { sled, far }: { readonly sled: Namespace; readonly far: Namespace },
  cable: Cable,
): void {
  const mtu = cable.isTrunk ? trunk_mtu_bytes : guestMtu
  const isWhole = sled.rt.link(inner) !== null && far.rt.link(cable.link) !== null
  if (!isWhole) {
    // Both ends are made at once: one alone means that the outside was another one before.
    sled.rt.removeLink(inner)
    far.rt.removeLink(cable.link)
    far.withFd((fd) => {
      sled.rt.createVeth({ name: inner, mtu }, { name: cable.link, mtu }, fd)
    })
  }
  const hopOf = (end: keyof typeof hops) => (cable.isTrunk ? [`${hops[end]}/64`] : [])
  far.rt.setAddresses(up(far.rt, cable.link), [cable.gateway, ...hopOf('far')])
  const link = up(sled.rt, inner)
  sled.rt.setAddresses(link, [cable.address, ...hopOf('near')])
  sled.rt.ensureRoute({
    destination: '0.0.0.0/0',
    link: link.index,
    via: addressOf(cable.gateway),
    table: tableMain,
  })
}
