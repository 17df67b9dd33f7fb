/** Disks: to whom one is offered, and whether it is there at all. */
import type { Static } from 'typebox'
import { diskProtocol, type DiskView } from '#actors/disk.protocol.ts'
import type { diskState } from '#actors/nexus/api/contract/disks.ts'
import { invalidRequest, notFoundById, notImplemented } from '#actors/http/errors.ts'
import { isoTime } from '#runtime/clock.ts'
import { limits } from '#config/limits.ts'
import type { DiskEnsure } from './contract.ts'
import { journaledInstance } from './journaled.ts'
import { implementSled as implement, refusal, type SledAgentServices } from './route.ts'

type DiskState = Static<typeof diskState>
const options = { timeout_ms: limits.zone_boot_ms_max }

export const diskRoutes = [
  implement('disk_put', async ({ services, path, body }) => {
    const { initial_runtime, target } = body
    const state = await reach(services, path('disk_id'), target)
    // What changed nothing counts for nothing.
    if (isSame(state, initial_runtime.disk_state)) return initial_runtime
    const time_updated = isoTime(services.clock.now())
    return { disk_state: state, gen: initial_runtime.gen + 1, time_updated }
  }),
]

/** Asks a disk for a state, and says which it has then. */
async function reach(
  services: SledAgentServices,
  id: string,
  target: DiskEnsure['target'],
): Promise<DiskState> {
  const disk = services.ref(diskProtocol, id)
  const seen = await disk.call('get', null, options)
  if (!seen.ok) throw refusal(services, seen)
  if (target.state === 'faulted') {
    throw notImplemented('a disk of this sled is there or it is not: it cannot be made to fault')
  }
  if (seen.value.phase === 'absent') {
    if (target.state === 'destroyed') return { state: 'destroyed' }
    throw notFoundById('disk', id)
  }
  if (target.state === 'attached') {
    const request = { instance_id: target.instance, read_only: false }
    const attached = await disk.call('attach', request, options)
    if (!attached.ok) throw refusal(services, attached)
    return target
  }
  await letGo(services, seen.value)
  if (target.state === 'detached') return target
  const destroyed = await disk.call('destroy', null, options)
  if (!destroyed.ok) throw refusal(services, destroyed)
  return { state: 'destroyed' }
}

const atRest: ReadonlySet<string> = new Set(['creating', 'stopped', 'failed', 'destroyed'])

/** Takes a disk from its instance. Throws 400 while the guest runs, which would lose its disk. */
async function letGo(services: SledAgentServices, { id, instance_id }: DiskView): Promise<void> {
  if (instance_id === null) return
  const holder = await journaledInstance(services, instance_id)
  if (holder !== null && !atRest.has(holder.runtime.run_state)) {
    throw invalidRequest(
      `disk is attached to instance ${instance_id}, which is ${holder.runtime.run_state}: stop it first`,
    )
  }
  const detached = await services.ref(diskProtocol, id).call('detach', { instance_id }, options)
  if (!detached.ok) throw refusal(services, detached)
}

const isSame = (a: DiskState, b: DiskState): boolean =>
  a.state === b.state && ('instance' in a ? a.instance : '') === ('instance' in b ? b.instance : '')
