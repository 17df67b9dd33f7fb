/**
 * A VPC's guests on other sleds: each address is routed to its sled, whose frames VXLAN carries over the
 * underlay. Nothing is learned and nobody is asked: a sled's MAC and its hop follow from its address.
 *
 *   route <guest>/32 via <hop of the sled> on vx0 → the sled's MAC → the sled's underlay address
 */
import type { V2pMapping } from '#native/platform/ports.ts'
import { InvalidText, ipBytes, ipText } from './addresses.ts'
import type { GuestPort } from './guest_port.ts'
import type { Namespace } from './namespace.ts'
import { type Link, protocolTold, type Rtnetlink, tableMain } from './rtnetlink.ts'
import { up } from './underlay.ts'
import { overlay } from './vpc.ts'

const vxlan_port = 4789

/** What of a sled's underlay address, fd00:…:<rack and sled>::1, tells it from the others of its rack. */
function groupOf(sled: string): Buffer {
  const bytes = ipBytes(sled)
  if (bytes.length === 16) return bytes.subarray(6, 8)
  throw new InvalidText(`"${sled}" is no address of the underlay`)
}
const macOf = (sled: string): string => {
  const [rack = 0, number = 0] = groupOf(sled)
  return `0a:40:26:00:${[rack, number].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`
}
const hopOf = (sled: string): string => `169.254.${groupOf(sled).join('.')}`

/** Makes a VPC's link to other sleds, where it is missing. `own`: this sled's underlay address. */
export function ensureOverlay(
  at: { readonly sled: Namespace; readonly vpc: Namespace },
  { vni, own, mtu }: { readonly vni: number; readonly own: string; readonly mtu: number },
): void {
  if (at.vpc.rt.link(overlay) === null) {
    at.vpc.withFd((fd) => {
      const link = { name: overlay, mtu, mac: macOf(own) }
      at.sled.rt.createVxlan(link, { vni, local: own, port: vxlan_port }, fd)
    })
  }
  up(at.vpc.rt, overlay)
}

/** Makes a VPC's routes fit the mappings, of which those of this sled lead to its `ports`. */
export function syncV2p(
  vpc: Namespace,
  mappings: readonly V2pMapping[],
  { own, ports }: { readonly own: string; readonly ports: readonly GuestPort[] },
): void {
  const link = up(vpc.rt, overlay)
  const wanted = new Map(
    mappings.filter(({ sled }) => sled !== own).map(({ ip, sled }) => [ip, sled]),
  )
  const found = toldRoutes(vpc.rt)
  for (const address of found.keys()) {
    if (wanted.has(address)) continue
    const route = { destination: `${address}/32`, via: null, table: tableMain }
    vpc.rt.removeRoute({ ...route, link: link.index, protocol: protocolTold })
    const port = ports.find(({ ip }) => ip === address)
    if (port !== undefined) vpc.rt.ensureRoute({ ...route, link: port.link.index })
  }
  for (const sled of new Set(wanted.values())) meet(vpc.rt, link, sled)
  for (const [address, sled] of wanted) {
    const via = hopOf(sled)
    if (found.get(address) === via) continue
    const route = { destination: `${address}/32`, link: link.index, via, table: tableMain }
    vpc.rt.ensureRoute({ ...route, protocol: protocolTold })
  }
}

function meet(rt: Rtnetlink, link: Link, sled: string): void {
  rt.ensureNeighbour(link, hopOf(sled), macOf(sled))
  rt.ensureForwarding(link, macOf(sled), sled)
}

/** Whether a guest's address leads to another sled. */
export const isElsewhere = (vpc: Namespace, ip: string): boolean => toldRoutes(vpc.rt).has(ip)

/** Hops of the addresses that lead to other sleds. */
const toldRoutes = (rt: Rtnetlink): ReadonlyMap<string, string | null> =>
  new Map(
    rt
      .routes()
      .filter(({ protocol }) => protocol === protocolTold)
      .map(({ destination, via }) => [ipText(destination.bytes), via]),
  )
