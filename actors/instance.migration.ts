/**
 * A guest moves from one sled to another. The source offers it and lets it run on; the target takes it
 * over with its memory, its console's history and its volumes, from when on it stands still on both;
 * then Nexus, which alone decides where it is, has one of them go on and the other one leave.
 */
import { limits } from '#config/limits.ts'
import type { Step } from '#runtime/actor/actor.ts'
import type { Failure, Name, Reply, Request } from '#runtime/actor/protocol.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { diskProtocol, type VolumeOffer } from '#actors/disk.protocol.ts'
import type { GuestOffer, instanceProtocol, InstanceSpec } from '#actors/instance.protocol.ts'
import { blank, forget, move, withGeneration, type InstanceState } from '#actors/instance.record.ts'
import { planMigrate } from '#actors/instance.state.ts'
import {
  equipGuest,
  releaseGuest,
  watchGuest,
  type InstanceContext,
} from '#actors/instance.work.ts'

type Protocol = typeof instanceProtocol
type Answer<K extends Name<Protocol>> = Promise<
  Step<InstanceState, Reply<Protocol, K>, Failure<Protocol, K>>
>
type Asked<K extends Name<Protocol>> = Request<Protocol, K>

const time = { timeout_ms: limits.zone_boot_ms_max }
const fill_time = { timeout_ms: limits.disk_ensure_ms_max }

/** The source's part: from now on the guest can be taken over. */
export async function migrateOut(
  context: InstanceContext,
  state: InstanceState,
  { propolis_id, migration, gen }: Asked<'migrate_out'>,
): Answer<'migrate_out'> {
  const { spec } = state
  if (spec?.propolis_id !== propolis_id) {
    return { state, result: err('invalid_transition', `propolis ${propolis_id} is not here`) }
  }
  const planned = planMigrate(state.runtime.run_state, state.migration, migration)
  if (!planned.ok) return { state, result: planned }
  const offered = await offerGuest(context, spec, migration.migration_id)
  if (!offered.ok) return { state, result: offered }
  const leaving = {
    ...withGeneration(state, gen),
    migration: { ...migration, side: 'source' },
  } as const
  const moved = await move(context, leaving, planned.value.next)
  if (!moved.ok) return { state, result: moved }
  return { state: moved.value, result: ok({ runtime: moved.value.runtime, offer: offered.value }) }
}

async function offerGuest(
  context: InstanceContext,
  { propolis_id, disks }: InstanceSpec,
  migration_id: string,
): Promise<Result<GuestOffer, 'os_failed'>> {
  const volumes: VolumeOffer[] = []
  for (const { id } of disks) {
    const offered = await context.ref(diskProtocol, id).call('offer', null, time)
    if (!offered.ok) return err('os_failed', `disk ${id}: ${offered.detail}`)
    volumes.push(offered.value)
  }
  const address = await context.deps.vmm.offer(context.id, migration_id)
  return address.ok
    ? ok({ migration_id, propolis_id, address: address.value, volumes })
    : err('os_failed', address.detail)
}

/**
 * The target's part. Asked again it takes what is not there yet. What was there before it was asked first is
 * none of its own: so all that it has to leave, when it fails, it has made.
 */
export async function migrateIn(
  context: InstanceContext,
  state: InstanceState,
  { spec, offer, gen }: Asked<'migrate_in'>,
): Answer<'migrate_in'> {
  if (state.spec !== null && state.spec.propolis_id !== spec.propolis_id) {
    const { propolis_id } = state.spec
    const why = `propolis ${propolis_id} of instance ${context.id} is still on this sled`
    return { state, result: err('invalid_transition', why) }
  }
  if (state.spec !== null && state.migration === null) {
    return { state, result: ok(state.runtime) }
  }
  if (state.spec === null) {
    const free = await demandNoVolumes(context, spec)
    if (!free.ok) return { state, result: free, stop: true }
  }
  const { migration_id } = offer
  const migration = { migration_id, dst_propolis_id: spec.propolis_id, side: 'target' } as const
  const arriving = { ...withGeneration(state, gen), spec, migration }
  const moved = await move(context, arriving, 'migrating')
  if (!moved.ok) return { state, result: moved }
  const taken = await takeOver(context, spec, offer)
  if (taken.ok) return { state: moved.value, result: ok(moved.value.runtime) }
  context.log.error('a guest could not be taken over', { detail: taken.detail })
  const gone = await drop(context, moved.value, spec)
  return { state: gone.ok ? blank(context) : moved.value, result: taken, stop: gone.ok }
}

/** A guest that comes brings its volumes: a sled that has one of them is asked too late. */
async function demandNoVolumes(
  context: InstanceContext,
  { disks }: InstanceSpec,
): Promise<Result<null, 'invalid_transition' | 'os_failed'>> {
  for (const { id } of disks) {
    const found = await context.ref(diskProtocol, id).call('get', null, time)
    if (!found.ok) return err('os_failed', `disk ${id}: ${found.detail}`)
    if (found.value.phase === 'absent') continue
    return err('invalid_transition', `disk ${id} of instance ${context.id} is on this sled already`)
  }
  return ok(null)
}

/** Ports and volumes first; then the machine, which stands still from then on; then what its volumes lack. */
async function takeOver(
  context: InstanceContext,
  spec: InstanceSpec,
  offer: GuestOffer,
): Promise<Result<null, 'source_gone' | 'no_space' | 'os_failed'>> {
  for (const { id, size_bytes, block_size } of offer.volumes) {
    const made = await context
      .ref(diskProtocol, id)
      .call('ensure', { id, size_bytes, block_size, source: null }, fill_time)
    if (!made.ok) {
      return err(made.error === 'no_space' ? 'no_space' : 'os_failed', `disk ${id}: ${made.detail}`)
    }
  }
  const machine = await equipGuest(context, spec)
  if (!machine.ok) return machine
  const found = await context.deps.vmm.find(context.id)
  if (!found.ok) return found
  if (found.value?.propolis_id !== spec.propolis_id) {
    // Most of the bytes come while the guest runs on.
    const followed = await takeVolumes(context, offer, 'follow')
    if (!followed.ok) return followed
    const received = await context.deps.vmm.receive(machine.value, offer)
    if (!received.ok) return received
  }
  return await takeVolumes(context, offer, 'fill')
}

async function takeVolumes(
  context: InstanceContext,
  { volumes }: GuestOffer,
  how: 'follow' | 'fill',
): Promise<Result<null, 'source_gone' | 'no_space' | 'os_failed'>> {
  for (const volume of volumes) {
    const taken = await context.ref(diskProtocol, volume.id).call(how, volume, fill_time)
    if (taken.ok) continue
    const { error, detail } = taken
    const known = error === 'source_gone' || error === 'no_space' ? error : 'os_failed'
    return err(known, `disk ${volume.id}: ${detail}`)
  }
  return ok(null)
}

/** On the target: the guest has moved. On the source: it has not. */
export async function goOn(
  context: InstanceContext,
  state: InstanceState,
  { propolis_id, migration_id, gen }: Asked<'go_on'>,
): Answer<'go_on'> {
  const { spec } = state
  if (spec?.propolis_id !== propolis_id) {
    return { state, result: err('not_here', `propolis ${propolis_id} is not here`) }
  }
  const based = withGeneration(state, gen)
  if (state.migration?.migration_id !== migration_id) {
    return { state: based, result: ok(based.runtime) }
  }
  const resumed = await context.deps.vmm.resume(context.id)
  if (!resumed.ok && resumed.error !== 'not_running') {
    return { state, result: err('os_failed', resumed.detail) }
  }
  if (!resumed.ok) {
    // It has ended meanwhile, and Nexus is told.
    context.after(0, 'observed', { propolis_id, event: 'exited' })
    return { state: based, result: ok(based.runtime) }
  }
  const moved = await move(context, based, 'running')
  if (!moved.ok) return { state, result: moved }
  const unwatch = state.unwatch ?? watchGuest(context, spec)
  return { state: { ...moved.value, unwatch }, result: ok(moved.value.runtime) }
}

/** The guest goes on elsewhere. */
export async function leave(
  context: InstanceContext,
  state: InstanceState,
  { propolis_id }: Asked<'leave'>,
): Answer<'leave'> {
  const { spec } = state
  if (spec?.propolis_id !== propolis_id) return { state, result: ok(null), stop: spec === null }
  const dropped = await drop(context, state, spec)
  if (!dropped.ok) return { state, result: dropped }
  return { state: blank(context), result: ok(null), stop: true }
}

/** Leaves nothing of a guest on this sled, not even its volumes. */
async function drop(
  context: InstanceContext,
  { unwatch }: InstanceState,
  spec: InstanceSpec,
): Promise<Result<null, 'os_failed'>> {
  unwatch?.()
  const released = await releaseGuest(context, spec)
  if (!released.ok) return released
  for (const { id } of spec.disks) {
    const destroyed = await context.ref(diskProtocol, id).call('destroy', null, time)
    // What another instance holds is not this one's any more.
    if (!destroyed.ok && destroyed.error !== 'attached') {
      return err('os_failed', `disk ${id}: ${destroyed.detail}`)
    }
  }
  const forgotten = await context.deps.vmm.forget(context.id)
  return forgotten.ok ? await forget(context) : forgotten
}
