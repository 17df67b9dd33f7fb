/** Organizations: the containers of projects, named once in a silo. */
import { implement } from './api/route.ts'
import { demand, powers, siloPower } from './access/authz.ts'
import { newRow } from './context.ts'
import { alreadyExists, invalidRequest } from '#actors/http/errors.ts'
import { organizationById, organizationOf, type Organization } from './lookup.ts'
import { identityView } from './names.ts'
import { isConflict } from './store/failure.ts'
import { listPage } from './store/page.ts'
import { transact } from './store/transact.ts'

const view = (row: Organization) => identityView(row)

export const organizationRoutes = [
  implement('organization_list', async ({ services, actor, page }) => {
    demand(await siloPower(services, actor), powers.viewer)
    return await listPage(
      services.store
        .selectFrom('organization')
        .selectAll()
        .where('silo_id', '=', actor.silo_id)
        .where('time_deleted_ms', 'is', null),
      page,
      view,
    )
  }),

  implement('organization_create', async ({ services, actor, body }) => {
    demand(await siloPower(services, actor), powers.collaborator)
    const row = { ...newRow(services, body), silo_id: actor.silo_id }
    try {
      await services.store.insertInto('organization').values(row).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('organization', body.name) : error
    }
    return view(row)
  }),

  implement('organization_view', async (call) => view(await organizationOf(call, powers.viewer))),

  implement('organization_view_by_id', async (call) =>
    view(await organizationById(call, call.path('id'))),
  ),

  implement('organization_update', async (call) => {
    const { services, body } = call
    const row = await organizationOf(call, powers.admin)
    const changed = {
      name: body.name ?? row.name,
      description: body.description ?? row.description,
      time_modified_ms: services.clock.now(),
    }
    try {
      await services.store
        .updateTable('organization')
        .set(changed)
        .where('id', '=', row.id)
        .execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('organization', changed.name) : error
    }
    return view({ ...row, ...changed })
  }),

  implement('organization_delete', async (call) => {
    const { services } = call
    const row = await organizationOf(call, powers.admin)
    await transact(services, async (store) => {
      const project = await store
        .selectFrom('project')
        .select('id')
        .where('organization_id', '=', row.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (project !== undefined) {
        throw invalidRequest('organization to be deleted contains a project')
      }
      await store
        .updateTable('organization')
        .set({ time_deleted_ms: services.clock.now() })
        .where('id', '=', row.id)
        .execute()
    })
    return null
  }),
]
