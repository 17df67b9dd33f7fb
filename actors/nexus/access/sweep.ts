/** What has expired goes: sessions, and logins that nobody finished. */
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import type { Store } from '../store/schema.ts'

const minute_ms = 60_000

/**
 * Deletes what has expired, at most `sweep_rows_max` of each kind. Gives back how many rows went: as
 * many again may be left while that is not 0. What has expired is refused before it is swept.
 */
export async function sweepSessions({ store, clock, config }: Services): Promise<number> {
  const now_ms = clock.now()
  const { session_idle_timeout_minutes: idle, session_absolute_timeout_minutes: absolute } =
    config.authn
  const ends: readonly End[] = [
    ['console_session', 'token_hash', 'time_last_used_ms', now_ms - idle * minute_ms],
    ['console_session', 'token_hash', 'time_created_ms', now_ms - absolute * minute_ms],
    ['device_auth_request', 'user_code', 'time_expires_ms', now_ms - limits.device_expired_kept_ms],
    ['saml_login_request', 'id', 'time_expires_ms', now_ms],
    ['saml_assertion_used', 'assertion_hash', 'time_expires_ms', now_ms],
  ]
  let gone = 0
  for (const end of ends) gone += await sweepRows(store, end)
  return gone
}

/** Rows of a table whose time is before a moment, and what leads their key. */
type End = readonly [table: Swept, key: string, time: string, before_ms: number]
type Swept =
  | 'console_session'
  | 'device_auth_request'
  | 'saml_login_request'
  | 'saml_assertion_used'

/** First the keys, then the rows, which databases find by them: one that was used meanwhile stays. */
async function sweepRows(store: Store, [table, key, time, before_ms]: End): Promise<number> {
  const at = store.dynamic.ref(time)
  const rows = await store
    .selectFrom(table)
    .select(store.dynamic.ref(key))
    .where(at, '<', before_ms)
    .orderBy(at)
    .limit(limits.sweep_rows_max)
    .execute()
  if (rows.length === 0) return 0
  const keys = rows.flatMap((row) => Object.values(row).map(String))
  const { numDeletedRows } = await store
    .deleteFrom(table)
    .where(store.dynamic.ref(key), 'in', keys)
    .where(at, '<', before_ms)
    .executeTakeFirst()
  return Number(numDeletedRows)
}
