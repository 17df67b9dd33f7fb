/**
 * External addresses at the sled's edge. What should be is computed from all ports and compared with
 * what the kernel has, so it does not matter where an earlier attempt ended:
 *
 * - every address in use is answered for by ARP on the uplink, and announced when it is new;
 * - an address that is one guest's is routed into its VPC;
 * - of a shared address, the port range (and the identifiers of pings) decides which VPC is meant;
 * - an address that Nexus says is on another sled leads there (nat.ts), whatever ports there are.
 */
import { ipBytes, ipText, macBytes } from './addresses.ts'
import type { GuestPort } from './guest_port.ts'
import { applyGrowing, type Namespace } from './namespace.ts'
import { type FoundRoute, protocolOurs, protocolTold, type Route, tableMain } from './rtnetlink.ts'
import { type Share, steeringText } from './steering.ts'
import { inner, stub, up } from './underlay.ts'
import { vpcHop, vpcLink, vpcMark } from './vpc.ts'

/**
 * Makes the sled's edge fit `ports`, all that there are. When the only difference is a port that was
 * not there before, `added` is that one: rules that only grow spare the kernel a grace period.
 * `isTrunk`: the sled's net0 leads to the sled with the uplink, where the rest of a shared address is.
 */
export function syncExternal(
  sled: Namespace,
  ports: readonly GuestPort[],
  { added, isTrunk }: { readonly added: GuestPort | null; readonly isTrunk: boolean },
): void {
  const uplink = up(sled.rt, inner)
  const routes = sled.rt.routes().filter(({ table }) => table === tableMain)
  const elsewhere = addressesIn(routes, protocolTold).map(({ address }) => address)
  const wanted = wantedRoutes(sled, ports, isTrunk)
  for (const address of elsewhere) wanted.delete(address)
  const isWanted = (address: string): boolean => wanted.has(address)
  const found = addressesIn(routes, protocolOurs)
  const proxied = sled.rt.proxied(uplink)
  const answered = new Set([...wanted.keys(), ...elsewhere])

  // What leaves goes before what comes: an address may move from one port to another.
  for (const address of proxied.filter((one) => !answered.has(one))) {
    sled.rt.setProxied(uplink, address, false)
  }
  for (const { address, link } of found.filter((route) => !isWanted(route.address))) {
    sled.rt.removeRoute({ destination: `${address}/32`, link, via: null, table: tableMain })
  }
  for (const route of wanted.values()) {
    const isThere = found.some(
      ({ address, link }) => `${address}/32` === route.destination && link === route.link,
    )
    if (!isThere) sled.rt.ensureRoute(route)
  }
  applyGrowing(
    sled,
    {
      grown: added === null ? null : steeringText('own', 'add', sharesOf([added])),
      whole: steeringText('own', 'replace', sharesOf(ports)),
    },
    'say which VPC shared addresses are for',
  )
  for (const address of answered) {
    if (proxied.includes(address)) continue
    sled.rt.setProxied(uplink, address, true)
    if (uplink.mac !== null) sled.sendFrame(uplink, announcement(address, uplink.mac))
  }
}

/** Single addresses that lead somewhere by routes of one origin. */
const addressesIn = (routes: readonly FoundRoute[], origin: number) =>
  routes
    .filter(({ protocol, destination }) => protocol === origin && destination.length === 32)
    .map(({ destination, link }) => ({ address: ipText(destination.bytes), link }))

/** By address. */
function wantedRoutes(
  sled: Namespace,
  ports: readonly GuestPort[],
  isTrunk: boolean,
): Map<string, Route> {
  const routes = new Map<string, Route>()
  const add = (address: string, link: number, via: string | null): void => {
    routes.set(address, { destination: `${address}/32`, link, via, table: tableMain })
  }
  // The kernel answers ARP only for what it would route elsewhere, and what no range claims must not
  // go back out: the way to the zones, where the forward chain lets nothing in, serves as both.
  const nowhere = up(sled.rt, stub).index
  for (const { snat } of ports) if (snat !== null && !isTrunk) add(snat[0], nowhere, null)
  for (const { external, vni } of ports) {
    if (external !== null) add(external, up(sled.rt, vpcLink(vni)).index, vpcHop)
  }
  return routes
}

const sharesOf = (ports: readonly GuestPort[]): readonly Share[] =>
  ports.flatMap(({ snat, vni }) =>
    snat === null
      ? []
      : [{ ip: snat[0], first_port: snat[1], last_port: snat[2], mark: vpcMark(vni) }],
  )

/** A gratuitous ARP request (RFC 5944 §4.6): who has the address learns where it is now. */
function announcement(address: string, mac: string): Buffer {
  const sender = Buffer.concat([macBytes(mac), ipBytes(address)])
  const broadcast = Buffer.alloc(6, 0xff)
  const ethernet = Buffer.concat([broadcast, macBytes(mac), Buffer.from([0x08, 0x06])])
  const header = Buffer.from([0, 1, 0x08, 0, 6, 4, 0, 1])
  return Buffer.concat([ethernet, header, sender, broadcast, ipBytes(address)])
}
