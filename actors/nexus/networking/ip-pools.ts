/** IP pools: where instances' external addresses come from. Their ranges are in `ip-ranges.ts`. */
import type { Selectable } from 'kysely'
import { implement, type UserCall } from '../api/route.ts'
import { demandFleet, demandOfFleet, powers, type Power } from '../access/authz.ts'
import { newRow } from '../context.ts'
import { alreadyExists, invalidRequest, notFound, notFoundById } from '#actors/http/errors.ts'
import { identityView } from '../names.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

export type Pool = Selectable<Tables['ip_pool']>

const poolView = (row: Pool) => ({ ...identityView(row), project_id: row.project_id })

/** The pool of the path's `{pool_name}`: absent to those who may not read the fleet. */
export async function poolOf({ services, actor, path }: UserCall, needed: Power): Promise<Pool> {
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

/** The pool of the services of the path's `{rack_id}`: absent to those who may not read the fleet. */
export async function servicePoolOf(
  { services, actor, path }: UserCall,
  needed: Power,
): Promise<Pool> {
  const rack_id = path('rack_id')
  const absent = notFoundById('rack', rack_id)
  await demandOfFleet(services, actor, { needed, absent })
  const row = await services.store
    .selectFrom('ip_pool')
    .selectAll()
    .where('id', '=', rack_id)
    .where('rack_id', '=', rack_id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw absent
  return row
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

  implement('ip_pool_service_view', async (call) => {
    return poolView(await servicePoolOf(call, powers.viewer))
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
