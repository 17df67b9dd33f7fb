/**
 * Where guests are, told to sleds: of each VPC to those that have guests of it, and of the external
 * addresses to the one that has the uplink. A rack of one sled has nothing to tell.
 */
import { liveStates } from '#actors/instance.protocol.ts'
import { limits } from '#config/limits.ts'
import type { NatEntry, V2pMapping } from '#actors/network.protocol.ts'
import type { Services } from '../context.ts'
import { prepare } from '../store/prepare.ts'
import { portRows, vniRows } from './firewall.ts'

const time = { timeout_ms: limits.zone_boot_ms_max }

/** Whether every sled that has a port of a VPC took where all of them are. */
export async function sendV2p(services: Services, vpc_id: string): Promise<boolean> {
  if (services.config.sleds.length === 1) return true
  const [vpc] = await vniRows(services.store, { vpc_id })
  if (vpc === undefined) return true
  const ports = await portRows(services.store, { vpc_id })
  const sleds = await sledAddresses(services)
  const mappings = ports.flatMap(({ ip, sled_id }): V2pMapping[] => {
    const sled = sleds.get(sled_id ?? '')
    return sled === undefined ? [] : [{ ip, sled }]
  })
  const concerned = new Set(ports.map(({ sled_id }) => sled_id).filter((id) => id !== null))
  const taken = await Promise.all(
    [...concerned].map(async (sled_id) => {
      const request = { vni: vpc.vni, mappings }
      const told = await services.sleds.network(sled_id).call('set_v2p', request, time)
      return isTaken(services, sled_id, told)
    }),
  )
  return taken.every(Boolean)
}

/** Whether the sled with the uplink took where external addresses are: all of them, as of a generation. */
export async function sendNat(services: Services, generation: number): Promise<boolean> {
  // The rack's plan has that sled first.
  const [uplink] = services.config.sleds
  if (uplink === undefined || services.config.sleds.length === 1) return true
  const sleds = await sledAddresses(services)
  const entries: NatEntry[] = []
  for (let rows = await natRows(services.store, { after: '' }); ;) {
    for (const { sled_id, ip, first_port, last_port } of rows) {
      const sled = sleds.get(sled_id ?? '')
      if (sled !== undefined) entries.push({ ip, first_port, last_port, sled })
    }
    const last = rows.at(-1)
    if (last === undefined) break
    rows = await natRows(services.store, { after: last.id })
  }
  const told = await services.sleds.network(uplink).call('set_nat', { generation, entries }, time)
  return isTaken(services, uplink, told)
}

/** Sleds' addresses on the underlay, by their ids. */
async function sledAddresses({ store }: Services): Promise<ReadonlyMap<string, string>> {
  return new Map((await sledRows(store, {})).map(({ id, ip }) => [id, ip]))
}

/** A sled of before there was such a message is alone in its network. */
function isTaken(
  { log }: Services,
  sled_id: string,
  told:
    | { readonly ok: true }
    | { readonly ok: false; readonly error: string; readonly detail: string },
): boolean {
  if (told.ok || told.error === 'unsupported') return true
  log.warn('a sled did not take where guests are', { sled_id, detail: told.detail })
  return false
}

const sledRows = prepare((store, _none: Readonly<Record<string, never>>) =>
  store.selectFrom('sled').select(['id', 'ip']),
)

const natRows = prepare((store, { after }: { readonly after: string }) =>
  store
    .selectFrom('external_ip')
    .select((from) => [
      'id',
      'ip',
      'first_port',
      'last_port',
      from
        .selectFrom('instance')
        .select('sled_id')
        .whereRef('instance.id', '=', 'external_ip.instance_id')
        .where('run_state', 'in', liveStates)
        .as('sled_id'),
    ])
    .where('id', '>', after)
    .where('time_deleted_ms', 'is', null)
    .orderBy('id')
    .limit(limits.nat_rows_at_once_max),
)
