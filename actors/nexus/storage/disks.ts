/** Disks: their rules, their views, and the operations on them outside of instances. */
import assert from 'node:assert/strict'
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { diskState } from '../api/contract/disks.ts'
import { implement, type UserCall } from '../api/route.ts'
import { powers, type Power } from '../access/authz.ts'
import type { Services } from '../context.ts'
import { planDisk } from './disk-plan.ts'
import { notFound, notFoundById, unavailable } from '#actors/http/errors.ts'
import { demandProject, projectOf } from '../lookup.ts'
import { identityView } from '../names.ts'
import { diskCreateSaga } from '../sagas/disk-create.ts'
import { diskDeleteSaga } from '../sagas/disk-delete.ts'
import { listPage } from '../store/page.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'

export type Disk = Selectable<Tables['disk']>

export const diskView = (row: Disk) => ({
  ...identityView(row),
  project_id: row.project_id,
  snapshot_id: row.snapshot_id,
  image_id: row.image_id,
  size: row.size_bytes,
  block_size: row.block_size,
  state: stateView(row),
  device_path: `/mnt/${row.name}`,
})

function stateView({ state, attach_instance_id }: Disk): Static<typeof diskState> {
  switch (state) {
    case 'attaching':
    case 'attached':
    case 'detaching':
      assert(attach_instance_id !== null, `a disk is ${state} to no instance`)
      return { state, instance: attach_instance_id }
    case 'creating':
    case 'detached':
    case 'destroyed':
    case 'faulted':
      return { state }
  }
}

/** A live disk of a project, by name; throws 404. */
export async function diskNamed(
  store: Store | StoreTransaction,
  project_id: string,
  name: string,
): Promise<Disk> {
  const row = await store
    .selectFrom('disk')
    .selectAll()
    .where('project_id', '=', project_id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('disk', name)
  return row
}

/** The disk of the path's `{disk_name}`. */
export async function diskOf(call: UserCall, needed: Power): Promise<Disk> {
  const project = await projectOf(call, needed)
  return await diskNamed(call.services.store, project.id, call.path('disk_name'))
}

/** A sled for a new volume or guest: any of those that are connected. */
export function placeOnSled({ sleds, random }: Services): string {
  const { connected } = sleds
  const sled_id = connected[Math.floor(random.next() * connected.length)]
  if (sled_id === undefined) throw unavailable()
  return sled_id
}

export const diskRoutes = [
  implement('disk_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('disk')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      diskView,
    )
  }),

  implement('disk_create', async (call) => {
    const { services, body } = call
    const project = await projectOf(call, powers.collaborator)
    const plan = await planDisk(call, body)
    const disk_id = services.random.uuid()
    const params = {
      disk_id,
      project_id: project.id,
      sled_id: plan.sled_id ?? placeOnSled(services),
      plan,
      now_ms: services.clock.now(),
    }
    await services.sagas.run(diskCreateSaga, params, services.work?.span)
    const row = await diskNamed(services.store, project.id, plan.name)
    // Omicron answers with the record as it was made, before it was finished.
    return diskView({ ...row, state: 'creating' })
  }),

  implement('disk_view', async (call) => diskView(await diskOf(call, powers.viewer))),

  implement('disk_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('disk')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('disk', id)
    await demandProject(call, { type: 'disk', id, project_id: row.project_id }, powers.viewer)
    return diskView(row)
  }),

  implement('disk_delete', async (call) => {
    const { services } = call
    const { id, name, sled_id, state } = await diskOf(call, powers.collaborator)
    const params = { id, name, sled_id, state }
    await services.sagas.run(diskDeleteSaga, params, services.work?.span)
    return null
  }),
]
