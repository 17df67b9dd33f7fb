/**
 * The sled's own network, whatever guests come:
 *
 *   outside (the host's or a given namespace)     the sled's namespace, ox<tag>_gz
 *     oxup<tag>  gateway  ───────── veth ───────── net0
 *                                                  underlay0 ─ veth ─ underlay0p ┐
 *                                    zones' control links, oxService<n> … ───────┴ stub0
 *                                    VPCs, vpc<vni> …
 *
 * Packets are forwarded inside the sled's namespace only; of the outside's settings none is touched.
 */
import type { UnderlaySpec } from '#native/platform/ports.ts'
import { addressOf, overlap, prefixOf } from './addresses.ts'
import { AddressTaken, NotPossible } from './failure.ts'
import type { Names, Namespace, Namespaces } from './namespace.ts'
import { type Link, type Rtnetlink, tableMain } from './rtnetlink.ts'

export const stub = 'stub0'
export const inner = 'net0'
const own = 'underlay0'
const ownPort = 'underlay0p'
/** Inner ends of VPCs' links are named so. */
export const vpcLinks = 'vpc'

/**
 * Who may pass through the sled: guests to the outside and to each other's external addresses, the
 * outside to guests, zones among themselves. Nobody reaches the sled itself but its zones; a ping
 * from the outside is answered. Answers to translated flows carry the mark of their VPC (external.ts
 * fills the maps), by which they are routed. Nothing here tracks flows: VPCs do.
 */
const rules = `
add table inet luge
add map inet luge ports { typeof ip daddr . meta l4proto . th dport : meta mark; flags interval; }
add map inet luge echoes { typeof ip daddr . icmp id : meta mark; flags interval; }
add map inet luge errors { typeof ip daddr . @th,224,16 : meta mark; flags interval; }
add chain inet luge steer { type filter hook prerouting priority mangle; policy accept; }
add chain inet luge input { type filter hook input priority filter; policy accept; }
add chain inet luge forward { type filter hook forward priority filter; policy drop; }
flush chain inet luge steer
flush chain inet luge input
flush chain inet luge forward
add rule inet luge steer meta l4proto { tcp, udp } meta mark set ip daddr . meta l4proto . th dport map @ports
add rule inet luge steer icmp type echo-reply meta mark set ip daddr . icmp id map @echoes
add rule inet luge steer icmp type { destination-unreachable, time-exceeded, parameter-problem } meta mark set ip daddr . @th,224,16 map @errors
add rule inet luge input iifname "${vpcLinks}*" drop
add rule inet luge input iifname ${inner} icmp type echo-request accept
add rule inet luge input iifname ${inner} drop
add rule inet luge forward iifname "${vpcLinks}*" oifname ${inner} accept
add rule inet luge forward iifname "${vpcLinks}*" oifname "${vpcLinks}*" accept
add rule inet luge forward iifname ${inner} oifname "${vpcLinks}*" accept
add rule inet luge forward iifname ${stub} oifname ${stub} accept
`

/** What the parts of the sled's network are made from. */
export interface Surroundings {
  readonly names: Names
  readonly namespaces: Namespaces
  readonly mtu: number
}

/** Makes what is missing and corrects what differs. Throws AddressTaken before anything is made. */
export function ensureUnderlay(around: Surroundings, spec: UnderlaySpec): Namespace {
  const { names, namespaces } = around
  const outside = findOutside(namespaces, spec)
  refuseConflicts(outside.rt, names.uplink, spec)
  const sled = namespaces.ensure(names.sled)
  sled.configure({
    'ipv6/conf/all/accept_dad': '0',
    'ipv6/conf/default/accept_dad': '0',
    'ipv6/conf/default/accept_ra': '0',
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/default/rp_filter': '0',
  })
  sled.nft.apply(rules, 'set the rules of the sled')
  up(sled.rt, 'lo')
  ensureStub(sled, around.mtu, spec.addresses)
  ensureUplink(around, { sled, outside }, spec)
  sled.configure({
    'ipv4/ip_forward': '1',
    'ipv4/conf/all/send_redirects': '0',
    'ipv4/conf/default/send_redirects': '0',
    [`ipv4/conf/${inner}/send_redirects`]: '0',
    [`ipv6/conf/${inner}/disable_ipv6`]: '1',
    // ARP that is answered for others is answered at once, not after up to 0.8 s.
    [`ipv4/neigh/${inner}/proxy_delay`]: '0',
  })
  return sled
}

/** The namespace that stands for the outside. */
export function findOutside(namespaces: Namespaces, { uplink }: UnderlaySpec): Namespace {
  const outside = namespaces.find(uplink.outside_netns)
  if (outside !== null) return outside
  throw new NotPossible(
    `there is no network namespace ${uplink.outside_netns}: make it, or take the host's own`,
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
function refuseConflicts(outside: Rtnetlink, uplink: string, spec: UnderlaySpec): void {
  const gateway = prefixOf(spec.uplink.gateway)
  const ours = outside.link(uplink)?.index ?? null
  const nameOf = (index: number | null): string =>
    outside.links().find((link) => link.index === index)?.name ?? 'a link that is gone'
  const where = spec.uplink.outside_netns ?? "the host's network"
  const advice =
    'take that away, or give the uplink another gateway and address in a profile of your own (--config)'
  const holder = outside
    .addresses()
    .find(({ link, bytes }) => link !== ours && bytes.equals(gateway.bytes))
  if (holder !== undefined) {
    const text = addressOf(spec.uplink.gateway)
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
      `the subnet of ${spec.uplink.gateway} is already routed ${through} in ${where}: ${advice}`,
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

function ensureUplink(
  { names, mtu }: Surroundings,
  { sled, outside }: { readonly sled: Namespace; readonly outside: Namespace },
  { uplink }: UnderlaySpec,
): void {
  const isWhole = sled.rt.link(inner) !== null && outside.rt.link(names.uplink) !== null
  if (!isWhole) {
    // Both ends are made at once: one alone means that the outside was another one before.
    sled.rt.removeLink(inner)
    outside.rt.removeLink(names.uplink)
    outside.withFd((fd) => {
      sled.rt.createVeth({ name: inner, mtu }, { name: names.uplink, mtu }, fd)
    })
  }
  outside.rt.setAddresses(up(outside.rt, names.uplink), [uplink.gateway])
  const link = up(sled.rt, inner)
  sled.rt.setAddresses(link, [uplink.address])
  sled.rt.ensureRoute({
    destination: '0.0.0.0/0',
    link: link.index,
    via: addressOf(uplink.gateway),
    table: tableMain,
  })
}
