/** Racks and sleds, and the sagas that work on them, as the fleet's viewers see them. */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { saga } from './api/contract/system.ts'
import { implement } from './api/route.ts'
import { demandFleet, demandOfFleet, powers } from './access/authz.ts'
import { notFoundById } from '#actors/http/errors.ts'
import { timestamp } from './names.ts'
import { listPage } from './store/page.ts'
import type { Tables } from './store/schema.ts'

const times = (row: { time_created_ms: number; time_modified_ms: number }) => ({
  time_created: timestamp(row.time_created_ms),
  time_modified: timestamp(row.time_modified_ms),
})
const rackView = (row: Selectable<Tables['rack']>) => ({ id: row.id, ...times(row) })
const sledView = (row: Selectable<Tables['sled']>) => ({
  id: row.id,
  ...times(row),
  service_address: row.ip.includes(':') ? `[${row.ip}]:${row.port}` : `${row.ip}:${row.port}`,
})

function sagaView(row: Selectable<Tables['saga']>): Static<typeof saga> {
  if (row.state === 'failed') {
    const info: unknown = JSON.parse(row.error ?? 'null')
    const error_info = { error: 'action_failed' as const, source_error: info }
    const error_node_name = row.error_node_name ?? ''
    return { id: row.id, state: { state: 'failed', error_node_name, error_info } }
  }
  return { id: row.id, state: { state: row.state === 'succeeded' ? 'succeeded' : 'running' } }
}

export const hardwareRoutes = [
  implement('rack_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    return await listPage(services.store.selectFrom('rack').selectAll(), page, rackView)
  }),
  implement('rack_view', async ({ services, actor, path }) => {
    const id = path('rack_id')
    const absent = notFoundById('rack', id)
    await demandOfFleet(services, actor, { needed: powers.viewer, absent })
    const row = await services.store
      .selectFrom('rack')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) throw absent
    return rackView(row)
  }),
  implement('sled_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    return await listPage(services.store.selectFrom('sled').selectAll(), page, sledView)
  }),
  implement('sled_view', async ({ services, actor, path }) => {
    const id = path('sled_id')
    const absent = notFoundById('sled', id)
    await demandOfFleet(services, actor, { needed: powers.viewer, absent })
    const row = await services.store
      .selectFrom('sled')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) throw absent
    return sledView(row)
  }),
  implement('saga_list', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    return await listPage(services.store.selectFrom('saga').selectAll(), page, sagaView)
  }),
  implement('saga_view', async ({ services, actor, path }) => {
    await demandFleet(services, actor, powers.viewer)
    const id = path('saga_id')
    const row = await services.store
      .selectFrom('saga')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('saga-dbg', id)
    return sagaView(row)
  }),
]
