/** Who asks: the configured schemes are tried in order; one that is used and fails ends the search. */
import { hash } from 'node:crypto'
import type { Actor, Services } from '../context.ts'
import { unauthenticated } from '#actors/http/errors.ts'
import type { Credentials } from '#actors/http/http.ts'
import { prepare } from '../store/prepare.ts'
import type { Store } from '../store/schema.ts'

const spoofPrefix = 'oxide-spoof-'
const tokenPrefix = 'oxide-token-'
const cookieName = 'session'
const minute_ms = 60_000

type Scheme = 'http' | 'https'
type Outcome = Actor | 'not_requested'

/** The caller, or an ApiError with status 401. */
export async function authenticate(services: Services, given: Credentials): Promise<Actor> {
  for (const scheme of services.config.authn.schemes) {
    const outcome = await schemes[scheme](services, given)
    if (outcome !== 'not_requested') return outcome
  }
  throw unauthenticated()
}

const bearer = (given: Credentials, prefix: string): string | null => {
  const text = given.authorization ?? ''
  const start = `Bearer ${prefix}`
  return text.startsWith(start) ? text.slice(start.length) : null
}

const schemes = {
  spoof: async (services: Services, given: Credentials): Promise<Outcome> => {
    const user_id = bearer(given, spoofPrefix)
    return user_id === null ? 'not_requested' : await userById(services, user_id.toLowerCase())
  },
  session_cookie: async (services: Services, given: Credentials): Promise<Outcome> => {
    const token = sessionToken(given.cookie)
    return token === null ? 'not_requested' : await userBySession(services, token)
  },
  access_token: async (services: Services, given: Credentials): Promise<Outcome> => {
    const token = bearer(given, tokenPrefix)
    if (token === null) return 'not_requested'
    const [row] = await userWithToken(services.store, { token_hash: hashToken(token) })
    return await actorOf(services, row ?? null)
  },
} as const

const liveUsers = (store: Store) =>
  store.selectFrom('silo_user').select(['id', 'silo_id']).where('time_deleted_ms', 'is', null)

// Not joined: SQLite plans a join anew for every value.
const userWithId = prepare((store: Store, { id }: { readonly id: string }) =>
  liveUsers(store).where('id', '=', id),
)
const userWithToken = prepare((store: Store, { token_hash }: { readonly token_hash: string }) =>
  liveUsers(store).where('id', '=', (from) =>
    from
      .selectFrom('device_access_token')
      .select('silo_user_id')
      .where('token_hash', '=', token_hash),
  ),
)
const groupsOfUser = prepare((store: Store, { id }: { readonly id: string }) =>
  store.selectFrom('silo_group_membership').select('silo_group_id').where('silo_user_id', '=', id),
)

async function userById(services: Services, id: string): Promise<Actor> {
  const [row] = await userWithId(services.store, { id })
  return await actorOf(services, row ?? null)
}

/** Throws 401 when there is no such user. */
async function actorOf(
  { store }: Services,
  row: { readonly id: string; readonly silo_id: string } | null,
): Promise<Actor> {
  if (row === null) throw unauthenticated()
  const groups = await groupsOfUser(store, { id: row.id })
  const identities = [row.id, ...groups.map(({ silo_group_id }) => silo_group_id)]
  return { user_id: row.id, silo_id: row.silo_id, identities }
}

/** A session lives while it is used, and at most for its absolute time. */
async function userBySession(services: Services, token: string): Promise<Actor> {
  const { store, clock, config } = services
  const token_hash = hashToken(token)
  const row = await store
    .selectFrom('console_session')
    .selectAll()
    .where('token_hash', '=', token_hash)
    .executeTakeFirst()
  if (row === undefined) throw unauthenticated()
  const now_ms = clock.now()
  const idle_ms = config.authn.session_idle_timeout_minutes * minute_ms
  const absolute_ms = config.authn.session_absolute_timeout_minutes * minute_ms
  if (now_ms - row.time_last_used_ms > idle_ms || now_ms - row.time_created_ms > absolute_ms) {
    await endSession(services, token)
    throw unauthenticated()
  }
  await store
    .updateTable('console_session')
    .set({ time_last_used_ms: now_ms })
    .where('token_hash', '=', token_hash)
    .execute()
  return await userById(services, row.silo_user_id)
}

/** The session's token in a Cookie header; null when there is none. */
export function sessionToken(cookie: string | null): string | null {
  for (const part of (cookie ?? '').split(';')) {
    const [key = '', value = ''] = part.trim().split('=')
    if (key === cookieName && value !== '') return value
  }
  return null
}

/** What came over TLS goes back over nothing else. */
const cookie = (token: string, max_age_s: number, scheme: Scheme) =>
  `${cookieName}=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${max_age_s}${scheme === 'https' ? '; Secure' : ''}`
/** The header that gives a browser its session. */
export const sessionCookie = ({ config }: Services, token: string, scheme: Scheme): string =>
  cookie(token, config.authn.session_idle_timeout_minutes * 60, scheme)
export const endedCookie = (scheme: Scheme): string => cookie('', 0, scheme)

/** Makes a session and returns its token, 40 hex digits; the store keeps only its hash. */
export async function startSession(services: Services, silo_user_id: string): Promise<string> {
  const token = newToken(services)
  const now_ms = services.clock.now()
  await services.store
    .insertInto('console_session')
    .values({
      token_hash: hashToken(token),
      silo_user_id,
      time_created_ms: now_ms,
      time_last_used_ms: now_ms,
    })
    .execute()
  return token
}

export async function endSession(services: Services, token: string): Promise<void> {
  await services.store
    .deleteFrom('console_session')
    .where('token_hash', '=', hashToken(token))
    .execute()
}

export const newToken = (services: Services): string =>
  Buffer.from(services.random.bytes(20)).toString('hex')

export const hashToken = (token: string): string => hash('sha256', token)
