/**
 * External addresses: of all addresses a project may use, the lowest that is free, and of that the
 * lowest free chunk of ports. SNAT takes a quarter of an address' ports, an ephemeral IP all.
 */
import type { Selectable } from 'kysely'
import { familyOf, toAddress, toNumber } from './addresses.ts'
import type { Services } from './context.ts'
import { invalidRequest, notFound } from './errors.ts'
import type { StoreTransaction, Tables } from './store/schema.ts'

export type ExternalIp = Selectable<Tables['external_ip']>
type Range = Selectable<Tables['ip_pool_range']>

const chunk_ports = 16_384
const port_max = 65_535
const exhausted = 'No external IP addresses available'

interface Chunk {
  readonly ip: string
  readonly first_port: number
  readonly last_port: number
}
interface Taken {
  readonly ip: string
  readonly first_port: number
  readonly last_port: number
}

/** The port chunks that a kind takes from an address, the lowest first. */
export function chunksOf(kind: ExternalIp['kind']): ReadonlyArray<readonly [number, number]> {
  if (kind === 'ephemeral') return [[0, port_max]]
  return Array.from({ length: (port_max + 1) / chunk_ports }, (_, index) => [
    index * chunk_ports,
    (index + 1) * chunk_ports - 1,
  ])
}

/** The lowest free chunk of an address range, given what of it is taken; null when none is. */
export function lowestFree(
  range: { readonly first: string; readonly last: string },
  taken: readonly Taken[],
  kind: ExternalIp['kind'],
): Chunk | null {
  const byIp = Map.groupBy(taken, ({ ip }) => ip)
  const family = familyOf(range.first)
  for (let at = toNumber(range.first); at <= toNumber(range.last); at += 1n) {
    const ip = toAddress(at, family)
    const used = byIp.get(ip) ?? []
    const free = chunksOf(kind).find(
      ([first, last]) =>
        !used.some((other) => other.first_port <= last && other.last_port >= first),
    )
    if (free !== undefined) return { ip, first_port: free[0], last_port: free[1] }
  }
  return null
}

/** Takes an address for an instance. The same id again gives what it already has. */
export async function allocateIp(
  services: Services,
  store: StoreTransaction,
  wanted: {
    readonly id: string
    readonly instance_id: string
    readonly project_id: string
    readonly kind: ExternalIp['kind']
    readonly pool_name: string | null
  },
): Promise<ExternalIp> {
  const known = await store
    .selectFrom('external_ip')
    .selectAll()
    .where('id', '=', wanted.id)
    .executeTakeFirst()
  if (known !== undefined) return known
  for (const range of await usableRanges(store, wanted)) {
    const taken = await store
      .selectFrom('external_ip')
      .select(['ip', 'first_port', 'last_port'])
      .where('ip_pool_range_id', '=', range.id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    const bounds = { first: range.first_address, last: range.last_address }
    const chunk = lowestFree(bounds, taken, wanted.kind)
    if (chunk === null) continue
    const row: ExternalIp = {
      id: wanted.id,
      ip_pool_id: range.ip_pool_id,
      ip_pool_range_id: range.id,
      instance_id: wanted.instance_id,
      kind: wanted.kind,
      ...chunk,
      time_created_ms: services.clock.now(),
      time_deleted_ms: null,
    }
    await store.insertInto('external_ip').values(row).execute()
    return row
  }
  throw invalidRequest(exhausted)
}

/** IPv4 ranges of pools that are unrestricted or this project's, or of the named one only. */
async function usableRanges(
  store: StoreTransaction,
  wanted: { readonly project_id: string; readonly pool_name: string | null },
): Promise<readonly Range[]> {
  const live = store.selectFrom('ip_pool').selectAll().where('time_deleted_ms', 'is', null)
  const pools = await live
    .where('project_id', 'is', null)
    .unionAll(live.where('project_id', '=', wanted.project_id))
    .execute()
  const { pool_name } = wanted
  const usable = pool_name === null ? pools : pools.filter(({ name }) => name === pool_name)
  if (pool_name !== null && usable.length === 0) throw notFound('ip-pool', pool_name)
  if (usable.length === 0) return []
  const ranges = await store
    .selectFrom('ip_pool_range')
    .selectAll()
    .where(
      'ip_pool_id',
      'in',
      usable.map(({ id }) => id),
    )
    .where('time_deleted_ms', 'is', null)
    .orderBy('first_sort')
    .execute()
  return ranges.filter(({ first_address }) => familyOf(first_address) === 4)
}
