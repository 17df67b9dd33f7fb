/** Racks and sleds, and the sagas that work on them, as the fleet's viewers see them. */
import type { Selectable } from 'kysely'
import { byId, pageQuery } from './api/pagination.ts'
import { route } from './api/route.ts'
import { demandFleet, powers } from './authz.ts'
import { notFoundById } from './errors.ts'
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

function sagaView(row: Selectable<Tables['saga']>) {
  if (row.state === 'failed') {
    const info: unknown = JSON.parse(row.error ?? 'null')
    const error_info = { error: 'action_failed', source_error: info }
    const state = { state: 'failed', error_node_name: row.error_node_name ?? '', error_info }
    return { id: row.id, state }
  }
  return { id: row.id, state: { state: row.state === 'succeeded' ? 'succeeded' : 'running' } }
}

export const hardwareRoutes = [
  route('GET /system/hardware/racks', {
    query: pageQuery,
    handle: async ({ services, actor, query }) => {
      await demandFleet(services, actor, powers.viewer)
      return await listPage(services.store.selectFrom('rack').selectAll(), query, byId, rackView)
    },
  }),
  route('GET /system/hardware/racks/{rack_id}', {
    handle: async ({ services, actor, path }) => {
      await demandFleet(services, actor, powers.viewer)
      const id = path('rack_id')
      const row = await services.store
        .selectFrom('rack')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (row === undefined) throw notFoundById('rack', id)
      return rackView(row)
    },
  }),
  route('GET /system/hardware/sleds', {
    query: pageQuery,
    handle: async ({ services, actor, query }) => {
      await demandFleet(services, actor, powers.viewer)
      return await listPage(services.store.selectFrom('sled').selectAll(), query, byId, sledView)
    },
  }),
  route('GET /system/hardware/sleds/{sled_id}', {
    handle: async ({ services, actor, path }) => {
      await demandFleet(services, actor, powers.viewer)
      const id = path('sled_id')
      const row = await services.store
        .selectFrom('sled')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (row === undefined) throw notFoundById('sled', id)
      return sledView(row)
    },
  }),
  route('GET /system/sagas', {
    query: pageQuery,
    handle: async ({ services, actor, query }) => {
      await demandFleet(services, actor, powers.viewer)
      return await listPage(services.store.selectFrom('saga').selectAll(), query, byId, sagaView)
    },
  }),
  route('GET /system/sagas/{saga_id}', {
    handle: async ({ services, actor, path }) => {
      await demandFleet(services, actor, powers.viewer)
      const id = path('saga_id')
      const row = await services.store
        .selectFrom('saga')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (row === undefined) throw notFoundById('saga-dbg', id)
      return sagaView(row)
    },
  }),
]
