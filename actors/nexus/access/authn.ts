/** Who asks: the configured schemes are tried in order; one that is used and fails ends the search. */
import { hash } from 'node:crypto'
import type { Actor, Services } from '../context.ts'
import { unauthenticated } from '#actors/http/errors.ts'
import type { Credentials } from '#actors/http/face.ts'
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
    if (user_id === null) return 'not_requested'
    return onlyOne(await userWithId(services.store, { id: user_id.toLowerCase() }))
  },
  session_cookie: async (services: Services, given: Credentials): Promise<Outcome> => {
    const token = sessionToken(given.cookie)
    return token === null ? 'not_requested' : await userBySession(services, token)
  },
  access_token: async (services: Services, given: Credentials): Promise<Outcome> => {
    const token = bearer(given, tokenPrefix)
    if (token === null) return 'not_requested'
    return onlyOne(await userWithToken(services.store, { token_hash: hashToken(token) }))
  },
} as const

const liveUsers = (store: Store) =>
  store
    .selectFrom('silo_user')
    .select(['id as user_id', 'silo_id'])
    .where('time_deleted_ms', 'is', null)

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
const sessionUsed = prepare(
  (
    store: Store,
    given: { readonly token_hash: string } & Readonly<
      Record<'now_ms' | 'used_from_ms' | 'created_from_ms', number>
    >,
  ) =>
    store
      .updateTable('console_session')
      .set({ time_last_used_ms: given.now_ms })
      .where('token_hash', '=', given.token_hash)
      .where('time_last_used_ms', '>=', given.used_from_ms)
      .where('time_created_ms', '>=', given.created_from_ms)
      .returning('silo_user_id as id'),
)

/** The only one of these users; throws 401 when there is none. */
function onlyOne([user]: readonly Actor[]): Actor {
  if (user === undefined) throw unauthenticated()
  return user
}

/** A session lives while it is used, and at most for its absolute time. */
async function userBySession(services: Services, token: string): Promise<Actor> {
  const { store, clock, config } = services
  const now_ms = clock.now()
  const [user] = await sessionUsed(store, {
    token_hash: hashToken(token),
    now_ms,
    used_from_ms: now_ms - config.authn.session_idle_timeout_minutes * minute_ms,
    created_from_ms: now_ms - config.authn.session_absolute_timeout_minutes * minute_ms,
  })
  if (user === undefined) {
    await endSession(services, token)
    throw unauthenticated()
  }
  return onlyOne(await userWithId(store, user))
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
