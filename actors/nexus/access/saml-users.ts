/** Users and groups that are made when somebody logs in whom a silo's provider vouches for. */
import type { Services } from '../context.ts'
import type { StoreTransaction } from '../store/schema.ts'

export interface Subject {
  readonly external_id: string
  /** All groups that the user is in, by the provider's names. */
  readonly groups: readonly string[]
}
type Member = Subject & { readonly silo_id: string }

/** The user's id. Who is new is made, as are their groups; they are in the groups named and no other. */
export async function joinSilo(
  services: Services,
  store: StoreTransaction,
  { silo_id, external_id, groups }: Member,
): Promise<string> {
  const ensure = async (table: 'silo_user' | 'silo_group', name: string) =>
    await ensureNamed(services, store, { table, silo_id, external_id: name })
  const silo_user_id = await ensure('silo_user', external_id)
  await store.deleteFrom('silo_group_membership').where('silo_user_id', '=', silo_user_id).execute()
  for (const name of groups) {
    const silo_group_id = await ensure('silo_group', name)
    await store
      .insertInto('silo_group_membership')
      .values({ silo_user_id, silo_group_id })
      .execute()
  }
  return silo_user_id
}

interface Wanted {
  readonly table: 'silo_user' | 'silo_group'
  readonly silo_id: string
  readonly external_id: string
}

async function ensureNamed(
  services: Services,
  store: StoreTransaction,
  { table, silo_id, external_id }: Wanted,
): Promise<string> {
  const found = await store
    .selectFrom(table)
    .select('id')
    .where('silo_id', '=', silo_id)
    .where('external_id', '=', external_id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (found !== undefined) return found.id
  const id = services.random.uuid()
  const row = { id, silo_id, external_id, time_created_ms: services.clock.now() }
  await store
    .insertInto(table)
    .values({ ...row, time_deleted_ms: null })
    .execute()
  return id
}
