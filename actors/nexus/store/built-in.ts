/**
 * The rows that every store has: the default silo, the development users and what they may do, the rack
 * and the pool of its services.
 */
import { wellKnown } from '#config/addressing.ts'
import type { Store } from './schema.ts'

export const builtIn = {
  fleet: '001de000-1334-4000-8000-000000000000',
  default_silo: '001de000-5110-4000-8000-000000000000',
} as const

/** Adds what is missing of them. */
export async function plant(store: Store, now_ms: number): Promise<void> {
  const moment = { time_created_ms: now_ms, time_modified_ms: now_ms, time_deleted_ms: null }
  const silo_id = builtIn.default_silo
  await store
    .insertInto('silo')
    .values({
      id: silo_id,
      name: 'default-silo',
      description: 'default silo',
      ...moment,
      discoverable: false,
      identity_mode: 'local_only',
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  for (const [external_id, id] of [
    ['privileged', wellKnown.user_privileged],
    ['unprivileged', wellKnown.user_unprivileged],
  ] as const) {
    await store
      .insertInto('silo_user')
      .values({ id, silo_id, external_id, time_created_ms: now_ms, time_deleted_ms: null })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
  for (const [resource_type, resource_id] of [
    ['fleet', builtIn.fleet],
    ['silo', builtIn.default_silo],
  ] as const) {
    const identity_id = wellKnown.user_privileged
    await store
      .insertInto('role_assignment')
      .values({
        resource_type,
        resource_id,
        role_name: 'admin',
        identity_id,
        identity_type: 'silo_user',
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}

/** Adds the rack that the store is of. Throws when it is another's. */
export async function plantRack(
  store: Store,
  { rack_id, now_ms }: { readonly rack_id: string; readonly now_ms: number },
): Promise<void> {
  const moment = { time_created_ms: now_ms, time_modified_ms: now_ms }
  await store
    .insertInto('rack')
    .values({ id: rack_id, ...moment })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const racks = await store.selectFrom('rack').select('id').orderBy('id').limit(2).execute()
  const other = racks.find(({ id }) => id !== rack_id)
  if (other !== undefined) {
    throw new Error(`the store is that of rack ${other.id}: give this rack a database of its own`)
  }
  const pool = {
    description: 'IP Pool for Oxide Services',
    ...moment,
    time_deleted_ms: null,
    project_id: null,
    rack_id,
  }
  // Its id is the rack's, so that it is planted once. Users of before may have a pool of its name.
  for (const name of ['oxide-service-pool', `oxide-service-pool-${rack_id}`]) {
    await store
      .insertInto('ip_pool')
      .values({ id: rack_id, name, ...pool })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}
