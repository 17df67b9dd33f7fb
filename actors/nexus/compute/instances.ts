/**
 * Instances as Nexus knows them: intent, addresses, disks. What the guest does is the sled's to
 * say; its reports move `run_state`, older ones change nothing.
 */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import {
  liveStates,
  type InstanceRuntime,
  type InstanceSpec,
  type InstanceTarget,
} from '#actors/instance.protocol.ts'
import type { GuestVnic } from '#actors/vnic.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Random } from '#runtime/random.ts'
import type { Services } from '../context.ts'
import { fenceOf, orUnfenced } from '../fence.ts'
import { internal, invalidRequest, notFound, unavailable } from '#actors/http/errors.ts'
import { resolvedRules, rulesForPort } from '../networking/firewall.ts'
import { identityView, timestamp } from '../names.ts'
import { transact } from '../store/transact.ts'
import { readColumn } from '../store/column.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'

export type Instance = Selectable<Tables['instance']>

interface InstanceReport {
  readonly instance_id: string
  /** Whose word it is. */
  readonly sled_id: string
  readonly runtime: InstanceRuntime
}

/** What else belongs into a transaction. */
export type InTransaction = (store: StoreTransaction) => Promise<void>
const nothing: InTransaction = async () => undefined

export const instanceView = (row: Instance) => ({
  ...identityView(row),
  project_id: row.project_id,
  ncpus: row.ncpus,
  memory: row.memory_bytes,
  hostname: row.hostname,
  run_state: row.run_state,
  time_run_state_updated: timestamp(row.time_run_state_updated_ms),
})

/**
 * Takes a sled's word for an instance's state, unless something newer is known, or another sled has it:
 * the one that it has left, or that it has not come to yet. False when there is no such instance.
 */
export async function applyRuntime(
  services: Services,
  { instance_id, sled_id, runtime }: InstanceReport,
): Promise<boolean> {
  const { isKnown, guest } = await takeRuntime(services.store, { instance_id, sled_id, runtime })
  // A request older than the deletion came after it. The sled waits for us: we don't for it.
  if (guest !== null) void destroyGuest(services, guest)
  return isKnown
}

interface Taken {
  /** Whether there is such an instance. */
  readonly isKnown: boolean
  /** A deleted instance's, which its sled is to let go of; where it had left before, its migration sees to it. */
  readonly guest: Pick<Instance, 'id' | 'sled_id'> | null
}

const runtimeTaken = prepare(
  (
    store,
    {
      id,
      sled_id,
      run_state,
      gen,
      time_updated_ms,
    }: InstanceRuntime & Pick<Instance, 'id' | 'sled_id'>,
  ) =>
    store
      .updateTable('instance')
      .set({ run_state, gen, time_run_state_updated_ms: time_updated_ms })
      .where('id', '=', id)
      .where('sled_id', '=', sled_id)
      .where('gen', '<', gen)
      .where('time_deleted_ms', 'is', null)
      .returning('id'),
)

async function takeRuntime(
  store: Store | StoreTransaction,
  { instance_id: id, sled_id, runtime }: InstanceReport,
): Promise<Taken> {
  const moved = await runtimeTaken(store, { id, sled_id, ...runtime })
  if (moved.length > 0) return { isKnown: true, guest: null }
  const row = await store
    .selectFrom('instance')
    .select(['id', 'sled_id', 'time_deleted_ms'])
    .where('id', '=', id)
    .executeTakeFirst()
  const isKnown = row !== undefined && row.time_deleted_ms === null
  return { isKnown, guest: isKnown || row?.sled_id !== sled_id ? null : row }
}

const instanceRows = prepare((store, { id }: { readonly id: string }) =>
  store.selectFrom('instance').selectAll().where('id', '=', id),
)

export async function instanceById({ store }: Services, id: string): Promise<Instance> {
  return await recorded(store, id)
}

/** The record of an instance. Throws for one that never was. */
export async function recorded(store: Store | StoreTransaction, id: string): Promise<Instance> {
  const [row] = await instanceRows(store, { id })
  if (row === undefined) throw new Error(`there is no instance ${id}`)
  return row
}

/** What somebody who is no user has seen of an instance, and wants to bring about for that reason. */
export type InstanceSeen = Pick<Instance, 'pending_target' | 'gen'>

/** Whether the reason holds: what is pending is wanted still, or nothing has happened since. */
const isAsSeen = (row: Instance | undefined, seen: InstanceSeen): boolean =>
  row?.pending_target === seen.pending_target &&
  (seen.pending_target !== null || row.gen === seen.gen)

/**
 * Writes down what an instance is asked to become, so that it holds until the sled has it; with `seen`, only
 * while the instance is like that. Throws 400 for an instance that is being deleted.
 */
export async function markTarget(
  store: StoreTransaction,
  id: string,
  { target, seen }: { readonly target: InstanceTarget; readonly seen: InstanceSeen | null },
  random: Random,
): Promise<void> {
  const row = await liveInstance(store, id)
  if (seen !== null && !isAsSeen(row, seen)) return
  if (row === undefined || row.pending_target === deleting) {
    throw invalidRequest('instance state cannot be changed from state "destroyed"')
  }
  if (row.migration_id !== null) {
    throw invalidRequest('instance state cannot be changed from state "migrating"')
  }
  // A zone's name is never used twice: every start is a propolis of its own. One that is wanted
  // already is this very start.
  const isWanted = row.pending_target === 'running'
  const isStart = target === 'running' && !isWanted && !isLive(row.run_state)
  const propolis_id = isStart ? random.uuid() : row.propolis_id
  await marked(store, { id, target, propolis_id })
}

/** Takes a mark back, unless another one has replaced it. */
export async function unmarkTarget(
  services: Services,
  id: string,
  target: InstanceTarget,
): Promise<void> {
  await transact(services, async (store) => {
    await unmark(store, id, target)
  })
}

async function unmark(store: StoreTransaction, id: string, target: InstanceTarget): Promise<void> {
  await unmarked(store, { id, target })
}

const marked = prepare(
  (store, given: Pick<Instance, 'id' | 'propolis_id'> & { readonly target: InstanceTarget }) =>
    store
      .updateTable('instance')
      .set({ pending_target: given.target, propolis_id: given.propolis_id })
      .where('id', '=', given.id),
)
const unmarked = prepare(
  (store, { id, target }: { readonly id: string; readonly target: InstanceTarget }) =>
    store
      .updateTable('instance')
      .set({ pending_target: null })
      .where('id', '=', id)
      .where('pending_target', '=', target),
)

/**
 * Asks an instance's sled for the target that is marked, and takes the mark away. A mark that is gone
 * was reached already, or somebody wanted something else since. Throws 400 for what the sled does not
 * do in this state, 503 while it may not have heard.
 */
export async function askTarget(
  services: Services,
  id: string,
  target: InstanceTarget,
  also: InTransaction = nothing,
): Promise<void> {
  const asked = await askMarked(services, id, target)
  if (asked === null) return
  const { instance, answered } = asked
  if (!answered.ok && answered.error === 'invalid_transition') {
    throw invalidRequest(answered.detail)
  }
  if (!answered.ok) {
    const { error, detail } = answered
    services.log.error('a sled did not take an instance', { instance: id, error, detail })
    // What the sled cannot do stays undone; what it may not have heard is sent again.
    throw error === 'no_space' || error === 'os_failed' ? internal() : unavailable()
  }
  const report = { instance_id: id, sled_id: instance.sled_id, runtime: answered.value }
  const { isKnown, guest } = await transact(services, async (store) => {
    const taken = await takeRuntime(store, report)
    if (!taken.isKnown) return taken
    await unmark(store, id, target)
    await also(store)
    return taken
  })
  if (guest !== null) void destroyGuest(services, guest)
  if (!isKnown) throw notFound('instance', instance.name)
}

/** Null without asking when the instance is not marked with the target. */
async function askMarked(services: Services, id: string, target: InstanceTarget) {
  let instance = await instanceById(services, id)
  while (instance.pending_target === target) {
    const answered = await askSled(services, instance, target)
    if (answered.ok || answered.error !== 'stale') return { instance, answered }
    // The mark has changed since it was read, or the saga is another member's: that throws here.
    instance = await transact(services, async (store) => await recorded(store, id))
  }
  return null
}

async function askSled(services: Services, instance: Instance, target: InstanceTarget) {
  const { id, sled_id, gen } = instance
  const sled = services.sleds.instance(sled_id, id)
  const request = { spec: await specOf(services, instance), target, gen }
  const time = { timeout_ms: limits.instance_start_ms_max }
  return await orUnfenced(
    await sled.call('ensure_fenced', { ...request, fence: fenceOf(services) }, time),
    async () => await sled.call('ensure', request, time),
  )
}

async function liveInstance(store: StoreTransaction, id: string): Promise<Instance | undefined> {
  const [row] = await instanceRows(store, { id })
  return row?.time_deleted_ms === null ? row : undefined
}

/** The pending target that nothing else may replace: the instance is on its way out. */
export const deleting: InstanceTarget = 'destroyed'
/** As whose state an instance counts that has not reached its pending target yet. */
const onTheWay: Readonly<Record<string, string>> = {
  running: 'starting',
  stopped: 'stopping',
  reboot: 'rebooting',
}

/** The state that an instance counts as having, whatever is still on its way. */
export const stateOf = (
  row: Pick<Instance, 'run_state' | 'pending_target' | 'migration_id'>,
): string =>
  row.migration_id === null ? (onTheWay[row.pending_target ?? ''] ?? row.run_state) : 'migrating'

/**
 * Marks an instance that is at rest for its deletion, so that no start can slip in between the sled's
 * part and the records. Throws 400 for one that is not at rest, 404 for one that is gone.
 */
export async function markDeleting(
  store: StoreTransaction,
  { id, name }: Pick<Instance, 'id' | 'name'>,
): Promise<void> {
  const row = await liveInstance(store, id)
  if (row === undefined) throw notFound('instance', name)
  const state = stateOf(row)
  if (!['stopped', 'failed'].includes(state)) {
    throw invalidRequest(`instance cannot be deleted in state "${state}"`)
  }
  await store
    .updateTable('instance')
    .set({ pending_target: deleting })
    .where('id', '=', id)
    .execute()
}

/** Ends the records of an instance whose guest is gone. */
export async function deleteRecords(
  store: StoreTransaction,
  id: string,
  time_deleted_ms: number,
): Promise<void> {
  await store
    .updateTable('instance')
    .set({ time_deleted_ms, run_state: 'destroyed', pending_target: null })
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  await store
    .updateTable('disk')
    .set({ state: 'detached', attach_instance_id: null, slot: null })
    .where('attach_instance_id', '=', id)
    .execute()
  for (const table of ['network_interface', 'external_ip'] as const) {
    await store
      .updateTable(table)
      .set({ time_deleted_ms })
      .where('instance_id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .execute()
  }
}

/** Whether the sled has let go of the guest. */
export async function destroyGuest(
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

/**
 * Has the guest of a migration that is over go on where the record says it is. Throws 503 while the sled
 * may not have heard. A sled that does not have that propolis has nothing to do.
 */
export async function goOn(
  services: Services,
  guest: {
    readonly instance_id: string
    readonly sled_id: string
    readonly propolis_id: string
    readonly migration_id: string
  },
): Promise<void> {
  const { instance_id, sled_id, propolis_id, migration_id } = guest
  const { gen } = await instanceById(services, instance_id)
  const went = await services.sleds
    .instance(sled_id, instance_id)
    .call('go_on', { propolis_id, migration_id, gen }, { timeout_ms: limits.instance_start_ms_max })
  if (went.ok) {
    await applyRuntime(services, { instance_id, sled_id, runtime: went.value })
  } else if (went.error !== 'not_here') {
    services.log.warn('a guest does not go on yet', { instance: instance_id, detail: went.detail })
    throw unavailable()
  }
}

export const isLive = (run_state: string): boolean => liveStates.some((live) => live === run_state)

type InstanceId = { readonly id: string }
const diskRows = prepare((store, { id }: InstanceId) =>
  store
    .selectFrom('disk')
    .select(['id', 'slot', 'block_size'])
    .where('attach_instance_id', '=', id),
)
// Neither joined nor sorted: SQLite plans that anew for every value.
const nicRows = prepare((store, { id }: InstanceId) =>
  store
    .selectFrom('network_interface')
    .selectAll()
    .where('instance_id', '=', id)
    .where('time_deleted_ms', 'is', null),
)
const blockRows = prepare((store, { id }: InstanceId) =>
  store.selectFrom('vpc_subnet').select('ipv4_block').where('id', '=', id),
)
const ipRows = prepare((store, { id }: InstanceId) =>
  store
    .selectFrom('external_ip')
    .selectAll()
    .where('instance_id', '=', id)
    .where('time_deleted_ms', 'is', null),
)
const keysColumn = Type.Array(Type.String())

/** Everything a sled needs to run an instance, as it is recorded now. */
export async function specOf(services: Services, instance: Instance): Promise<InstanceSpec> {
  const disks = await diskRows(services.store, { id: instance.id })
  const public_keys = readColumn(keysColumn, instance.public_keys)
  return {
    id: instance.id,
    propolis_id: instance.propolis_id,
    name: instance.name,
    hostname: instance.hostname,
    ncpus: instance.ncpus,
    memory_bytes: instance.memory_bytes,
    nics: await vnicsOf(services, instance),
    disks: disks
      .map(({ id, slot, block_size }) => ({ id, slot: slot ?? 0, read_only: false, block_size }))
      .toSorted((a, b) => a.slot - b.slot),
    cidata: { public_keys, user_data: instance.user_data },
  }
}

async function vnicsOf(services: Services, instance: Instance): Promise<GuestVnic[]> {
  const { store } = services
  const nics = await nicRows(store, { id: instance.id })
  const [first] = nics
  if (first === undefined) return []
  const ips = await ipRows(store, { id: instance.id })
  const snat = ips.find(({ kind }) => kind === 'snat')
  const source_nat =
    snat === undefined
      ? null
      : { ip: snat.ip, first_port: snat.first_port, last_port: snat.last_port }
  const external_ips = ips.filter(({ kind }) => kind === 'ephemeral').map(({ ip }) => ip)
  // An instance's interfaces are all in one VPC.
  const { vni, rules } = await resolvedRules(store, first.vpc_id)
  const vnics: GuestVnic[] = []
  for (const { id, subnet_id, ip, mac, slot, is_primary: primary } of nics) {
    const [subnet] = await blockRows(store, { id: subnet_id })
    if (subnet === undefined) throw new Error(`there is no subnet ${subnet_id}`)
    vnics.push({
      kind: 'guest',
      id,
      instance_id: instance.id,
      vni,
      subnet: subnet.ipv4_block,
      ip,
      mac,
      primary,
      slot,
      hostname: instance.hostname,
      source_nat: primary ? source_nat : null,
      external_ips: primary ? external_ips : [],
      firewall_rules: rulesForPort(rules, mac),
    })
  }
  return vnics.toSorted((a, b) => a.slot - b.slot)
}
