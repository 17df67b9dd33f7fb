/** What has expired goes: sessions, and logins that nobody finished. */
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import type { Services } from './context.ts'

const minute_ms = 60_000

/**
 * Deletes what has expired, at most `sweep_rows_max` of each kind. Gives back how many rows went: as
 * many again may be left while that is not 0. What has expired is refused before it is swept.
 */
export async function sweepSessions({ store, clock, config }: Services): Promise<number> {
  const now_ms = clock.now()
  const idle_ms = config.authn.session_idle_timeout_minutes * minute_ms
  const absolute_ms = config.authn.session_absolute_timeout_minutes * minute_ms
  const most = limits.sweep_rows_max
  const idle = store
    .selectFrom('console_session')
    .select('token_hash')
    .where('time_last_used_ms', '<', now_ms - idle_ms)
    .orderBy('time_last_used_ms')
    .limit(most)
  const old = store
    .selectFrom('console_session')
    .select('token_hash')
    .where('time_created_ms', '<', now_ms - absolute_ms)
    .orderBy('time_created_ms')
    .limit(most)
  const devices = store
    .selectFrom('device_auth_request')
    .select('user_code')
    .where('time_expires_ms', '<', now_ms - limits.device_expired_kept_ms)
    .orderBy('time_expires_ms')
    .limit(most)
  const logins = store
    .selectFrom('saml_login_request')
    .select('id')
    .where('time_expires_ms', '<', now_ms)
    .orderBy('time_expires_ms')
    .limit(most)
  const assertions = store
    .selectFrom('saml_assertion_used')
    .select(['identity_provider_id', 'assertion_hash'])
    .where('time_expires_ms', '<', now_ms)
    .orderBy('time_expires_ms')
    .limit(most)
  const deletes = [
    store.deleteFrom('console_session').where('token_hash', 'in', idle),
    store.deleteFrom('console_session').where('token_hash', 'in', old),
    store.deleteFrom('device_auth_request').where('user_code', 'in', devices),
    store.deleteFrom('saml_login_request').where('id', 'in', logins),
    store
      .deleteFrom('saml_assertion_used')
      .where((build) =>
        build.eb(
          build.refTuple('identity_provider_id', 'assertion_hash'),
          'in',
          assertions.$asTuple('identity_provider_id', 'assertion_hash'),
        ),
      ),
  ]
  let gone = 0
  for (const one of deletes) gone += Number((await one.executeTakeFirst()).numDeletedRows)
  return gone
}

/** Sweeps from time to time until the returned function is called. */
export function keepSweeping(services: Services): () => void {
  const { clock, log } = services
  const sweep = async (): Promise<void> => {
    let pause_ms: number = limits.sweep_pause_ms
    try {
      if ((await sweepSessions(services)) > 0) pause_ms = limits.sweep_again_ms
    } catch (error) {
      log.warn('expired sessions were not swept', { why: explain(error) })
    }
    if (!isOver) cancel = clock.after(pause_ms, () => void sweep())
  }
  let isOver = false
  let cancel = clock.after(limits.sweep_pause_ms, () => void sweep())
  return () => {
    isOver = true
    cancel()
  }
}
