/**
 * Instances as Nexus knows them: intent, addresses, disks. What the guest does is the sled's to
 * say; its reports move `run_state`, older ones change nothing.
 */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import type { InstanceRuntime, InstanceSpec, InstanceTarget } from '#actors/instance.protocol.ts'
import type { GuestVnic } from '#actors/vnic.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Services } from './context.ts'
import { internal, invalidRequest, notFound, unavailable } from './errors.ts'
import { resolvedRules, rulesForPort } from './firewall.ts'
import { identityView, timestamp } from './names.ts'
import { transact } from './store/transact.ts'
import { readColumn } from './store/column.ts'
import type { Tables } from './store/schema.ts'

export type Instance = Selectable<Tables['instance']>

export const instanceView = (row: Instance) => ({
  ...identityView(row),
  project_id: row.project_id,
  ncpus: row.ncpus,
  memory: row.memory_bytes,
  hostname: row.hostname,
  run_state: row.run_state,
  time_run_state_updated: timestamp(row.time_run_state_updated_ms),
})

/** Takes a sled's word for an instance's state, unless something newer is known. */
export async function applyRuntime(
  services: Services,
  instance_id: string,
  runtime: InstanceRuntime,
): Promise<boolean> {
  const row = await services.store
    .selectFrom('instance')
    .select(['id', 'sled_id', 'time_deleted_ms'])
    .where('id', '=', instance_id)
    .executeTakeFirst()
  if (row === undefined) return false
  if (row.time_deleted_ms !== null) {
    // A request older than the deletion came after it. The sled waits for us: we don't for it.
    void destroyGuest(services, row)
    return false
  }
  await services.store
    .updateTable('instance')
    .set({
      run_state: runtime.run_state,
      gen: runtime.gen,
      time_run_state_updated_ms: runtime.time_updated_ms,
    })
    .where('id', '=', instance_id)
    .where('gen', '<', runtime.gen)
    .execute()
  return true
}

export async function instanceById(services: Services, id: string): Promise<Instance> {
  return await services.store
    .selectFrom('instance')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
}

/**
 * Asks an instance's sled for a target state. What was asked is durable until the sled has it.
 * Throws 400 for an instance that is being deleted.
 */
export async function requestState(
  services: Services,
  instance: Instance,
  target: InstanceTarget,
): Promise<Instance> {
  const { numUpdatedRows } = await services.store
    .updateTable('instance')
    .set({ pending_target: target })
    .where('id', '=', instance.id)
    .where('time_deleted_ms', 'is', null)
    .where((is) => is.or([is('pending_target', 'is', null), is('pending_target', '!=', deleting)]))
    .executeTakeFirst()
  if (numUpdatedRows === 0n) {
    throw invalidRequest('instance state cannot be changed from state "destroyed"')
  }
  const answered = await sendTarget(services, instance, target)
  if (!answered.ok && answered.error === 'invalid_transition') {
    await clearPending(services, instance.id)
    throw invalidRequest(answered.detail)
  }
  if (!answered.ok) {
    services.log.error('a sled did not take an instance', {
      instance: instance.id,
      error: answered.error,
      detail: answered.detail,
    })
    // What the sled cannot do stays undone; what it may not have heard is sent again.
    const isHeard = answered.error === 'no_space' || answered.error === 'os_failed'
    if (isHeard) await clearPending(services, instance.id)
    throw isHeard ? internal() : unavailable()
  }
  const isThere = await applyRuntime(services, instance.id, answered.value)
  if (!isThere) throw notFound('instance', instance.name)
  await clearPending(services, instance.id)
  return await instanceById(services, instance.id)
}

async function clearPending(services: Services, id: string): Promise<void> {
  await services.store
    .updateTable('instance')
    .set({ pending_target: null })
    .where('id', '=', id)
    .where('pending_target', '!=', deleting)
    .execute()
}

/** The pending target that nothing else may replace: the instance is on its way out. */
const deleting: InstanceTarget = 'destroyed'
/** As whose state an instance counts that has not reached its pending target yet. */
const onTheWay: Readonly<Record<string, string>> = {
  running: 'starting',
  stopped: 'stopping',
  reboot: 'rebooting',
}

/**
 * Deletes an instance that is at rest. It is marked first, so that no start can slip in between the
 * sled's part and the records, and so that a crash on the way is made up for by `reconcileSled`.
 */
export async function deleteInstance(services: Services, row: Instance): Promise<void> {
  const { numUpdatedRows } = await services.store
    .updateTable('instance')
    .set({ pending_target: deleting })
    .where('id', '=', row.id)
    .where('time_deleted_ms', 'is', null)
    .where('run_state', 'in', ['stopped', 'failed'])
    .where((is) => is.or([is('pending_target', 'is', null), is('pending_target', '=', deleting)]))
    .executeTakeFirst()
  if (numUpdatedRows === 0n) {
    const now = await instanceById(services, row.id)
    if (now.time_deleted_ms !== null) throw notFound('instance', row.name)
    const state = onTheWay[now.pending_target ?? ''] ?? now.run_state
    throw invalidRequest(`instance cannot be deleted in state "${state}"`)
  }
  await finishDelete(services, row)
}

/** The sled's part, then the records. */
async function finishDelete(services: Services, row: Instance): Promise<void> {
  const destroyed = await destroyGuest(services, row)
  if (!destroyed) throw unavailable()
  const time_deleted_ms = services.clock.now()
  await transact(services, async (store) => {
    await store
      .updateTable('instance')
      .set({ time_deleted_ms, run_state: 'destroyed', pending_target: null })
      .where('id', '=', row.id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    await store
      .updateTable('disk')
      .set({ state: 'detached', attach_instance_id: null, slot: null })
      .where('attach_instance_id', '=', row.id)
      .execute()
    for (const table of ['network_interface', 'external_ip'] as const) {
      await store
        .updateTable(table)
        .set({ time_deleted_ms })
        .where('instance_id', '=', row.id)
        .where('time_deleted_ms', 'is', null)
        .execute()
    }
  })
  await refreshNeighbours(services, row.id)
}

/** Whether the sled has let go of the guest. */
async function destroyGuest(
  services: Services,
  { id, sled_id }: Pick<Instance, 'id' | 'sled_id'>,
): Promise<boolean> {
  const destroyed = await services.sleds
    .instance(sled_id, id)
    .call('destroy', null, { timeout_ms: limits.instance_stop_ms_max })
  if (!destroyed.ok) {
    services.log.error('a guest could not be destroyed', {
      instance: id,
      detail: destroyed.detail,
    })
  }
  return destroyed.ok
}

async function sendTarget(services: Services, instance: Instance, target: InstanceTarget) {
  const current = await instanceById(services, instance.id)
  // A zone's name is never used twice: every start is a propolis of its own.
  const isStart = target === 'running' && !isLive(current.run_state)
  const propolis_id = isStart ? services.random.uuid() : current.propolis_id
  if (isStart) {
    await services.store
      .updateTable('instance')
      .set({ propolis_id })
      .where('id', '=', instance.id)
      .execute()
  }
  const spec = await specOf(services, { ...current, propolis_id })
  return await services.sleds
    .instance(instance.sled_id, instance.id)
    .call(
      'ensure',
      { spec, target, gen: current.gen },
      { timeout_ms: limits.instance_start_ms_max },
    )
}

export const isLive = (run_state: string): boolean =>
  ['starting', 'running', 'rebooting', 'stopping', 'migrating'].includes(run_state)

/** Everything a sled needs to run an instance, as it is recorded now. */
export async function specOf(services: Services, instance: Instance): Promise<InstanceSpec> {
  const disks = await services.store
    .selectFrom('disk')
    .select(['id', 'slot', 'block_size'])
    .where('attach_instance_id', '=', instance.id)
    .orderBy('slot')
    .execute()
  const public_keys = readColumn(Type.Array(Type.String()), instance.public_keys)
  return {
    id: instance.id,
    propolis_id: instance.propolis_id,
    name: instance.name,
    hostname: instance.hostname,
    ncpus: instance.ncpus,
    memory_bytes: instance.memory_bytes,
    nics: await vnicsOf(services, instance),
    disks: disks.map(({ id, slot, block_size }) => ({
      id,
      slot: slot ?? 0,
      read_only: false,
      block_size,
    })),
    cidata: { public_keys, user_data: instance.user_data },
  }
}

async function vnicsOf(services: Services, instance: Instance): Promise<GuestVnic[]> {
  const { store } = services
  const nics = await store
    .selectFrom('network_interface')
    .innerJoin('vpc', 'vpc.id', 'network_interface.vpc_id')
    .innerJoin('vpc_subnet', 'vpc_subnet.id', 'network_interface.subnet_id')
    .selectAll('network_interface')
    .select(['vpc.vni', 'vpc_subnet.ipv4_block'])
    .where('network_interface.instance_id', '=', instance.id)
    .where('network_interface.time_deleted_ms', 'is', null)
    .orderBy('network_interface.slot')
    .execute()
  const ips = await store
    .selectFrom('external_ip')
    .selectAll()
    .where('instance_id', '=', instance.id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const snat = ips.find(({ kind }) => kind === 'snat')
  const source_nat =
    snat === undefined
      ? null
      : { ip: snat.ip, first_port: snat.first_port, last_port: snat.last_port }
  const external_ips = ips.filter(({ kind }) => kind === 'ephemeral').map(({ ip }) => ip)
  // An instance's interfaces are all in one VPC.
  const [first] = nics
  const rules = first === undefined ? [] : await resolvedRules(store, first.vpc_id)
  return nics.map((nic): GuestVnic => {
    const primary = nic.is_primary
    return {
      kind: 'guest',
      id: nic.id,
      instance_id: instance.id,
      vni: nic.vni,
      subnet: nic.ipv4_block,
      ip: nic.ip,
      mac: nic.mac,
      primary,
      slot: nic.slot,
      hostname: instance.hostname,
      source_nat: primary ? source_nat : null,
      external_ips: primary ? external_ips : [],
      firewall_rules: rulesForPort(rules, nic.mac),
    }
  })
}

/** Tells the other ports of an instance's VPCs that its addresses came or went. */
export async function refreshNeighbours(services: Services, instance_id: string): Promise<void> {
  const vpcs = await services.store
    .selectFrom('network_interface')
    .select('vpc_id')
    .distinct()
    .where('instance_id', '=', instance_id)
    .execute()
  for (const { vpc_id } of vpcs) services.firewall.publishSoon(services, vpc_id)
}

/**
 * Puts Nexus and a sled that has just come up together: what the sled knows is taken over, what it
 * was asked and may not have heard is asked again.
 */
export async function reconcileSled(services: Services, sled_id: string): Promise<void> {
  const rows = await services.store
    .selectFrom('instance')
    .selectAll()
    .where('sled_id', '=', sled_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const row of rows) {
    const seen = await services.sleds
      .instance(sled_id, row.id)
      .call('get', null, { timeout_ms: limits.zone_boot_ms_max })
    if (!seen.ok) {
      services.log.warn('an instance could not be looked at', {
        instance: row.id,
        detail: seen.detail,
      })
      continue
    }
    if (seen.value !== null) await applyRuntime(services, row.id, seen.value)
    const target = pendingTarget(row, seen.value !== null)
    if (target === null) continue
    try {
      if (target === deleting) await finishDelete(services, row)
      else await requestState(services, row, target)
    } catch (error) {
      services.log.warn('an instance did not take its pending state', { instance: row.id, error })
    }
  }
}

/** What to ask for: what was pending, or to run again when the sled has lost a live guest. */
function pendingTarget(row: Instance, isKnown: boolean): InstanceTarget | null {
  const pending = (['running', 'stopped', 'reboot', 'destroyed'] as const).find(
    (target) => target === row.pending_target,
  )
  if (pending !== undefined) return pending
  return !isKnown && isLive(row.run_state) ? 'running' : null
}
