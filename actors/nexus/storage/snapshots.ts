/** Snapshots: what a disk held at one moment, kept beside it on its sled. */
import { implement, type UserCall } from '../api/route.ts'
import { powers, type Power } from '../access/authz.ts'
import { newRow } from '../context.ts'
import { diskNamed } from './disks.ts'
import { notFound } from '#actors/http/errors.ts'
import { projectOf } from '../lookup.ts'
import { identityView } from '../names.ts'
import { snapshotCreateSaga } from '../sagas/snapshot-create.ts'
import { snapshotDeleteSaga } from '../sagas/snapshot-delete.ts'
import { snapshotById, type Snapshot } from './sources.ts'
import { listPage } from '../store/page.ts'
import type { Store } from '../store/schema.ts'

const view = (row: Snapshot) => ({
  ...identityView(row),
  project_id: row.project_id,
  disk_id: row.disk_id,
  state: row.state,
  size: row.size_bytes,
})

async function snapshotNamed(store: Store, project_id: string, name: string): Promise<Snapshot> {
  const row = await store
    .selectFrom('snapshot')
    .selectAll()
    .where('project_id', '=', project_id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('snapshot', name)
  return row
}

async function snapshotOf(call: UserCall, needed: Power): Promise<Snapshot> {
  const project = await projectOf(call, needed)
  return await snapshotNamed(call.services.store, project.id, call.path('snapshot_name'))
}

export const snapshotRoutes = [
  implement('snapshot_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('snapshot')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      view,
    )
  }),

  implement('snapshot_create', async (call) => {
    const { services, body } = call
    const project = await projectOf(call, powers.collaborator)
    const disk = await diskNamed(services.store, project.id, body.disk)
    const { id: disk_id, sled_id, size_bytes, block_size } = disk
    const snapshot: Snapshot = {
      ...newRow(services, body),
      ...{ project_id: project.id, disk_id, sled_id, size_bytes, block_size },
      state: 'creating',
    }
    const params = { snapshot, disk_name: disk.name }
    await services.sagas.run(snapshotCreateSaga, params, services.work?.span)
    return view(await snapshotNamed(services.store, project.id, body.name))
  }),

  implement('snapshot_view', async (call) => view(await snapshotOf(call, powers.viewer))),

  implement('snapshot_view_by_id', async (call) => view(await snapshotById(call, call.path('id')))),

  implement('snapshot_delete', async (call) => {
    const { id, sled_id, state } = await snapshotOf(call, powers.collaborator)
    const { sagas, work } = call.services
    await sagas.run(snapshotDeleteSaga, { id, sled_id, state }, work?.span)
    return null
  }),
]
