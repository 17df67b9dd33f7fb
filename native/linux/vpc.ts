/**
 * One VPC on this sled: a namespace of its own, so that VPCs may use the same addresses and track
 * their flows apart.
 *
 *   guest ── opte<n> (gateway's address and MAC) ─┐
 *   guest ── opte<n> ─────────────────────────────┴─ routes ── out0 ═══ vpc<vni> ── the sled
 *                                                         └─── vx0 ··· the VPC on other sleds (overlay.ts)
 *
 * A guest has a /32 and reaches everything through the gateway, so every packet is routed here and
 * judged: where it comes in (spoofing, statelessly), then in the forward chain, where destinations
 * of incoming flows are translated already and sources of outgoing ones not yet: OPTE's order.
 */
import assert from 'node:assert/strict'
import type { GuestPort } from './guest_port.ts'
import type { Namespace } from './namespace.ts'
import { fillText, type Filling } from './nft_text.ts'
import { tableMain } from './rtnetlink.ts'
import { type Rule, chainText } from './rules.ts'
import { type Surroundings, up, vpcLinks } from './underlay.ts'

/** The gateway that every guest sees (spec/01 §12). */
export const gatewayMac = 'a8:40:25:ff:77:77'

const way = 'out0'
/** The way to the VPC on other sleds. */
export const overlay = 'vx0'
/** Both ends of the way out know each other by these; nobody else ever sees them. */
const hop = { sled: '169.254.0.1', vpc: '169.254.0.2', sledMac: 'a8:40:25:f9:99:99' } as const
const vpcMac = (vni: number): string =>
  `0a:40:25${vni.toString(16).padStart(6, '0').replaceAll(/../g, ':$&')}`

/** The sled's end of a VPC's way out. */
export const vpcLink = (vni: number): string => `${vpcLinks}${vni}`
/** Marks answers that are for this VPC, and numbers the routing table that leads them there. */
export const vpcMark = (vni: number): number => 0x01000000 + vni
/** How the sled reaches a VPC: next hop of its routes. */
export const vpcHop = hop.vpc

/**
 * What does not depend on the ports. `leaves` says who may go out and how; `host` are addresses of
 * the machine we run on, which guests never reach. New TCP flows begin with SYN only
 * (`nf_conntrack_tcp_loose` off), so that a flow that was forgotten does not come back by itself.
 */
const rules = `
add table inet luge
add map inet luge port_out { type ifname : verdict; }
add map inet luge port_in { type ifname : verdict; }
add map inet luge leaves { type ipv4_addr : verdict; }
add map inet luge external_of { type ipv4_addr : ipv4_addr; }
add map inet luge guest_of { type ipv4_addr : ipv4_addr; }
add map inet luge snat_of { type ipv4_addr : interval ipv4_addr . inet_service; flags interval; }
add set inet luge host { type ipv4_addr; }
add chain inet luge translated
add chain inet luge forward { type filter hook forward priority filter; policy drop; }
add chain inet luge input { type filter hook input priority filter; policy drop; }
add chain inet luge incoming { type nat hook prerouting priority dstnat; policy accept; }
add chain inet luge outgoing { type nat hook postrouting priority srcnat; policy accept; }
flush chain inet luge translated
flush chain inet luge forward
flush chain inet luge input
flush chain inet luge incoming
flush chain inet luge outgoing
add rule inet luge translated meta l4proto { tcp, udp, icmp } accept
add rule inet luge forward ct state vmap { established : accept, related : accept, invalid : drop }
add rule inet luge forward iifname vmap @port_out
add rule inet luge forward oifname vmap @port_in
add rule inet luge forward iifname "opte*" oifname ${overlay} accept
add rule inet luge forward oifname ${way} ip daddr @host drop
add rule inet luge forward oifname ${way} iifname != ${way} ip saddr vmap @leaves
add rule inet luge input iifname "opte*" icmp type echo-request fib daddr . iif type local accept
add rule inet luge input iifname "opte*" udp sport 68 udp dport 67 accept
add rule inet luge incoming iifname ${way} dnat ip to ip daddr map @guest_of
add rule inet luge outgoing oifname ${way} snat ip to ip saddr map @external_of
add rule inet luge outgoing oifname ${way} meta l4proto { tcp, udp, icmp } snat ip addr . port to ip saddr map @snat_of
`

/** Makes what is missing of a VPC's namespace and its way out. */
export function ensureVpc(around: Surroundings, sled: Namespace, vni: number): Namespace {
  const vpc = around.namespaces.ensure(around.names.vpc(vni))
  vpc.nft.apply(rules, `set the rules of VPC ${vni}`)
  vpc.configure({
    'ipv6/conf/all/disable_ipv6': '1',
    'ipv6/conf/default/disable_ipv6': '1',
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/default/rp_filter': '0',
    // Each gateway is answered for on its own port only.
    'ipv4/conf/all/arp_ignore': '1',
    'netfilter/nf_conntrack_tcp_loose': '0',
  })
  up(vpc.rt, 'lo')
  ensureWay(around.mtu, { sled, vpc }, vni)
  vpc.configure({
    'ipv4/ip_forward': '1',
    'ipv4/conf/all/send_redirects': '0',
    'ipv4/conf/default/send_redirects': '0',
  })
  return vpc
}

/** Whether a VPC's namespace is joined to the sled. */
export const isJoined = (vpc: Namespace): boolean => vpc.rt.link(way) !== null

function ensureWay(
  mtu: number,
  { sled, vpc }: { readonly sled: Namespace; readonly vpc: Namespace },
  vni: number,
): void {
  if (!isJoined(vpc)) {
    sled.rt.removeLink(vpcLink(vni))
    sled.withFd((fd) => {
      const there = { name: vpcLink(vni), mtu, mac: hop.sledMac }
      vpc.rt.createVeth({ name: way, mtu, mac: vpcMac(vni) }, there, fd)
    })
  }
  const inside = up(vpc.rt, way)
  const outside = up(sled.rt, vpcLink(vni))
  sled.configure({ [`ipv6/conf/${outside.name}/disable_ipv6`]: '1' })
  vpc.rt.ensureNeighbour(inside, hop.sled, hop.sledMac)
  sled.rt.ensureNeighbour(outside, hop.vpc, vpcMac(vni))
  const all = '0.0.0.0/0'
  vpc.rt.ensureRoute({ destination: all, link: inside.index, via: hop.sled, table: tableMain })
  const table = vpcMark(vni)
  sled.rt.ensureRoute({ destination: all, link: outside.index, via: hop.vpc, table })
  sled.rt.ensureRule(vpcMark(vni), table)
}

/** Removes a VPC's namespace; its ports are gone already or go with it. */
export function removeVpc({ names, namespaces }: Surroundings, vni: number): void {
  const sled = namespaces.find(names.sled)
  sled?.rt.removeRule(vpcMark(vni), vpcMark(vni))
  // The way out goes first: whoever still holds a tap of the namespace keeps it alive, but alone.
  sled?.rt.removeLink(vpcLink(vni))
  // It has its VNI in the sled, where the next one will want it.
  namespaces.find(names.vpc(vni))?.rt.removeLink(overlay)
  namespaces.remove(names.vpc(vni))
}

/** Anti-spoofing where the guest's frames come in: its own MAC, its own IP, in ARP too, and DHCP. */
export function guardText({ link: { name }, mac, ip }: GuestPort): string {
  return `
add table netdev ${name}
add chain netdev ${name} guard { type filter hook ingress device "${name}" priority -500; policy drop; }
flush chain netdev ${name} guard
add rule netdev ${name} guard ether saddr != ${mac} counter drop
add rule netdev ${name} guard ip saddr ${ip} accept
add rule netdev ${name} guard arp saddr ip ${ip} arp saddr ether ${mac} accept
add rule netdev ${name} guard ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
add rule netdev ${name} guard counter drop
`
}

/** The chains that judge a port's new flows. */
export function portRulesText({ link: { name } }: GuestPort, portRules: readonly Rule[]): string {
  const chain = (suffix: string, direction: Rule['direction']): readonly string[] => [
    `add chain inet luge ${name}_${suffix}`,
    `flush chain inet luge ${name}_${suffix}`,
    ...chainText(portRules, direction).map(
      (line) => `add rule inet luge ${name}_${suffix} ${line}`,
    ),
  ]
  return [...chain('out', 'outbound'), ...chain('in', 'inbound'), ''].join('\n')
}

/** Everything that is looked up by port or address. To replace, `ports` are all of the VPC. */
export function portMapsText(
  ports: readonly GuestPort[],
  host: readonly string[],
  filling: Filling,
): string {
  const external = ports.filter((port) => port.external !== null)
  const shared = ports.filter((port) => port.snat !== null && port.external === null)
  const names = ports.map(({ link }) => link.name)
  const elements: Readonly<Record<string, readonly string[]>> = {
    'map port_out': names.map((name) => `"${name}" : jump ${name}_out`),
    'map port_in': names.map((name) => `"${name}" : goto ${name}_in`),
    'map leaves': [
      ...external.map(({ ip }) => `${ip} : accept`),
      ...shared.map(({ ip }) => `${ip} : goto translated`),
    ],
    'map external_of': external.map((port) => `${port.ip} : ${port.external}`),
    'map guest_of': external.map((port) => `${port.external} : ${port.ip}`),
    'map snat_of': shared.map(({ ip, snat }) => `${ip} : ${snatText(snat)}`),
    'set host': host,
  }
  return Object.entries(elements)
    .map(([what, list]) => fillText(what, filling, list))
    .join('')
}

/** No flow may come from port 0: a range that begins there begins at 1. */
function snatText(snat: GuestPort['snat']): string {
  assert(snat !== null, 'a port without a shared address has no range')
  return `${snat[0]} . ${Math.max(1, snat[1])}-${snat[2]}`
}

/** Takes a port out of its VPC's rules. `rest` are the maps without it. */
export function removePortText({ link: { name } }: GuestPort, rest: string): string {
  const chains = [`${name}_out`, `${name}_in`].flatMap((chain) =>
    ['add', 'flush', 'delete'].map((verb) => `${verb} chain inet luge ${chain}`),
  )
  const guard = ['add', 'delete'].map((verb) => `${verb} table netdev ${name}`)
  return [rest, ...chains, ...guard, ''].join('\n')
}
