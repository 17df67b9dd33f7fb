/**
 * Puts Nexus and a sled together, whatever was lost between them: what the sled knows is taken over,
 * what it was asked and may not have heard is asked again. Level-triggered: done whenever a sled comes
 * up and every now and then.
 */
import { limits } from '#config/limits.ts'
import type { Services } from './context.ts'
import { applyRuntime, deleting, isLive, type Instance } from './compute/instances.ts'
import type { Saga } from './saga.ts'
import { instanceDeleteSaga } from './sagas/instance-delete.ts'
import { instanceStartSaga, instanceStopSaga } from './sagas/instance-state.ts'

/** Looks at every instance of a sled. Gives back how many had to be told something. */
export async function reconcileSled(services: Services, sled_id: string): Promise<number> {
  const rows = await services.store
    .selectFrom('instance')
    .selectAll()
    .where('sled_id', '=', sled_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  let told = 0
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
    try {
      if (await settle(services, row, seen.value !== null)) told += 1
    } catch (error) {
      services.log.warn('an instance did not take its pending state', { instance: row.id, error })
    }
  }
  return told
}

/** Asks for what is pending, or to run again when the sled has lost a live guest. */
async function settle(services: Services, row: Instance, isKnown: boolean): Promise<boolean> {
  const run = async <P>(saga: Saga<P>, params: P) => {
    await services.sagas.run(saga, params, services.work?.span)
    return true
  }
  const { id, name, sled_id } = row
  const params = { instance_id: id }
  if (row.pending_target === deleting) return await run(instanceDeleteSaga, { id, name, sled_id })
  if (row.pending_target === 'stopped') return await run(instanceStopSaga, params)
  const isLost = row.pending_target === null && !isKnown && isLive(row.run_state)
  if (row.pending_target !== 'running' && !isLost) return false
  return await run(instanceStartSaga, params)
}
