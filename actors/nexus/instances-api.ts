/** The operations on instances. */
import { Type } from 'typebox'
import { byName, pageQuery } from './api/pagination.ts'
import { route, type Call } from './api/route.ts'
import { attachDisk, detachDisk } from './attach.ts'
import { powers, type Power } from './authz.ts'
import { diskView } from './disks.ts'
import { invalidRequest, notFound, notFoundById } from './errors.ts'
import { instanceCreate, planInstance } from './instance-create.ts'
import {
  deleteInstance,
  instanceById,
  instanceView,
  nicView,
  refreshNeighbours,
  requestState,
  type Instance,
} from './instances.ts'
import { demandProject, projectOf } from './lookup.ts'
import { name } from './names.ts'
import { instanceCreateSaga } from './sagas/instance-create.ts'
import { listPage } from './store/page.ts'
import { transact } from './store/transact.ts'

export const instancesPath = '/organizations/{organization_name}/projects/{project_name}/instances'
const one = `${instancesPath}/{instance_name}`
type Located = Pick<Call<unknown, unknown>, 'services' | 'actor' | 'path'>

export async function instanceOf(call: Located, needed: Power): Promise<Instance> {
  const project = await projectOf(call, needed)
  const wanted = call.path('instance_name')
  const row = await call.services.store
    .selectFrom('instance')
    .selectAll()
    .where('project_id', '=', project.id)
    .where('name', '=', wanted)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('instance', wanted)
  return row
}

async function changeState(call: Located, target: 'running' | 'stopped' | 'reboot') {
  const row = await instanceOf(call, powers.collaborator)
  if (['migrating', 'repairing', 'failed', 'destroyed'].includes(row.run_state)) {
    throw invalidRequest(`instance state cannot be changed from state "${row.run_state}"`)
  }
  const changed = await requestState(call.services, row, target)
  if (target === 'running') await refreshNeighbours(call.services, row.id)
  return instanceView(changed)
}

export const instanceRoutes = [
  route(`GET ${instancesPath}`, {
    query: pageQuery,
    handle: async (call) => {
      const project = await projectOf(call, powers.viewer)
      return await listPage(
        call.services.store
          .selectFrom('instance')
          .selectAll()
          .where('project_id', '=', project.id)
          .where('time_deleted_ms', 'is', null),
        call.query,
        byName,
        instanceView,
      )
    },
  }),

  route(`POST ${instancesPath}`, {
    body: instanceCreate,
    handle: async (call) => {
      const { services, actor, body } = call
      const project = await projectOf(call, powers.collaborator)
      const params = await planInstance(services, actor, project, body)
      await services.sagas.run(instanceCreateSaga, params, services.work?.span)
      return instanceView(await instanceById(services, params.instance.id))
    },
  }),

  route(`GET ${one}`, {
    handle: async (call) => instanceView(await instanceOf(call, powers.viewer)),
  }),

  route('GET /by-id/instances/{id}', {
    handle: async (call) => {
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
    },
  }),

  route(`DELETE ${one}`, {
    handle: async (call) => {
      await deleteInstance(call.services, await instanceOf(call, powers.collaborator))
      return null
    },
  }),

  route(`POST ${one}/start`, {
    status: 202,
    handle: async (call) => await changeState(call, 'running'),
  }),
  route(`POST ${one}/stop`, {
    status: 202,
    handle: async (call) => await changeState(call, 'stopped'),
  }),
  route(`POST ${one}/reboot`, {
    status: 202,
    handle: async (call) => await changeState(call, 'reboot'),
  }),

  route(`GET ${one}/disks`, {
    query: pageQuery,
    handle: async (call) => {
      const row = await instanceOf(call, powers.viewer)
      return await listPage(
        call.services.store.selectFrom('disk').selectAll().where('attach_instance_id', '=', row.id),
        call.query,
        byName,
        diskView,
      )
    },
  }),
  route(`POST ${one}/disks/attach`, {
    status: 202,
    body: Type.Object({ name }),
    handle: async (call) => {
      const row = await instanceOf(call, powers.collaborator)
      return diskView(
        await transact(
          call.services,
          async (store) => await attachDisk(store, row, call.body.name),
        ),
      )
    },
  }),
  route(`POST ${one}/disks/detach`, {
    status: 202,
    body: Type.Object({ name }),
    handle: async (call) => {
      const row = await instanceOf(call, powers.collaborator)
      return diskView(
        await transact(
          call.services,
          async (store) => await detachDisk(store, row, call.body.name),
        ),
      )
    },
  }),

  route(`GET ${one}/network-interfaces`, {
    query: pageQuery,
    handle: async (call) => {
      const row = await instanceOf(call, powers.viewer)
      return await listPage(
        call.services.store
          .selectFrom('network_interface')
          .selectAll()
          .where('instance_id', '=', row.id)
          .where('time_deleted_ms', 'is', null),
        call.query,
        byName,
        nicView,
      )
    },
  }),
  route(`GET ${one}/network-interfaces/{interface_name}`, {
    handle: async (call) => {
      const row = await instanceOf(call, powers.viewer)
      const wanted = call.path('interface_name')
      const nic = await call.services.store
        .selectFrom('network_interface')
        .selectAll()
        .where('instance_id', '=', row.id)
        .where('name', '=', wanted)
        .where('time_deleted_ms', 'is', null)
        .executeTakeFirst()
      if (nic === undefined) throw notFound('network-interface', wanted)
      return nicView(nic)
    },
  }),

  route(`GET ${one}/external-ips`, {
    handle: async (call) => {
      const row = await instanceOf(call, powers.viewer)
      const items = await call.services.store
        .selectFrom('external_ip')
        .select(['ip', 'kind'])
        .where('instance_id', '=', row.id)
        .where('kind', '!=', 'snat')
        .where('time_deleted_ms', 'is', null)
        .execute()
      return { items, next_page: null }
    },
  }),
]
