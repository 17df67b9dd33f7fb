/** The names of the control plane (RFD 248): where Nexus and the sleds are. */
import type { DnsConfig, DnsRecord } from '#actors/dns.protocol.ts'
import { dnsZone } from '#config/addressing.ts'
import { limits } from '#config/limits.ts'
import { ports } from '#config/ports.ts'
import type { Services } from './context.ts'
import { nextGeneration } from './store/transact.ts'

interface Host {
  readonly id: string
  readonly address: string
  readonly port: number
}

const srv = (target: string, port: number): DnsRecord => ({
  type: 'SRV',
  data: { prio: 0, weight: 0, port, target },
})

/** The records for these services and sleds. */
export function controlPlaneRecords(members: readonly Host[], dns: Host, sleds: readonly Host[]) {
  const zoneHost = (host: Host) => `${host.id}.host.${dnsZone}`
  const sledHost = (host: Host) => `${host.id}.sled.${dnsZone}`
  const records = new Map<string, DnsRecord[]>([
    [`_nexus._tcp.${dnsZone}`, members.map((nexus) => srv(zoneHost(nexus), nexus.port))],
    [`_internalDNS._tcp.${dnsZone}`, [srv(zoneHost(dns), dns.port)]],
    [zoneHost(dns), [{ type: 'AAAA', data: dns.address }]],
  ])
  for (const nexus of members) {
    records.set(zoneHost(nexus), [{ type: 'AAAA', data: nexus.address }])
  }
  for (const sled of sleds) {
    records.set(`_sledagent._tcp.${sled.id}.${dnsZone}`, [srv(sledHost(sled), sled.port)])
    records.set(sledHost(sled), [{ type: 'AAAA', data: sled.address }])
  }
  return [...records].map(([name, held]) => ({ name, records: held }))
}

/** Sends the whole zone, under a new generation, to a sled's DNS server; false when it did not take it. */
export async function publishDns(services: Services, sled_id: string): Promise<boolean> {
  const { config, store } = services
  // Before reading, so that of two members' zones the newer one holds what the older one does.
  const generation = await nextGeneration(store, 'dns')
  const sleds = await store.selectFrom('sled').selectAll().orderBy('id').execute()
  const members = config.members.map(({ id, internal_address }) => ({
    id,
    address: internal_address,
    port: ports.nexus_internal,
  }))
  const dns = { id: config.rack_id, address: config.dns_address, port: ports.dns_http }
  const zone: DnsConfig = {
    generation,
    zone: dnsZone,
    records: controlPlaneRecords(
      members,
      dns,
      sleds.map(({ id, ip, port }) => ({ id, address: ip, port })),
    ),
  }
  const sent = await services.sleds
    .dns(sled_id)
    .call('put', zone, { timeout_ms: limits.zone_boot_ms_max })
  if (!sent.ok) {
    services.log.warn('a DNS server did not take the zone', { sled_id, why: sent.detail })
  }
  return sent.ok
}
