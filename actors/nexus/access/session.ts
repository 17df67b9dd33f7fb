/** What a caller may ask about themselves: who they are, their ssh keys. */
import type { Selectable } from 'kysely'
import { implement } from '../api/route.ts'
import { newRow } from '../context.ts'
import { alreadyExists, notFound, unauthenticated } from '#actors/http/errors.ts'
import { identityView } from '../names.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Tables } from '../store/schema.ts'
import { userView } from './users.ts'

const keyView = (row: Selectable<Tables['ssh_key']>) => ({
  ...identityView(row),
  silo_user_id: row.silo_user_id,
  public_key: row.public_key,
})

export const sessionRoutes = [
  implement('session_me', async ({ services, actor }) => {
    const row = await services.store
      .selectFrom('silo_user')
      .selectAll()
      .where('id', '=', actor.user_id)
      .executeTakeFirst()
    if (row === undefined) throw unauthenticated()
    return userView(row)
  }),

  implement('session_sshkey_list', async ({ services, actor, page }) => {
    return await listPage(
      services.store
        .selectFrom('ssh_key')
        .selectAll()
        .where('silo_user_id', '=', actor.user_id)
        .where('time_deleted_ms', 'is', null),
      page,
      keyView,
    )
  }),

  implement('session_sshkey_create', async ({ services, actor, body }) => {
    const row = {
      ...newRow(services, body),
      silo_user_id: actor.user_id,
      public_key: body.public_key,
    }
    try {
      await services.store.insertInto('ssh_key').values(row).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('ssh-key', body.name) : error
    }
    return keyView(row)
  }),

  implement('session_sshkey_view', async ({ services, actor, path }) => {
    const name = path('ssh_key_name')
    const row = await services.store
      .selectFrom('ssh_key')
      .selectAll()
      .where('silo_user_id', '=', actor.user_id)
      .where('name', '=', name)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFound('ssh-key', name)
    return keyView(row)
  }),

  implement('session_sshkey_delete', async ({ services, actor, path }) => {
    const name = path('ssh_key_name')
    const { numUpdatedRows } = await services.store
      .updateTable('ssh_key')
      .set({ time_deleted_ms: services.clock.now() })
      .where('silo_user_id', '=', actor.user_id)
      .where('name', '=', name)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) throw notFound('ssh-key', name)
    return null
  }),
]
