/** Sleds and what they have: each report stands for the one before it. */
import { readSocketAddress } from '#actors/http/words.ts'
import { badRequest, notFoundById, unavailable } from '#actors/http/errors.ts'
import type { Store, StoreTransaction } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { implementInternal as implement, type Endpoint } from './route.ts'

/** An address that the contract has checked. */
export function endpointOf(text: string): Endpoint {
  const read = readSocketAddress(text)
  if (read === null) throw badRequest('invalid socket address syntax')
  return read
}

async function demand(
  store: Store | StoreTransaction,
  table: 'rack' | 'sled' | 'zpool',
  id: string,
): Promise<void> {
  const row = await store.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst()
  if (row === undefined) throw notFoundById(table, id)
}

export const hardwareReports = [
  implement('sled_agent_put', async ({ services, path, body }) => {
    const { store, nexus, clock } = services
    const id = path('sled_id')
    const known = await store
      .selectFrom('sled')
      .select('platform')
      .where('id', '=', id)
      .executeTakeFirst()
    const { ip: address, port } = endpointOf(body.sa_address)
    const platform = (['linux', 'sim'] as const).find((one) => one === known?.platform) ?? 'illumos'
    const told = await nexus.call(
      'sled_up',
      { sled_id: id, address, port, platform },
      { timeout_ms: report_ms_max },
    )
    if (!told.ok) throw told.error === 'unknown_sled' ? notFoundById('sled', id) : unavailable()
    const change = { role: body.role, time_modified_ms: clock.now() }
    await store.updateTable('sled').set(change).where('id', '=', id).execute()
    return null
  }),
  implement('rack_initialization_complete', async ({ services, path, body }) => {
    const id = path('rack_id')
    const time_modified_ms = services.clock.now()
    await transact(services, async (store) => {
      await demand(store, 'rack', id)
      for (const { service_id, sled_id, address: ip, kind } of body) {
        await demand(store, 'sled', sled_id)
        const seen = { sled_id, ip, kind, time_modified_ms }
        await store
          .insertInto('service')
          .values({ id: service_id, time_created_ms: time_modified_ms, ...seen })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
          .execute()
      }
      const change = { initialized: true, time_modified_ms }
      await store.updateTable('rack').set(change).where('id', '=', id).execute()
    })
    return null
  }),
  implement('zpool_put', async ({ services, path, body }) => {
    const sled_id = path('sled_id')
    const now_ms = services.clock.now()
    await transact(services, async (store) => {
      await demand(store, 'sled', sled_id)
      const seen = { sled_id, size_bytes: body.size, time_modified_ms: now_ms }
      await store
        .insertInto('zpool')
        .values({ id: path('zpool_id'), time_created_ms: now_ms, ...seen })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
        .execute()
    })
    return {}
  }),
  implement('dataset_put', async ({ services, path, body }) => {
    const zpool_id = path('zpool_id')
    const now_ms = services.clock.now()
    await transact(services, async (store) => {
      await demand(store, 'zpool', zpool_id)
      const { ip, port } = endpointOf(body.address)
      const seen = { zpool_id, ip, port, kind: body.kind, time_modified_ms: now_ms }
      await store
        .insertInto('dataset')
        .values({ id: path('dataset_id'), time_created_ms: now_ms, ...seen })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
        .execute()
    })
    return { reservation: null, quota: null }
  }),
]

/** How long this Nexus' own actor may take over a report. */
export const report_ms_max = 15_000
