/**
 * External addresses. SNAT takes a quarter of an address' ports, an ephemeral IP all of them. A quarter is
 * taken where this member has put the last one, while there is room (`partly-used.ts`). Else taken is the
 * lowest address that has room, and of it the lowest chunk, among the lowest few of all addresses that a
 * project may use; beyond those the search begins anywhere (`places.ts`).
 */
import assert from 'node:assert/strict'
import type { Selectable } from 'kysely'
import { familyOf, toAddress, toNumber } from './addresses.ts'
import { invalidRequest, notFound } from '#actors/http/errors.ts'
import { placesToTry, takenMeanwhile, type Attempt } from './places.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'

export type ExternalIp = Selectable<Tables['external_ip']>
type Range = Selectable<Tables['ip_pool_range']>

const chunk_ports = 16_384
export const port_max = 65_535
/** How many addresses are looked at first: with fewer, a chunk would seldom find one that is shared already. */
const shared_first = 16
const exhausted = 'No external IP addresses available'

interface Ports {
  readonly first_port: number
  readonly last_port: number
}
/** An address of a range, and which of the chunks that a kind takes are free in it. */
interface Candidate {
  readonly range: Range
  readonly ip: string
  readonly isUsed: boolean
  readonly free: readonly Ports[]
}

/** The port chunks that a kind takes from an address, the lowest first. */
function chunksOf(kind: ExternalIp['kind']): readonly Ports[] {
  if (kind === 'ephemeral') return [{ first_port: 0, last_port: port_max }]
  return Array.from({ length: (port_max + 1) / chunk_ports }, (_, index) => ({
    first_port: index * chunk_ports,
    last_port: (index + 1) * chunk_ports - 1,
  }))
}

const ipInserted = prepare((store, row: ExternalIp) =>
  store
    .insertInto('external_ip')
    .values(row)
    .onConflict((taken) => taken.doNothing())
    .returning('id'),
)

/** Takes an address for an instance. */
export async function allocateIp(
  attempt: Attempt,
  wanted: {
    readonly id: string
    readonly instance_id: string
    readonly project_id: string
    readonly kind: ExternalIp['kind']
    readonly pool_name: string | null
  },
): Promise<ExternalIp> {
  const { services, store } = attempt
  const { range, ip, ports } = await freePorts(
    attempt,
    await usableRanges(store, wanted),
    wanted.kind,
  )
  const row: ExternalIp = {
    id: wanted.id,
    ip_pool_id: range.ip_pool_id,
    ip_pool_range_id: range.id,
    instance_id: wanted.instance_id,
    kind: wanted.kind,
    ip,
    ...ports,
    time_created_ms: services.clock.now(),
    time_deleted_ms: null,
  }
  if ((await ipInserted(store, row)).length === 0) throw takenMeanwhile(ip)
  return row
}

/**
 * A free chunk of one of the ranges' addresses: of one that is known to be shared, else wherever there is
 * room. For that, the addresses are numbered through in the ranges' order.
 */
async function freePorts(attempt: Attempt, ranges: readonly Range[], kind: ExternalIp['kind']) {
  const known = kind === 'snat' ? attempt.services.partlyUsed.take(ranges) : null
  const [shared] = known === null ? [] : await look(attempt, [known], kind)
  if (shared !== undefined && shared.free.length > 0) return portsOf(shared, attempt)
  const sized = ranges.map((range) => sizeOf(range))
  const count = sized.reduce((sum, { size }) => sum + size, 0)
  for (const { lowest, others } of placesToTry(count, shared_first, attempt)) {
    const candidates = await look(
      attempt,
      [...lowest, ...others].map((place) => addressAt(sized, place)),
      kind,
    )
    const withRoom = (list: readonly Candidate[]) => list.filter(({ free }) => free.length > 0)
    const low = withRoom(candidates.slice(0, lowest.length))
    const elsewhere = withRoom(candidates.slice(lowest.length))
    // Chunks share an address where they can: one alone keeps it from being somebody's external IP.
    const chosen = low[0] ?? elsewhere.find(({ isUsed }) => isUsed) ?? elsewhere[0]
    if (chosen !== undefined) return portsOf(chosen, attempt)
  }
  throw invalidRequest(exhausted)
}

function portsOf({ range, ip, free }: Candidate, { services, tries }: Attempt) {
  // Who was in the way took the lowest chunk, and may be about to take the next.
  const at = tries === 1 ? 0 : Math.floor(services.random.next() * free.length)
  const ports = free[at]
  assert(ports !== undefined, 'what is chosen has room')
  return { range, ip, ports }
}

interface Sized {
  readonly range: Range
  readonly first: bigint
  readonly size: number
}
function sizeOf(range: Range): Sized {
  const first = toNumber(range.first_address)
  return { range, first, size: Number(toNumber(range.last_address) - first) + 1 }
}

function addressAt(ranges: readonly Sized[], place: number) {
  let left = place
  for (const { range, first, size } of ranges) {
    if (left < size) return { range, ip: toAddress(first + BigInt(left), 4) }
    left -= size
  }
  throw new Error(`there is no place ${place}`)
}

const takenRows = prepare((store, { ips }: { readonly ips: readonly string[] }) =>
  store
    .selectFrom('external_ip')
    .select(['ip', 'first_port', 'last_port'])
    .where('ip', 'in', ips)
    .where('time_deleted_ms', 'is', null),
)

/** Reads what is taken of these addresses, whichever kind took it: the rack's own are taken whole. */
async function look(
  { services, store }: Attempt,
  addresses: ReadonlyArray<{ readonly range: Range; readonly ip: string }>,
  kind: ExternalIp['kind'],
): Promise<readonly Candidate[]> {
  const rows = await takenRows(store, { ips: addresses.map(({ ip }) => ip) })
  const taken = Map.groupBy(rows, ({ ip }) => ip)
  const own = new Set(services.config.own_addresses)
  return addresses.map((address) => {
    const chunks = own.has(address.ip) ? [] : chunksOf(kind)
    const used = taken.get(address.ip) ?? []
    const free = chunks.filter(
      ({ first_port, last_port }) =>
        !used.some((other) => other.first_port <= last_port && other.last_port >= first_port),
    )
    return { ...address, isUsed: used.length > 0, free }
  })
}

const poolRows = prepare((store, { project_id }: { readonly project_id: string }) => {
  const live = store.selectFrom('ip_pool').selectAll().where('time_deleted_ms', 'is', null)
  return live.where('project_id', 'is', null).unionAll(live.where('project_id', '=', project_id))
})
const rangeRows = prepare((store, { pools }: { readonly pools: readonly string[] }) =>
  store
    .selectFrom('ip_pool_range')
    .selectAll()
    .where('ip_pool_id', 'in', pools)
    .where('time_deleted_ms', 'is', null)
    .orderBy('first_sort'),
)

/** IPv4 ranges of pools that are unrestricted or this project's, or of the named one only. */
async function usableRanges(
  store: Store | StoreTransaction,
  wanted: { readonly project_id: string; readonly pool_name: string | null },
): Promise<readonly Range[]> {
  const pools = await poolRows(store, { project_id: wanted.project_id })
  const { pool_name } = wanted
  const usable = pool_name === null ? pools : pools.filter(({ name }) => name === pool_name)
  if (pool_name !== null && usable.length === 0) throw notFound('ip-pool', pool_name)
  if (usable.length === 0) return []
  const ranges = await rangeRows(store, { pools: usable.map(({ id }) => id) })
  return ranges.filter(({ first_address }) => familyOf(first_address) === 4)
}
