/** Silos: separate sets of users, each with its organizations. */
import type { Selectable } from 'kysely'
import { implement, type UserCall } from '../api/route.ts'
import { demandFleet, powers, siloAccess, type SiloAccess } from './authz.ts'
import { newRow } from '../context.ts'
import {
  alreadyExists,
  forbidden,
  invalidRequest,
  notFound,
  notFoundById,
} from '#actors/http/errors.ts'
import { identityView } from '../names.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { StoreTransaction, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

export type Silo = Selectable<Tables['silo']>

const view = (row: Silo) => ({
  ...identityView(row),
  discoverable: row.discoverable,
  identity_mode: row.identity_mode,
})

/** The silo of the path's `{silo_name}`: absent to those who may not read it. */
export async function siloOf(call: UserCall, needed: keyof SiloAccess): Promise<Silo> {
  const name = call.path('silo_name')
  const row = await call.services.store
    .selectFrom('silo')
    .selectAll()
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  return await reachable(call, row, { needed, absent: notFound('silo', name) })
}

async function reachable(
  { services, actor }: UserCall,
  row: Silo | undefined,
  { needed, absent }: { readonly needed: keyof SiloAccess; readonly absent: Error },
): Promise<Silo> {
  if (row === undefined) throw absent
  const access = await siloAccess(services, actor, row.id)
  if (!access.read) throw absent
  if (!access[needed]) throw forbidden()
  return row
}

export const siloRoutes = [
  implement('silo_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    const silos = services.store.selectFrom('silo').selectAll().where('time_deleted_ms', 'is', null)
    // The others are found by those who know their names.
    return await listPage(silos.where('discoverable', '=', true), page, view)
  }),

  implement('silo_create', async ({ services, actor, body }) => {
    await demandFleet(services, actor, powers.collaborator)
    const { discoverable, identity_mode, admin_group_name = null } = body
    const row = { ...newRow(services, body), discoverable, identity_mode }
    try {
      await transact(services, async (store) => {
        await store.insertInto('silo').values(row).execute()
        if (admin_group_name === null) return
        const group = {
          id: services.random.uuid(),
          silo_id: row.id,
          external_id: admin_group_name,
          time_created_ms: row.time_created_ms,
          time_deleted_ms: null,
        }
        await store.insertInto('silo_group').values(group).execute()
        const of = { resource_type: 'silo', resource_id: row.id, role_name: 'admin' } as const
        await store
          .insertInto('role_assignment')
          .values({ ...of, identity_id: group.id, identity_type: 'silo_group' })
          .execute()
      })
    } catch (error) {
      throw isConflict(error) ? alreadyExists('silo', body.name) : error
    }
    return view(row)
  }),

  implement('silo_view', async (call) => view(await siloOf(call, 'read'))),

  implement('silo_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('silo')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    return view(await reachable(call, row, { needed: 'read', absent: notFoundById('silo', id) }))
  }),

  implement('silo_delete', async (call) => {
    const { services } = call
    const silo = await siloOf(call, 'modify')
    await transact(services, async (store) => {
      const organization = await store
        .selectFrom('organization')
        .select('id')
        .where('silo_id', '=', silo.id)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (organization !== undefined) {
        throw invalidRequest('silo to be deleted contains an organization')
      }
      await deleteWithin(store, silo.id, services.clock.now())
    })
    return null
  }),
]

/** The silo and all who are in it: their sessions and tokens end with them. */
async function deleteWithin(
  store: StoreTransaction,
  silo_id: string,
  time_deleted_ms: number,
): Promise<void> {
  const users = await store
    .selectFrom('silo_user')
    .select('id')
    .where('silo_id', '=', silo_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id } of users) await deleteUser(store, id, time_deleted_ms)
  for (const table of ['silo_group', 'saml_identity_provider'] as const) {
    await store
      .updateTable(table)
      .set({ time_deleted_ms })
      .where('silo_id', '=', silo_id)
      .where('time_deleted_ms', 'is', null)
      .execute()
  }
  await store.updateTable('silo').set({ time_deleted_ms }).where('id', '=', silo_id).execute()
}

/** A user with all that says who they are. */
export async function deleteUser(
  store: StoreTransaction,
  id: string,
  time_deleted_ms: number,
): Promise<void> {
  await store.updateTable('silo_user').set({ time_deleted_ms }).where('id', '=', id).execute()
  await store
    .updateTable('ssh_key')
    .set({ time_deleted_ms })
    .where('silo_user_id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const table of [
    'console_session',
    'device_access_token',
    'silo_group_membership',
    'silo_user_password',
  ] as const) {
    await store.deleteFrom(table).where('silo_user_id', '=', id).execute()
  }
}
