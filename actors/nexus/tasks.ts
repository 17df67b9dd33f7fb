/** The background tasks of Nexus. */
import { limits } from '#config/limits.ts'
import type { Task } from './background.ts'
import type { Services } from './context.ts'
import { publishDns } from './dns-config.ts'
import { allOwed, settle } from './propagation.ts'
import { reconcileSled } from './reconcile.ts'
import { transact } from './store/transact.ts'

const minute_ms = 60_000

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

/** Sends what sleds have not been sent: rules of VPCs, and the DNS zone. */
const propagation: Task = {
  name: 'propagation',
  period_ms: limits.background_propagation_ms,
  run: async (services, isWhole) => {
    const all = await allOwed(services, isWhole)
    let sent = 0
    for (const owed of all) {
      const isSent =
        owed.kind === 'dns'
          ? await settle(services, owed, async () => await sendDns(services))
          : await services.firewall.publish(services, owed.id)
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

/** Removes sessions that have ended and logins that nobody confirmed in time. */
const expiry: Task = {
  name: 'expiry',
  period_ms: limits.background_expiry_ms,
  run: async (services) => {
    const { authn } = services.config
    const now_ms = services.clock.now()
    const idle_ms = authn.session_idle_timeout_minutes * minute_ms
    const absolute_ms = authn.session_absolute_timeout_minutes * minute_ms
    const removed = await transact(services, async (store) => {
      const results = [
        await store
          .deleteFrom('console_session')
          .where('time_last_used_ms', '<', now_ms - idle_ms)
          .executeTakeFirst(),
        await store
          .deleteFrom('console_session')
          .where('time_created_ms', '<', now_ms - absolute_ms)
          .executeTakeFirst(),
        await store
          .deleteFrom('device_auth_request')
          .where('time_expires_ms', '<', now_ms)
          .executeTakeFirst(),
      ]
      return results.reduce((sum, { numDeletedRows }) => sum + Number(numDeletedRows), 0)
    })
    return removed === 0 ? null : `${removed} sessions and requests removed`
  },
}

export const tasks: readonly Task[] = [sagaAdoption, instances, propagation, expiry]
