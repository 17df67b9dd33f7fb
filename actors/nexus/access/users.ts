/** Users and groups of silos, and the users whom a silo keeps itself, with their passwords. */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { userPassword } from '../api/contract/silos.ts'
import { Reply } from '#actors/http/route.ts'
import { implement, type AnyCall, type UserCall } from '../api/route.ts'
import { sessionCookie, startSession } from './authn.ts'
import type { Services } from '../context.ts'
import { alreadyExists, notFound, notFoundById, unauthenticated } from '#actors/http/errors.ts'
import { deleteUser, siloOf, type Silo } from './silos.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

type User = Selectable<Tables['silo_user']>

export const userView = (row: User) => ({
  id: row.id,
  display_name: row.external_id,
  silo_id: row.silo_id,
})

const usersOf = (services: Services, silo_id: string) =>
  services.store
    .selectFrom('silo_user')
    .selectAll()
    .where('silo_id', '=', silo_id)
    .where('time_deleted_ms', 'is', null)
const groupsOf = (services: Services, silo_id: string) =>
  services.store
    .selectFrom('silo_group')
    .selectAll()
    .where('silo_id', '=', silo_id)
    .where('time_deleted_ms', 'is', null)

async function userOf(call: UserCall, silo: Silo): Promise<User> {
  const id = call.path('user_id')
  const row = await usersOf(call.services, silo.id).where('id', '=', id).executeTakeFirst()
  if (row === undefined) throw notFoundById('silo-user', id)
  return row
}

/** A silo that keeps its users itself; others have no such provider. */
async function localSilo(call: UserCall): Promise<Silo> {
  const silo = await siloOf(call, 'manage')
  if (silo.identity_mode !== 'local_only') throw notFound('identity-provider', 'local')
  return silo
}

export const userRoutes = [
  implement(
    'user_list',
    async ({ services, actor, page }) =>
      await listPage(usersOf(services, actor.silo_id), page, userView),
  ),
  implement(
    'group_list',
    async ({ services, actor, page }) =>
      await listPage(groupsOf(services, actor.silo_id), page, userView),
  ),
  implement('session_me_groups', async ({ services, actor, page }) => {
    const groups = groupsOf(services, actor.silo_id).where('id', 'in', (from) =>
      from
        .selectFrom('silo_group_membership')
        .select('silo_group_id')
        .where('silo_user_id', '=', actor.user_id),
    )
    return await listPage(groups, page, userView)
  }),
  implement('silo_users_list', async (call) => {
    const silo = await siloOf(call, 'read')
    return await listPage(usersOf(call.services, silo.id), call.page, userView)
  }),
  implement('silo_user_view', async (call) =>
    userView(await userOf(call, await siloOf(call, 'read'))),
  ),

  implement('local_idp_user_create', async (call) => {
    const { services, body } = call
    const silo = await localSilo(call)
    const hash = await hashOf(services, body.password)
    const row = {
      id: services.random.uuid(),
      silo_id: silo.id,
      external_id: body.external_id,
      time_created_ms: services.clock.now(),
      time_deleted_ms: null,
    }
    try {
      await transact(services, async (store) => {
        await store.insertInto('silo_user').values(row).execute()
        await setHash(store, row, hash)
      })
    } catch (error) {
      throw isConflict(error) ? alreadyExists('silo-user', body.external_id) : error
    }
    return userView(row)
  }),
  implement('local_idp_user_delete', async (call) => {
    const { services } = call
    const { id } = await userOf(call, await localSilo(call))
    await transact(services, async (store) => {
      await deleteUser(store, id, services.clock.now())
    })
    return null
  }),
  implement('local_idp_user_set_password', async (call) => {
    const { services, body } = call
    const user = await userOf(call, await localSilo(call))
    const hash = await hashOf(services, body)
    const time_created_ms = services.clock.now()
    await transact(services, async (store) => {
      await setHash(store, { id: user.id, time_created_ms }, hash)
    })
    return null
  }),

  implement('login_local', async (call) => {
    const { services, body, scheme } = call
    const user = await localUser(call, body.username)
    const hash = user === null ? null : await hashIn(services.store, user.id)
    const isRight = await services.passwords.matches(hash, body.password)
    if (!isRight || user === null) throw unauthenticated()
    const token = await startSession(services, user.id)
    const cookie = sessionCookie(services, token, scheme)
    return new Reply(303, { location: '/', 'set-cookie': cookie })
  }),
]

async function localUser({ services, path }: AnyCall, username: string): Promise<User | null> {
  const name = path('silo_name')
  const silo = await services.store
    .selectFrom('silo')
    .selectAll()
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (silo === undefined) throw notFound('silo', name)
  if (silo.identity_mode !== 'local_only') throw notFound('identity-provider', 'local')
  const users = usersOf(services, silo.id).where('external_id', '=', username)
  return (await users.executeTakeFirst()) ?? null
}

async function hashOf(
  services: Services,
  given: Static<typeof userPassword>,
): Promise<string | null> {
  return given.user_password_value === 'password'
    ? await services.passwords.hash(services.random, given.details)
    : null
}

async function hashIn(store: Store, silo_user_id: string): Promise<string | null> {
  const row = await store
    .selectFrom('silo_user_password')
    .select('hash')
    .where('silo_user_id', '=', silo_user_id)
    .executeTakeFirst()
  return row?.hash ?? null
}

/** No hash is a password that nobody knows. */
async function setHash(
  store: StoreTransaction,
  user: { readonly id: string; readonly time_created_ms: number },
  hash: string | null,
): Promise<void> {
  await store.deleteFrom('silo_user_password').where('silo_user_id', '=', user.id).execute()
  if (hash === null) return
  const { id: silo_user_id, time_created_ms } = user
  await store
    .insertInto('silo_user_password')
    .values({ silo_user_id, hash, time_created_ms })
    .execute()
}
