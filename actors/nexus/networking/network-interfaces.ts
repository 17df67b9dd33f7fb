/**
 * The operations on instances' network interfaces. A guest has the ports that it was started with,
 * so they change only while it does not run; the next start takes up what there is then.
 */
import { limits } from '#config/limits.ts'
import { implement, type UserCall } from '../api/route.ts'
import { powers } from '../access/authz.ts'
import type { Services } from '../context.ts'
import {
  alreadyExists,
  invalidRequest,
  notFound,
  notFoundById,
  unavailable,
} from '#actors/http/errors.ts'
import type { Instance } from '../compute/instances.ts'
import { instanceOf } from '../compute/instances-api.ts'
import { changesOf } from '../names.ts'
import { nicsOf, nicView, placeNic, type Nic } from './nics.ts'
import { owe } from '../propagation.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'
import type { Store, StoreTransaction } from '../store/schema.ts'
import { lookThenTransact, transact } from '../store/transact.ts'
import { demandVpc } from './vpcs.ts'

export const networkInterfaceRoutes = [
  implement('instance_network_interface_list', async (call) => {
    const row = await instanceOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('network_interface')
        .selectAll()
        .where('instance_id', '=', row.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      nicView,
    )
  }),

  implement('instance_network_interface_view', async (call) => {
    const instance = await instanceOf(call, powers.viewer)
    return nicView(await nicOf(call, call.services.store, instance))
  }),

  implement('instance_network_interface_view_by_id', async (call) => {
    const id = call.path('id')
    const row = await call.services.store
      .selectFrom('network_interface')
      .selectAll()
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFoundById('network-interface', id)
    await demandVpc(call, { type: 'network-interface', id, vpc_id: row.vpc_id }, powers.viewer)
    return nicView(row)
  }),

  implement('instance_network_interface_create', async (call) => {
    const { services, body } = call
    const instance = await instanceOf(call, powers.collaborator)
    const given = { ...body, id: services.random.uuid(), ip: body.ip ?? null }
    const owner = { instance_id: instance.id, project_id: instance.project_id }
    const nic = await lookThenTransact(services, async (tries) => {
      const put = await placeNic({ services, store: services.store, tries }, owner, given)
      return async (store) => {
        await demandAtRest(store, instance, {
          states: ['stopped'],
          or: 'Instance must be stopped to attach a new network interface',
        })
        const made = await put(store, await nicsOf(store, { instance_id: instance.id }))
        await owe(store, { kind: 'firewall', id: made.vpc_id })
        return made
      }
    })
    services.publisher.sendSoon(services, [{ kind: 'firewall', id: nic.vpc_id }])
    return nicView(nic)
  }),

  implement('instance_network_interface_update', async (call) => {
    const { services, body } = call
    const instance = await instanceOf(call, powers.collaborator)
    const isPromoted = body.primary ?? false
    const changes = changesOf(services, body)
    return await transact(services, async (store) => {
      const nic = await nicOf(call, store, instance)
      await demandAtRest(store, instance, {
        states: ['stopped'],
        or: 'Instance must be stopped to update its network interfaces',
      })
      if (isPromoted && !nic.is_primary) await demoteAll(store, nic, changes.time_modified_ms)
      const row = await store
        .updateTable('network_interface')
        .set({ ...changes, is_primary: nic.is_primary || isPromoted })
        .where('id', '=', nic.id)
        .returningAll()
        .executeTakeFirstOrThrow()
      return nicView(row)
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('network-interface', body.name ?? '') : error
    })
  }),

  implement('instance_network_interface_delete', async (call) => {
    const { services } = call
    const instance = await instanceOf(call, powers.collaborator)
    if (instance.run_state === 'failed') {
      const { id } = await nicOf(call, services.store, instance)
      await removePort(services, instance, id)
    }
    const gone = await transact(services, async (store) => {
      const nic = await nicOf(call, store, instance)
      await demandAtRest(store, instance, {
        states: ['stopped', 'failed'],
        or: 'Instance must be stopped or failed to detach a network interface',
      })
      if (nic.is_primary) await refuseIfOthers(store, nic)
      await store
        .updateTable('network_interface')
        .set({ time_deleted_ms: services.clock.now() })
        .where('id', '=', nic.id)
        .execute()
      await owe(store, { kind: 'firewall', id: nic.vpc_id })
      return nic
    })
    services.publisher.sendSoon(services, [{ kind: 'firewall', id: gone.vpc_id }])
    return null
  }),
]

async function nicOf(
  call: UserCall,
  store: Store | StoreTransaction,
  instance: Instance,
): Promise<Nic> {
  const name = call.path('interface_name')
  const row = await store
    .selectFrom('network_interface')
    .selectAll()
    .where('instance_id', '=', instance.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('network-interface', name)
  return row
}

/**
 * Sees that an instance does not run and is not asked to, and holds it there until the transaction
 * ends: it writes what it has seen, so that a start that comes at the same time waits, and then
 * reads the interfaces that this transaction leaves.
 */
async function demandAtRest(
  store: StoreTransaction,
  { id }: Instance,
  wanted: { readonly states: ReadonlyArray<Instance['run_state']>; readonly or: string },
): Promise<void> {
  const { numUpdatedRows } = await store
    .updateTable('instance')
    .set({ pending_target: null })
    .where('id', '=', id)
    .where('run_state', 'in', wanted.states)
    .where('pending_target', 'is', null)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (numUpdatedRows === 0n) throw invalidRequest(wanted.or)
}

/**
 * Sees that the sled has let go of a port. What has stopped has none, but what has failed may have
 * failed to let go of it, and then its address would be given to somebody else too soon. Nothing
 * else needs the port: a failed instance does not start again.
 */
async function removePort(
  services: Services,
  { sled_id }: Instance,
  nic_id: string,
): Promise<void> {
  const removed = await services.sleds
    .vnic(sled_id, nic_id)
    .call('remove', null, { timeout_ms: limits.zone_boot_ms_max })
  if (removed.ok) return
  services.log.error('a port could not be removed', { port: nic_id, detail: removed.detail })
  throw unavailable()
}

async function demoteAll(
  store: StoreTransaction,
  { instance_id }: Nic,
  time_modified_ms: number,
): Promise<void> {
  await store
    .updateTable('network_interface')
    .set({ is_primary: false, time_modified_ms })
    .where('instance_id', '=', instance_id)
    .where('is_primary', '=', true)
    .where('time_deleted_ms', 'is', null)
    .execute()
}

async function refuseIfOthers(store: StoreTransaction, nic: Nic): Promise<void> {
  const other = await store
    .selectFrom('network_interface')
    .select('id')
    .where('instance_id', '=', nic.instance_id)
    .where('id', '!=', nic.id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (other !== undefined) {
    throw invalidRequest(
      'The primary interface for an instance may not be deleted while secondary interfaces are still attached',
    )
  }
}
