/** IP pools and their ranges: where instances' external addresses come from. */
import type { Selectable } from 'kysely'
import { fits } from '#runtime/schema.ts'
import { familyOf, sortKey, toNumber } from './addresses.ts'
import { ipAddress } from './api/contract/words.ts'
import { corruptedToken, pageOf } from './api/pagination.ts'
import { implement, type UserCall } from './api/route.ts'
import { demandFleet, demandOfFleet, powers, type Power } from './authz.ts'
import { newRow } from './context.ts'
import { alreadyExists, badRequest, invalidRequest, notFound, notFoundById } from './errors.ts'
import { identityView, timestamp } from './names.ts'
import { isConflict } from './store/failure.ts'
import { listPage } from './store/page.ts'
import type { Tables } from './store/schema.ts'
import { transact } from './store/transact.ts'

type Pool = Selectable<Tables['ip_pool']>
type Range = Selectable<Tables['ip_pool_range']>

const poolView = (row: Pool) => ({ ...identityView(row), project_id: row.project_id })
const rangeView = (row: Range) => ({
  id: row.id,
  time_created: timestamp(row.time_created_ms),
  range: { first: row.first_address, last: row.last_address },
})

/** The pool of the path's `{pool_name}`: absent to those who may not read the fleet. */
async function poolOf({ services, actor, path }: UserCall, needed: Power): Promise<Pool> {
  const pool = path('pool_name')
  const absent = notFound('ip-pool', pool)
  await demandOfFleet(services, actor, { needed, absent })
  const row = await services.store
    .selectFrom('ip_pool')
    .selectAll()
    .where('name', '=', pool)
    .where('rack_id', 'is', null)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw absent
  return row
}

/** Both of one family and in order; Omicron's words otherwise. */
function checkRange(range: { readonly first: string; readonly last: string }): void {
  if (familyOf(range.first) !== familyOf(range.last)) {
    throw badRequest(
      'unable to parse JSON body: data did not match any variant of untagged enum IpRange',
    )
  }
  if (toNumber(range.first) > toNumber(range.last)) {
    throw badRequest('unable to parse JSON body: IP address ranges must be non-decreasing')
  }
}

export const ipPoolRoutes = [
  implement('ip_pool_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    return await listPage(
      services.store
        .selectFrom('ip_pool')
        .selectAll()
        .where('rack_id', 'is', null)
        .where('time_deleted_ms', 'is', null),
      page,
      poolView,
    )
  }),

  implement('ip_pool_create', async (call) => {
    const { services, actor, body } = call
    await demandFleet(services, actor, powers.admin)
    const project_id = await restriction(call, body)
    const row = { ...newRow(services, body), project_id, rack_id: null }
    try {
      await services.store.insertInto('ip_pool').values(row).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('ip-pool', body.name) : error
    }
    return poolView(row)
  }),

  implement('ip_pool_view', async (call) => {
    return poolView(await poolOf(call, powers.viewer))
  }),

  implement('ip_pool_view_by_id', async ({ services, actor, path }) => {
    const id = path('id')
    const absent = notFoundById('ip-pool', id)
    await demandOfFleet(services, actor, { needed: powers.viewer, absent })
    const row = await services.store
      .selectFrom('ip_pool')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw absent
    return poolView(row)
  }),

  implement('ip_pool_update', async (call) => {
    const { services, body } = call
    const row = await poolOf(call, powers.admin)
    const changed = {
      name: body.name ?? row.name,
      description: body.description ?? row.description,
      time_modified_ms: services.clock.now(),
    }
    try {
      await services.store.updateTable('ip_pool').set(changed).where('id', '=', row.id).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('ip-pool', changed.name) : error
    }
    return poolView({ ...row, ...changed })
  }),

  implement('ip_pool_delete', async (call) => {
    const { services } = call
    const row = await poolOf(call, powers.admin)
    await transact(services, async (store) => {
      const range = await store
        .selectFrom('ip_pool_range')
        .select('id')
        .where('ip_pool_id', '=', row.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (range !== undefined) {
        throw invalidRequest('IP Pool cannot be deleted while it contains IP ranges')
      }
      await store
        .updateTable('ip_pool')
        .set({ time_deleted_ms: services.clock.now() })
        .where('id', '=', row.id)
        .execute()
    })
    return null
  }),

  implement('ip_pool_range_list', async (call) => {
    const { services, page } = call
    const pool = await poolOf(call, powers.viewer)
    const ranges = services.store
      .selectFrom('ip_pool_range')
      .selectAll()
      .where('ip_pool_id', '=', pool.id)
      .where('time_deleted_ms', 'is', null)
    if (page.after !== null && !fits(ipAddress, page.after)) throw corruptedToken()
    const begun =
      page.after === null ? ranges : ranges.where('first_sort', '>', sortKey(page.after))
    const rows = await begun.orderBy('first_sort').limit(page.limit).execute()
    return pageOf(rows, page, rangeView, (row) => row.first_address)
  }),

  implement('ip_pool_range_add', async (call) => {
    const { services, body } = call
    checkRange(body)
    const pool = await poolOf(call, powers.admin)
    const row: Range = {
      id: services.random.uuid(),
      ip_pool_id: pool.id,
      first_address: body.first,
      last_address: body.last,
      first_sort: sortKey(body.first),
      last_sort: sortKey(body.last),
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
        throw invalidRequest(
          `The provided IP range ${body.first}-${body.last} overlaps with an existing range`,
        )
      }
      await store.insertInto('ip_pool_range').values(row).execute()
    })
    return rangeView(row)
  }),

  implement('ip_pool_range_remove', async (call) => {
    const { services, body } = call
    checkRange(body)
    const pool = await poolOf(call, powers.admin)
    await transact(services, async (store) => {
      const row = await store
        .selectFrom('ip_pool_range')
        .select('id')
        .where('ip_pool_id', '=', pool.id)
        .where('first_sort', '=', sortKey(body.first))
        .where('last_sort', '=', sortKey(body.last))
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (row === undefined) {
        throw invalidRequest(`The provided range ${body.first}-${body.last} does not exist`)
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
    return null
  }),
]

/** The project a pool is kept for; null for everybody. Both names are given or neither. */
async function restriction(
  { services, actor }: UserCall,
  given: { readonly organization?: string | null; readonly project?: string | null },
): Promise<string | null> {
  const { organization = null, project = null } = given
  if (organization === null && project === null) return null
  if (organization === null || project === null) {
    throw invalidRequest('Organization and project must be specified together')
  }
  const row = await services.store
    .selectFrom('project')
    .innerJoin('organization', 'organization.id', 'project.organization_id')
    .select('project.id')
    .where('organization.silo_id', '=', actor.silo_id)
    .where('organization.name', '=', organization)
    .where('project.name', '=', project)
    .where('organization.time_deleted_ms', 'is', null)
    .where('project.time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('project', project)
  return row.id
}
