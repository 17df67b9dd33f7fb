/** Organizations: the containers of projects, named once in a silo. */
import { Type } from 'typebox'
import { byNameOrId, pageQuery } from './api/pagination.ts'
import { route } from './api/route.ts'
import { demand, organizationPower, powers, siloPower } from './authz.ts'
import { newRow } from './context.ts'
import { alreadyExists, invalidRequest, notFoundById } from './errors.ts'
import { organizationOf, type Organization } from './lookup.ts'
import { identity, identityView, updatedIdentity } from './names.ts'
import { isConflict } from './store/failure.ts'
import { listPage } from './store/page.ts'
import { transact } from './store/transact.ts'

const view = (row: Organization) => identityView(row)

export const organizationRoutes = [
  route('GET /organizations', {
    query: pageQuery,
    handle: async ({ services, actor, query }) => {
      demand(await siloPower(services, actor), powers.viewer)
      return await listPage(
        services.store
          .selectFrom('organization')
          .selectAll()
          .where('silo_id', '=', actor.silo_id)
          .where('time_deleted_ms', 'is', null),
        query,
        byNameOrId,
        view,
      )
    },
  }),

  route('POST /organizations', {
    body: Type.Object(identity),
    handle: async ({ services, actor, body }) => {
      demand(await siloPower(services, actor), powers.collaborator)
      const row = { ...newRow(services, body), silo_id: actor.silo_id }
      try {
        await services.store.insertInto('organization').values(row).execute()
      } catch (error) {
        throw isConflict(error) ? alreadyExists('organization', body.name) : error
      }
      return view(row)
    },
  }),

  route('GET /organizations/{organization_name}', {
    handle: async (call) => view(await organizationOf(call, powers.viewer)),
  }),

  route('GET /by-id/organizations/{id}', {
    handle: async ({ services, actor, path }) => {
      const id = path('id')
      const row = await services.store
        .selectFrom('organization')
        .selectAll()
        .where('id', '=', id)
        .where('silo_id', '=', actor.silo_id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (row === undefined || (await organizationPower(services, actor, id)) === powers.none) {
        throw notFoundById('organization', id)
      }
      return view(row)
    },
  }),

  route('PUT /organizations/{organization_name}', {
    body: Type.Object(updatedIdentity),
    handle: async (call) => {
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
    },
  }),

  route('DELETE /organizations/{organization_name}', {
    handle: async (call) => {
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
    },
  }),
]
