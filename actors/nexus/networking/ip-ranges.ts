/** Ranges of addresses in IP pools, those of the rack's own services included. */
import type { Selectable } from 'kysely'
import { fits } from '#runtime/schema.ts'
import { familyOf, sortKey, toNumber } from './addresses.ts'
import { ipAddress } from '#actors/http/words.ts'
import { corruptedToken, pageOf, type PageRequest } from '#actors/http/pagination.ts'
import { implement } from '../api/route.ts'
import { powers } from '../access/authz.ts'
import type { Services } from '../context.ts'
import { badRequest, invalidRequest } from '#actors/http/errors.ts'
import { poolOf, servicePoolOf, type Pool } from './ip-pools.ts'
import { timestamp } from '../names.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

type Range = Selectable<Tables['ip_pool_range']>
interface Bounds {
  readonly first: string
  readonly last: string
}

const view = (row: Range) => ({
  id: row.id,
  time_created: timestamp(row.time_created_ms),
  range: { first: row.first_address, last: row.last_address },
})

export const ipRangeRoutes = [
  implement('ip_pool_range_list', async (call) => {
    return await listRanges(call.services, await poolOf(call, powers.viewer), call.page)
  }),
  implement('ip_pool_range_add', async (call) => {
    return view(await addRange(call.services, await poolOf(call, powers.admin), call.body))
  }),
  implement('ip_pool_range_remove', async (call) => {
    await removeRange(call.services, await poolOf(call, powers.admin), call.body)
    return null
  }),

  implement('ip_pool_service_range_list', async (call) => {
    return await listRanges(call.services, await servicePoolOf(call, powers.viewer), call.page)
  }),
  implement('ip_pool_service_range_add', async (call) => {
    return view(await addRange(call.services, await servicePoolOf(call, powers.admin), call.body))
  }),
  implement('ip_pool_service_range_remove', async (call) => {
    await removeRange(call.services, await servicePoolOf(call, powers.admin), call.body)
    return null
  }),
]

async function listRanges({ store }: Services, pool: Pool, page: PageRequest) {
  const ranges = store
    .selectFrom('ip_pool_range')
    .selectAll()
    .where('ip_pool_id', '=', pool.id)
    .where('time_deleted_ms', 'is', null)
  if (page.after !== null && !fits(ipAddress, page.after)) throw corruptedToken()
  const begun = page.after === null ? ranges : ranges.where('first_sort', '>', sortKey(page.after))
  const rows = await begun.orderBy('first_sort').limit(page.limit).execute()
  return pageOf(rows, page, view, (row) => row.first_address)
}

/**
 * Adds a range that shares no address with any other, whichever pool has it; one for guests has none of the
 * rack's own either.
 */
async function addRange(services: Services, pool: Pool, { first, last }: Bounds): Promise<Range> {
  checkRange({ first, last })
  const own = services.config.own_addresses.find(
    (address) => sortKey(first) <= sortKey(address) && sortKey(address) <= sortKey(last),
  )
  if (own !== undefined && pool.rack_id === null) {
    throw invalidRequest(
      `The provided IP range ${first}-${last} contains ${own}, which the rack itself uses`,
    )
  }
  const row: Range = {
    id: services.random.uuid(),
    ip_pool_id: pool.id,
    first_address: first,
    last_address: last,
    first_sort: sortKey(first),
    last_sort: sortKey(last),
    time_created_ms: services.clock.now(),
    time_deleted_ms: null,
  }
  await transact(services, async (store) => {
    const overlapping = await store
      .selectFrom('ip_pool_range')
      .select('id')
      .where('first_sort', '<=', row.last_sort)
      .where('last_sort', '>=', row.first_sort)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (overlapping !== undefined) {
      throw invalidRequest(`The provided IP range ${first}-${last} overlaps with an existing range`)
    }
    await store.insertInto('ip_pool_range').values(row).execute()
  })
  return row
}

/** Removes exactly this range, unless an instance has an address of it. */
async function removeRange(services: Services, pool: Pool, { first, last }: Bounds): Promise<void> {
  checkRange({ first, last })
  await transact(services, async (store) => {
    const row = await store
      .selectFrom('ip_pool_range')
      .select('id')
      .where('ip_pool_id', '=', pool.id)
      .where('first_sort', '=', sortKey(first))
      .where('last_sort', '=', sortKey(last))
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) {
      throw invalidRequest(`The provided range ${first}-${last} does not exist`)
    }
    const used = await store
      .selectFrom('external_ip')
      .select('id')
      .where('ip_pool_range_id', '=', row.id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (used !== undefined) {
      throw invalidRequest(
        'IP pool ranges cannot be deleted while external IP addresses are allocated from them',
      )
    }
    await store
      .updateTable('ip_pool_range')
      .set({ time_deleted_ms: services.clock.now() })
      .where('id', '=', row.id)
      .execute()
  })
}

/** Both of one family and in order; Omicron's words otherwise. */
function checkRange({ first, last }: Bounds): void {
  if (familyOf(first) !== familyOf(last)) {
    throw badRequest(
      'unable to parse JSON body: data did not match any variant of untagged enum IpRange',
    )
  }
  if (toNumber(first) > toNumber(last)) {
    throw badRequest('unable to parse JSON body: IP address ranges must be non-decreasing')
  }
}
