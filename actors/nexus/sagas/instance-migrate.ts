/**
 * instance-migrate: the mark, the guest's way to the other sled, and the record that says where it goes
 * on. Until that record is written the guest can only go on where it was, from then on only where it has
 * come to; in between it stands still on both. Who else wants something of it waits for its end.
 */
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import { fenceOf, orUnfenced } from '../fence.ts'
import { internal, invalidRequest, notFound, unavailable } from '#actors/http/errors.ts'
import {
  applyRuntime,
  goOn,
  instanceById,
  specOf,
  stateOf,
  type Instance,
} from '../compute/instances.ts'
import type { Saga, SagaRun } from '../saga-nodes.ts'
import { oweNeighbours } from '../propagation.ts'
import { transact } from '../store/transact.ts'

export interface InstanceMigrateParams {
  readonly instance_id: string
  /** Where the guest is, and which one. */
  readonly src_sled_id: string
  readonly src_propolis_id: string
  readonly dst_sled_id: string
}
type Run = Omit<SagaRun<InstanceMigrateParams>, 'done'>

const time = { timeout_ms: limits.instance_start_ms_max }

export const instanceMigrateSaga: Saga<InstanceMigrateParams> = {
  name: 'instance-migrate',
  nodes: () => [
    { name: 'migrate_id', action: async ({ services }) => services.random.uuid(), undo: null },
    { name: 'dst_propolis_id', action: async ({ services }) => services.random.uuid(), undo: null },
    {
      // A propolis has its sled's address. One that is away cannot take a guest over.
      name: 'dst_propolis_ip',
      action: async ({ services, params }) => await addressOf(services, params.dst_sled_id),
      undo: null,
    },
    {
      name: 'migrate_instance',
      action: async (run) => {
        await mark(run)
        await sendOut(run)
      },
      undo: callOff,
    },
    {
      name: 'instance_migrate',
      action: takeIn,
      undo: async (run) => {
        // The guest goes on first: the other sled may be away for long.
        await callOff(run)
        await leave(run, run.params.dst_sled_id, idOf(run, 'dst_propolis_id'))
      },
    },
    { name: 'switch_over', action: switchOver, undo: 'onward' },
    {
      name: 'cleanup_source',
      action: async (run) => {
        await leave(run, run.params.src_sled_id, run.params.src_propolis_id)
      },
      undo: 'owed',
    },
  ],
}

function idOf({ outputs }: Run, node: 'migrate_id' | 'dst_propolis_id'): string {
  const id = outputs.get(node)
  if (typeof id !== 'string') throw new Error(`node ${node} has given no id`)
  return id
}

async function addressOf(services: Services, sled_id: string): Promise<string> {
  if (!services.sleds.connected.includes(sled_id)) throw unavailable()
  const { ip } = await services.store
    .selectFrom('sled')
    .select('ip')
    .where('id', '=', sled_id)
    .executeTakeFirstOrThrow()
  return ip
}

/** Writes down that the instance migrates, so that nobody else moves it. Throws 400 when it cannot. */
async function mark(run: Run): Promise<void> {
  const { services, params } = run
  const migration_id = idOf(run, 'migrate_id')
  await transact(services, async (store) => {
    const row = await store
      .selectFrom('instance')
      .selectAll()
      .where('id', '=', params.instance_id)
      .executeTakeFirstOrThrow()
    if (row.migration_id === migration_id) return
    if (row.time_deleted_ms !== null) throw notFound('instance', row.name)
    demandRunning(row)
    if (row.sled_id !== params.src_sled_id || row.propolis_id !== params.src_propolis_id) {
      throw invalidRequest(`instance "${row.name}" has just moved or started anew: look again`)
    }
    await store.updateTable('instance').set({ migration_id }).where('id', '=', row.id).execute()
  })
}

/** Throws 400 for an instance that cannot migrate as it is. */
export function demandRunning(row: Instance): void {
  if (row.migration_id !== null) {
    throw invalidRequest(
      `instance "${row.name}" is migrating already: migration ${row.migration_id} is in progress`,
    )
  }
  const state = stateOf(row)
  if (state !== 'running') throw invalidRequest(`cannot migrate instance in state "${state}"`)
}

/** Has the source offer its guest. Throws 400 for one that does not run there any more. */
async function sendOut(run: Run) {
  const { services, params } = run
  const { instance_id, src_sled_id, src_propolis_id } = params
  const { gen } = await instanceById(services, instance_id)
  const migration = {
    migration_id: idOf(run, 'migrate_id'),
    dst_propolis_id: idOf(run, 'dst_propolis_id'),
  }
  const source = services.sleds.instance(src_sled_id, instance_id)
  const request = { propolis_id: src_propolis_id, migration, gen }
  const sent = await orUnfenced(
    await source.call('migrate_out_fenced', { ...request, fence: fenceOf(services) }, time),
    async () => await source.call('migrate_out', request, time),
  )
  if (!sent.ok) throw refusal(services, instance_id, sent)
  const { runtime, offer } = sent.value
  await applyRuntime(services, { instance_id, sled_id: src_sled_id, runtime })
  return offer
}

/** Has the other sled take the guest over. The source is asked again: it may have started anew since. */
async function takeIn(run: Run): Promise<void> {
  const { services, params } = run
  const { instance_id, dst_sled_id } = params
  const offer = await sendOut(run)
  const instance = await instanceById(services, instance_id)
  const spec = { ...(await specOf(services, instance)), propolis_id: idOf(run, 'dst_propolis_id') }
  const target = services.sleds.instance(dst_sled_id, instance_id)
  const request = { spec, offer, gen: instance.gen }
  const long = { timeout_ms: limits.instance_migrate_ms_max }
  const taken = await orUnfenced(
    await target.call('migrate_in_fenced', { ...request, fence: fenceOf(services) }, long),
    async () => await target.call('migrate_in', request, long),
  )
  if (!taken.ok) throw refusal(services, instance_id, taken)
  for (const { id } of spec.nics) await moveFlows(run, id)
}

/** Has a port go on with what its guest's connections have come to. Without them it goes on all the same. */
async function moveFlows({ services, params }: Run, nic_id: string): Promise<void> {
  const offered = await services.sleds.vnic(params.src_sled_id, nic_id).call('offer', null, time)
  const moved = offered.ok
    ? await services.sleds
        .vnic(params.dst_sled_id, nic_id)
        .call('adopt', { ...offered.value, fence: fenceOf(services) }, time)
    : offered
  if (moved.ok || moved.error === 'unsupported') return
  services.log.warn('a guest comes without its connections', { nic_id, detail: moved.detail })
}

function refusal(
  services: Services,
  instance: string,
  { error, detail }: { readonly error: string; readonly detail: string },
): Error {
  if (error === 'invalid_transition') return invalidRequest(detail)
  services.log.error('a guest did not come from sled to sled', { instance, error, detail })
  return error === 'no_space' || error === 'os_failed' ? internal() : unavailable()
}

/** Has the guest go on where it was, then takes the mark away: without it there is nothing to call off. */
async function callOff(run: Run): Promise<void> {
  const { services, params } = run
  const { instance_id, src_sled_id, src_propolis_id } = params
  const migration_id = idOf(run, 'migrate_id')
  const row = await instanceById(services, instance_id)
  if (row.migration_id !== migration_id) return
  const guest = { instance_id, sled_id: src_sled_id, propolis_id: src_propolis_id }
  await goOn(services, { ...guest, migration_id })
  await transact(services, async (store) => {
    await store
      .updateTable('instance')
      .set({ migration_id: null })
      .where('id', '=', instance_id)
      .where('migration_id', '=', migration_id)
      .execute()
  })
}

/**
 * Writes down where the guest goes on, with its disks, and has it go on there. A mark that is gone was
 * replaced by that record before.
 */
async function switchOver(run: Run): Promise<void> {
  const { services, params } = run
  const { instance_id, dst_sled_id: sled_id } = params
  const propolis_id = idOf(run, 'dst_propolis_id')
  const migration_id = idOf(run, 'migrate_id')
  const owed = await transact(services, async (store) => {
    const { numUpdatedRows } = await store
      .updateTable('instance')
      .set({ sled_id, propolis_id, migration_id: null })
      .where('id', '=', instance_id)
      .where('migration_id', '=', migration_id)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) return []
    await store
      .updateTable('disk')
      .set({ sled_id })
      .where('attach_instance_id', '=', instance_id)
      .execute()
    // Rules that changed meanwhile went to the port that the guest leaves.
    return await oweNeighbours(services, store, instance_id)
  })
  await Promise.all([
    goOn(services, { instance_id, sled_id, propolis_id, migration_id }),
    // At once: until then what is for the guest goes to where it was.
    ...owed.map(async (one) => await services.publisher.publish(services, one)),
  ])
}

async function leave(
  { services, params }: Run,
  sled_id: string,
  propolis_id: string,
): Promise<void> {
  const left = await services.sleds
    .instance(sled_id, params.instance_id)
    .call('leave', { propolis_id }, { timeout_ms: limits.instance_stop_ms_max })
  if (left.ok) return
  services.log.warn('a sled has not let go of a guest yet', { sled_id, detail: left.detail })
  throw unavailable()
}
