/**
 * External addresses at the sled's edge. What should be is computed from all ports and compared with
 * what the kernel has, so it does not matter where an earlier attempt ended:
 *
 * - every address in use is answered for by ARP on the uplink, and announced when it is new;
 * - an address that is one guest's is routed into its VPC;
 * - of a shared address, the port range (and the identifiers of pings) decides which VPC is meant.
 */
import { ipBytes, ipText, macBytes } from './addresses.ts'
import type { GuestPort } from './guest_port.ts'
import { applyGrowing, type Namespace } from './namespace.ts'
import { protocolOurs, type Route, tableMain } from './rtnetlink.ts'
import { inner, stub, up } from './underlay.ts'
import { fillText, type Filling, vpcHop, vpcLink, vpcMark } from './vpc.ts'

/**
 * Makes the sled's edge fit `ports`, all that there are. When the only difference is a port that was
 * not there before, `added` is that one: rules that only grow spare the kernel a grace period.
 */
export function syncExternal(
  sled: Namespace,
  ports: readonly GuestPort[],
  added: GuestPort | null,
): void {
  const uplink = up(sled.rt, inner)
  const wanted = wantedRoutes(sled, ports)
  const isWanted = (address: string): boolean => wanted.has(`${address}/32`)
  const found = sled.rt
    .routes()
    .filter(({ protocol, table }) => protocol === protocolOurs && table === tableMain)
    .filter(({ destination }) => destination.length === 32)
    .map((route) => ({ address: ipText(route.destination.bytes), link: route.link }))
  const proxied = sled.rt.proxied(uplink)

  // What leaves goes before what comes: an address may move from one port to another.
  for (const address of proxied.filter((one) => !isWanted(one))) {
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
      grown: added === null ? null : steeringText([added], 'add'),
      whole: steeringText(ports, 'replace'),
    },
    'say which VPC shared addresses are for',
  )
  for (const { destination } of wanted.values()) {
    const address = destination.slice(0, -'/32'.length)
    if (proxied.includes(address)) continue
    sled.rt.setProxied(uplink, address, true)
    if (uplink.mac !== null) sled.sendFrame(uplink, announcement(address, uplink.mac))
  }
}

/** By destination. */
function wantedRoutes(sled: Namespace, ports: readonly GuestPort[]): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>()
  const add = (address: string, link: number, via: string | null): void => {
    const destination = `${address}/32`
    routes.set(destination, { destination, link, via, table: tableMain })
  }
  // The kernel answers ARP only for what it would route elsewhere, and what no range claims must not
  // go back out: the way to the zones, where the forward chain lets nothing in, serves as both.
  const nowhere = up(sled.rt, stub).index
  for (const { snat } of ports) if (snat !== null) add(snat[0], nowhere, null)
  for (const { external, vni } of ports) {
    if (external !== null) add(external, up(sled.rt, vpcLink(vni)).index, vpcHop)
  }
  return routes
}

function steeringText(ports: readonly GuestPort[], filling: Filling): string {
  const shared = ports.flatMap(({ snat, vni }) =>
    snat === null ? [] : [{ ip: snat[0], range: `${snat[1]}-${snat[2]}`, mark: vpcMark(vni) }],
  )
  const flows = shared.flatMap(({ ip, range, mark }) =>
    ['tcp', 'udp'].map((protocol) => `${ip} . ${protocol} . ${range} : ${mark}`),
  )
  const pings = shared.map(({ ip, range, mark }) => `${ip} . ${range} : ${mark}`)
  return [
    fillText('map ports', filling, flows),
    fillText('map echoes', filling, pings),
    fillText('map errors', filling, pings),
  ].join('')
}

/** A gratuitous ARP request (RFC 5944 §4.6): who has the address learns where it is now. */
function announcement(address: string, mac: string): Buffer {
  const sender = Buffer.concat([macBytes(mac), ipBytes(address)])
  const broadcast = Buffer.alloc(6, 0xff)
  const ethernet = Buffer.concat([broadcast, macBytes(mac), Buffer.from([0x08, 0x06])])
  const header = Buffer.from([0, 1, 0x08, 0, 6, 4, 0, 1])
  return Buffer.concat([ethernet, header, sender, broadcast, ipBytes(address)])
}
