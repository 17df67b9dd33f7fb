/** The background tasks of Nexus. */
import { limits } from '#config/limits.ts'
import type { Task } from './background.ts'
import type { Services } from './context.ts'
import { publishDns } from './dns-config.ts'
import { allOwed, settle } from './propagation.ts'
import { reconcileSled } from './reconcile.ts'
import { sweepSessions } from './access/sweep.ts'
import { sweepSagas } from './saga-records.ts'

/** Takes over the sagas of members that are gone, and ends them. */
const sagaAdoption: Task = {
  name: 'saga-adoption',
  period_ms: limits.background_sagas_ms,
  run: async ({ sagas }) => {
    const adopted = await sagas.adopt()
    if (adopted === 0) return null
    await sagas.recover()
    return `${adopted} sagas taken over`
  },
}

/** Looks at all instances of all sleds that are there. */
const instances: Task = {
  name: 'instances',
  period_ms: limits.background_instances_ms,
  run: async (services) => {
    let told = 0
    for (const sled_id of services.sleds.connected) told += await reconcileSled(services, sled_id)
    return told === 0 ? null : `${told} instances were told again what is wanted`
  },
}

/** Sends what sleds have not been sent: rules of VPCs, where guests are, and the DNS zone. */
const propagation: Task = {
  name: 'propagation',
  period_ms: limits.background_propagation_ms,
  run: async (services, isWhole) => {
    const all = await allOwed(services, isWhole)
    let sent = 0
    for (const owed of all) {
      const { kind, id } = owed
      const isSent =
        kind === 'dns'
          ? await settle(services, owed, async () => await sendDns(services))
          : await services.publisher.publish(services, { kind, id })
      if (isSent) sent += 1
    }
    return all.length === 0 ? null : `${sent} of ${all.length} sent`
  },
}

async function sendDns(services: Services): Promise<boolean> {
  const sent = await Promise.all(
    services.sleds.connected.map(async (sled_id) => await publishDns(services, sled_id)),
  )
  return sent.every(Boolean)
}

/** Removes what has expired: sessions, and logins that nobody finished. */
const expiry: Task = {
  name: 'expiry',
  period_ms: limits.background_expiry_ms,
  run: async (services) => {
    const gone = await inBatches(async () => await sweepSessions(services))
    return gone === 0 ? null : `${gone} rows that had expired are gone`
  },
}

/** Removes sagas that ended long ago. */
const sagaExpiry: Task = {
  name: 'saga-expiry',
  period_ms: limits.background_expiry_ms,
  run: async (services) => {
    const gone = await inBatches(async () => await sweepSagas(services))
    return gone === 0 ? null : `${gone} sagas that ended long ago are gone`
  },
}

/** Sweeps until nothing is left, or the next run is to go on. Gives back how many rows went. */
async function inBatches(sweep: () => Promise<number>): Promise<number> {
  let all = 0
  for (let batches = 0; batches < limits.sweep_batches_max; batches += 1) {
    const gone = await sweep()
    if (gone === 0) break
    all += gone
  }
  return all
}

export const tasks: readonly Task[] = [sagaAdoption, sagaExpiry, instances, propagation, expiry]
