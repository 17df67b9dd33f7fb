/** Instances: asked for a state, which the instance's actor reaches; and their consoles. */
import { diskProtocol } from '#actors/disk.protocol.ts'
import {
  instanceProtocol,
  type InstanceRuntime,
  type InstanceSpec,
  type InstanceTarget,
} from '#actors/instance.protocol.ts'
import { badRequest, invalidRequest, notFoundById, notImplemented } from '#actors/http/errors.ts'
import { limits } from '#config/limits.ts'
import { isoTime } from '#runtime/clock.ts'
import type { InstanceEnsure } from './contract.ts'
import { journaledInstance } from './journaled.ts'
import { implementSled as implement, refusal, type SledAgentServices } from './route.ts'
import { specOf } from './spec.ts'

export const instanceRoutes = [
  implement('instance_put', async ({ services, path, body }) => {
    const id = path('instance_id')
    const { spec, runtime } = await reach(services, id, body)
    return viewOf(services, spec, runtime)
  }),
  implement('instance_serial_get', async ({ services, path, query }) => {
    const id = path('instance_id')
    const { from_start = null, most_recent = null } = query
    if ((from_start === null) === (most_recent === null)) {
      throw badRequest("Exactly one of 'from_start' or 'most_recent' must be specified.")
    }
    if ((await journaledInstance(services, id)) === null) throw notFoundById('instance', id)
    const max_bytes = Math.min(
      query.max_bytes ?? limits.serial_read_bytes_default,
      limits.serial_read_bytes_max,
    )
    const read = await services
      .ref(instanceProtocol, id)
      .call('serial_read', { from_start, most_recent, max_bytes }, { timeout_ms: serial_ms_max })
    if (read.ok) {
      return { data: [...read.value.data], last_byte_offset: read.value.last_byte_offset }
    }
    if (read.error !== 'not_running') throw refusal(services, read)
    throw invalidRequest('No rolling buffer was allocated for this instance.')
  }),
  implement('instance_issue_disk_snapshot_request', async () => {
    throw notImplemented('this sled takes no snapshots over HTTP: ask Nexus for one')
  }),
]

const serial_ms_max = 10_000

interface Reached {
  readonly spec: InstanceSpec
  readonly runtime: InstanceRuntime
}

/** Asks for the state. What the caller says of the guest counts when the sled has never seen it. */
async function reach(
  services: SledAgentServices,
  id: string,
  { initial, target, migrate = null }: InstanceEnsure,
): Promise<Reached> {
  const { run_state, migration_params = null } = target
  if (run_state === 'migrating' || migrate !== null || migration_params !== null) {
    throw notImplemented('this sled migrates no instances over HTTP: ask Nexus to')
  }
  const known = await journaledInstance(services, id)
  const spec = known?.spec ?? specOf(id, initial)
  if (run_state === 'destroyed') {
    const gen = Math.max(initial.runtime.gen, known?.runtime.gen ?? 0)
    return { spec, runtime: await destroy(services, id, gen) }
  }
  if (known === null) await demandDisks(services, spec)
  return await ensure(services, run_state, { ...initial.runtime, spec })
}

async function ensure(
  services: SledAgentServices,
  target: InstanceTarget,
  {
    spec,
    propolis_id,
    gen,
  }: Pick<Reached, 'spec'> & { readonly propolis_id: string; readonly gen: number },
): Promise<Reached> {
  // A guest that starts anew may be a propolis of another id.
  const asked = { spec: { ...spec, propolis_id }, target, gen }
  const done = await services
    .ref(instanceProtocol, spec.id)
    .call('ensure', asked, { timeout_ms: limits.instance_start_ms_max })
  if (!done.ok) throw refusal(services, done)
  const now = await journaledInstance(services, spec.id)
  return { spec: now?.spec ?? spec, runtime: done.value }
}

async function destroy(
  services: SledAgentServices,
  id: string,
  gen: number,
): Promise<InstanceRuntime> {
  const destroyed = await services
    .ref(instanceProtocol, id)
    .call('destroy', null, { timeout_ms: limits.instance_stop_ms_max })
  if (!destroyed.ok) throw refusal(services, destroyed)
  return { run_state: 'destroyed', gen: gen + 1, time_updated_ms: services.clock.now() }
}

/** A guest whose disks are not here would only fail later. */
async function demandDisks(services: SledAgentServices, spec: InstanceSpec): Promise<void> {
  const options = { timeout_ms: limits.zone_boot_ms_max }
  for (const { id } of spec.disks) {
    const seen = await services.ref(diskProtocol, id).call('get', null, options)
    if (!seen.ok) throw refusal(services, seen)
    if (seen.value.phase === 'absent') throw notFoundById('disk', id)
  }
}

const viewOf = ({ sled_id }: SledAgentServices, spec: InstanceSpec, runtime: InstanceRuntime) => ({
  run_state: runtime.run_state,
  sled_id,
  propolis_id: spec.propolis_id,
  dst_propolis_id: null,
  propolis_addr: null,
  migration_id: null,
  ncpus: spec.ncpus,
  memory: spec.memory_bytes,
  hostname: spec.hostname,
  gen: runtime.gen,
  time_updated: isoTime(runtime.time_updated_ms),
})
