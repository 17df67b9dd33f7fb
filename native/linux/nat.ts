/**
 * External addresses of guests on other sleds, at the edge of the sled that has the uplink: what Nexus
 * says of an address counts, and a port of this sled only where it says nothing else.
 */
import { ipText } from './addresses.ts'
import type { NatEntry } from '#native/platform/ports.ts'
import type { Namespace } from './namespace.ts'
import { protocolTold, type Route, tableMain } from './rtnetlink.ts'
import { steeringText } from './steering.ts'
import { findTrunks, trunkMark } from './trunk.ts'

const last_port_max = 65_535

/** Makes the edge fit `entries`, of which those of sleds without a trunk here count for nothing. */
export function syncNat(sled: Namespace, entries: readonly NatEntry[]): void {
  const trunks = findTrunks(sled.rt)
  const there = entries.flatMap((entry) => {
    const trunk = trunks.get(entry.sled)
    return trunk === undefined ? [] : [{ ...entry, trunk }]
  })
  const wanted = new Map<string, Route>()
  // A shared address leads to any of its sleds: what no range claims ends there.
  for (const { ip, trunk } of there) {
    const destination = `${ip}/32`
    const hop = { link: trunk.link.index, via: trunk.via, table: tableMain }
    wanted.set(ip, { destination, ...hop, protocol: protocolTold })
  }
  const found = toldAddresses(sled)
  for (const { address, link } of found) {
    if (wanted.has(address)) continue
    const destination = `${address}/32`
    sled.rt.removeRoute({ destination, link, via: null, table: tableMain, protocol: protocolTold })
  }
  for (const [address, route] of wanted) {
    const isThere = found.some(
      (known) => known.address === address && known.link === route.link && known.via === route.via,
    )
    if (!isThere) sled.rt.ensureRoute(route)
  }
  const shared = there.filter(({ first_port, last_port }) => last_port - first_port < last_port_max)
  const shares = shared.map(({ trunk, ...range }) => ({ ...range, mark: trunkMark(trunk.number) }))
  sled.nft.apply(steeringText('told', 'replace', shares), "steer to other sleds' guests")
}

/** The external addresses that lead to other sleds. */
const toldAddresses = (sled: Namespace) =>
  sled.rt
    .routes()
    .filter(({ protocol, table }) => protocol === protocolTold && table === tableMain)
    .map(({ destination, link, via }) => ({ address: ipText(destination.bytes), link, via }))
