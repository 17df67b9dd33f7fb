/** The operations on instances. */
import { implement, type UserCall } from '../api/route.ts'
import { attachDisk, detachDisk } from './attach.ts'
import { powers, type Power } from '../access/authz.ts'
import { diskView } from '../storage/disks.ts'
import { invalidRequest, notFound, notFoundById } from '#actors/http/errors.ts'
import { planInstance } from './instance-create.ts'
import { instanceById, instanceView, recorded, type Instance } from './instances.ts'
import {
  demandProject,
  projectIdOf,
  projectNames,
  projectOf,
  type ProjectNames,
} from '../lookup.ts'
import { farDisksOf } from '../sagas/disks-brought.ts'
import { instanceCreateSaga } from '../sagas/instance-create.ts'
import { instanceDeleteSaga } from '../sagas/instance-delete.ts'
import { demandRunning, instanceMigrateSaga } from '../sagas/instance-migrate.ts'
import { instanceRebootSaga, instanceStartSaga, instanceStopSaga } from '../sagas/instance-state.ts'
import { listPage } from '../store/page.ts'
import { prepare } from '../store/prepare.ts'
import type { Store } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

const instanceNamed = prepare(
  (store: Store, given: { readonly [K in keyof ProjectNames | 'name']: string }) =>
    store
      .selectFrom('instance')
      .selectAll()
      .where('project_id', '=', projectIdOf(store, given))
      .where('name', '=', given.name)
      .where('time_deleted_ms', 'is', null),
)

export async function instanceOf(call: UserCall, needed: Power): Promise<Instance> {
  const name = call.path('instance_name')
  const [, [row]] = await Promise.all([
    projectOf(call, needed),
    instanceNamed(call.services.store, { ...projectNames(call), name }),
  ])
  if (row === undefined) throw notFound('instance', name)
  return row
}

const stateSagas = {
  running: instanceStartSaga,
  stopped: instanceStopSaga,
  reboot: instanceRebootSaga,
} as const

async function changeState(call: UserCall, target: 'running' | 'stopped' | 'reboot') {
  const row = await instanceOf(call, powers.collaborator)
  if (['migrating', 'repairing', 'failed', 'destroyed'].includes(row.run_state)) {
    throw invalidRequest(`instance state cannot be changed from state "${row.run_state}"`)
  }
  const { services } = call
  const far = target === 'running' ? await farDisksOf(services.store, row) : []
  const params = { instance_id: row.id, has_far_disks: far.length > 0 }
  await services.sagas.run(stateSagas[target], params, services.work?.span)
  return instanceView(await instanceById(services, row.id))
}

export const instanceRoutes = [
  implement('instance_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('instance')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      instanceView,
    )
  }),

  implement('instance_create', async (call) => {
    const { services, actor, body } = call
    const project = await projectOf(call, powers.collaborator)
    const params = await planInstance(services, actor, project, body)
    await services.sagas.run(instanceCreateSaga, params, services.work?.span)
    return instanceView(await instanceById(services, params.instance.id))
  }),

  implement('instance_view', async (call) => instanceView(await instanceOf(call, powers.viewer))),

  implement('instance_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('instance')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('instance', id)
    const what = { type: 'instance', id, project_id: row.project_id }
    await demandProject(call, what, powers.viewer)
    return instanceView(row)
  }),

  implement('instance_delete', async (call) => {
    const { services } = call
    const { id, name } = await instanceOf(call, powers.collaborator)
    await services.sagas.run(instanceDeleteSaga, { id, name }, services.work?.span)
    return null
  }),

  implement('instance_start', async (call) => await changeState(call, 'running')),
  implement('instance_stop', async (call) => await changeState(call, 'stopped')),
  implement('instance_reboot', async (call) => await changeState(call, 'reboot')),

  implement('instance_migrate', async (call) => {
    const { services, body } = call
    const row = await instanceOf(call, powers.collaborator)
    const { dst_sled_id } = body
    const sled = await services.store
      .selectFrom('sled')
      .select('id')
      .where('id', '=', dst_sled_id)
      .executeTakeFirst()
    if (sled === undefined) throw notFoundById('sled', dst_sled_id)
    demandRunning(row)
    if (row.sled_id === dst_sled_id) {
      throw invalidRequest(`instance "${row.name}" is on sled ${dst_sled_id} already`)
    }
    const params = {
      instance_id: row.id,
      src_sled_id: row.sled_id,
      src_propolis_id: row.propolis_id,
      dst_sled_id,
    }
    await services.sagas.run(instanceMigrateSaga, params, services.work?.span)
    return instanceView(await instanceById(services, row.id))
  }),

  implement('instance_disk_list', async (call) => {
    const row = await instanceOf(call, powers.viewer)
    return await listPage(
      call.services.store.selectFrom('disk').selectAll().where('attach_instance_id', '=', row.id),
      call.page,
      diskView,
    )
  }),
  implement('instance_disk_attach', async (call) => {
    const row = await instanceOf(call, powers.collaborator)
    return diskView(
      await transact(
        call.services,
        async (store) => await attachDisk(store, await recorded(store, row.id), call.body.name),
      ),
    )
  }),
  implement('instance_disk_detach', async (call) => {
    const row = await instanceOf(call, powers.collaborator)
    return diskView(
      await transact(
        call.services,
        async (store) => await detachDisk(store, await recorded(store, row.id), call.body.name),
      ),
    )
  }),

  implement('instance_external_ip_list', async (call) => {
    const row = await instanceOf(call, powers.viewer)
    const items = await call.services.store
      .selectFrom('external_ip')
      .select(['ip', 'kind'])
      .where('instance_id', '=', row.id)
      .where('kind', '!=', 'snat')
      .$narrowType<{ kind: 'ephemeral' }>()
      .where('time_deleted_ms', 'is', null)
      .execute()
    return { items, next_page: null }
  }),
]
