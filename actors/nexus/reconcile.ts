/**
 * Puts Nexus and a sled together, whatever was lost between them: what the sled knows is taken over,
 * what it was asked and may not have heard is asked again. Level-triggered: done whenever a sled comes
 * up and every now and then.
 */
import { limits } from '#config/limits.ts'
import type { Services } from './context.ts'
import {
  applyRuntime,
  deleting,
  goOn,
  instanceById,
  isLive,
  type Instance,
} from './compute/instances.ts'
import type { Saga } from './saga-nodes.ts'
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
    if (seen.value !== null) {
      await applyRuntime(services, { instance_id: row.id, sled_id, runtime: seen.value })
    }
    try {
      if (seen.value?.run_state === 'migrating') await endMigration(services, row.id, sled_id)
      if (await settle(services, row, seen.value !== null)) told += 1
    } catch (error) {
      services.log.warn('an instance did not take its pending state', { instance: row.id, error })
    }
  }
  return told
}

/**
 * A sled may be asked late to take part in a migration that is over. What the record says then holds: on
 * the sled that it names the guest goes on.
 */
async function endMigration(services: Services, id: string, sled_id: string): Promise<void> {
  const known = await services.sleds
    .instance(sled_id, id)
    .call('get_migration', null, { timeout_ms: limits.zone_boot_ms_max })
  if (!known.ok || known.value === null) return
  // Read after that: a migration is marked before any sled hears of it.
  const now = await instanceById(services, id)
  const { migration_id } = known.value
  if (now.migration_id === migration_id || now.sled_id !== sled_id) return
  const { propolis_id } = now
  await goOn(services, { instance_id: id, sled_id, propolis_id, migration_id })
}

/**
 * Asks for what is pending, or to run again when the sled has lost a live guest. The row may be long out of
 * date: the sled was asked since, and this member may have stood still.
 */
async function settle(services: Services, row: Instance, isKnown: boolean): Promise<boolean> {
  const run = async <P>(saga: Saga<P>, params: P) => {
    await services.sagas.run(saga, params, services.work?.span)
    return true
  }
  // Its saga sees to it, and knows on which of two sleds the guest goes on.
  if (row.migration_id !== null) return false
  const { id, name } = row
  const params = { instance_id: id, seen: { pending_target: row.pending_target, gen: row.gen } }
  if (row.pending_target === deleting) return await run(instanceDeleteSaga, { id, name })
  if (row.pending_target === 'stopped') return await run(instanceStopSaga, params)
  const isLost = row.pending_target === null && !isKnown && isLive(row.run_state)
  if (row.pending_target !== 'running' && !isLost) return false
  return await run(instanceStartSaga, params)
}
