/** Ways to get credentials: the development login, logging out, and OAuth's device flow (RFC 8628). */
import { wellKnown } from '#config/addressing.ts'
import { Reply } from '#actors/http/route.ts'
import { implement } from '../api/route.ts'
import {
  endedCookie,
  endSession,
  hashToken,
  newToken,
  sessionCookie,
  sessionToken,
  startSession,
} from './authn.ts'
import type { Services } from '../context.ts'
import { invalidRequest, notFound, unauthenticated } from '#actors/http/errors.ts'
import { transact } from '../store/transact.ts'

const device_s = 300
/** No vowels, so that no words come out; no letters that look like digits. */
const codeLetters = 'BCDFGHJKLMNPQRSTVWXZ'
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

const spoofUsers: ReadonlyMap<string, string> = new Map([
  ['privileged', wellKnown.user_privileged],
  ['unprivileged', wellKnown.user_unprivileged],
])

export const loginRoutes = [
  implement('login_spoof', async ({ services, body, scheme }) => {
    const user_id = spoofUsers.get(body.username)
    if (!services.config.authn.schemes.includes('spoof') || user_id === undefined) {
      throw unauthenticated()
    }
    const token = await startSession(services, user_id)
    return new Reply(204, { 'set-cookie': sessionCookie(services, token, scheme) })
  }),

  implement('logout', async ({ services, header, scheme }) => {
    const token = sessionToken(header('cookie'))
    if (token !== null) await endSession(services, token)
    return new Reply(204, { 'set-cookie': endedCookie(scheme) })
  }),

  implement('device_auth_request', async (call) => {
    const { services, body } = call
    const host = call.header('host')
    if (host === null) return oauthError('invalid_request', 'missing Host header')
    const device_code = newToken(services)
    const user_code = newUserCode(services)
    const now_ms = services.clock.now()
    await services.store
      .insertInto('device_auth_request')
      .values({
        user_code,
        device_code: hashToken(device_code),
        client_id: body.client_id,
        time_created_ms: now_ms,
        time_expires_ms: now_ms + device_s * 1000,
        silo_user_id: null,
      })
      .execute()
    const verification_uri = `${call.scheme}://${host}/device/verify`
    return json(200, {
      device_code,
      user_code,
      verification_uri,
      verification_uri_complete: `${verification_uri}?user_code=${user_code}`,
      expires_in: device_s,
    })
  }),

  implement('device_auth_confirm', async ({ services, actor, body }) => {
    await confirm(services, body.user_code, actor.user_id)
    return null
  }),

  implement('device_access_token', async ({ services, body }) => {
    if (body.grant_type !== deviceGrant) return oauthError('unsupported_grant_type')
    const granted = await redeem(services, body.client_id, body.device_code)
    if (typeof granted === 'string') return oauthError(granted)
    return json(200, { ...granted, token_type: 'bearer' })
  }),
]

/** RFC 6749 §5.1: what may carry a token is not to be kept. */
const json = (status: number, value: unknown) =>
  new Reply(
    status,
    { 'content-type': 'application/json', 'cache-control': 'no-store' },
    JSON.stringify(value),
  )

const oauthError = (error: string, error_description: string | null = null) =>
  json(400, error_description === null ? { error } : { error, error_description })

/** Whoever is first to confirm a code lends the device their name; to others it is gone. */
async function confirm(services: Services, user_code: string, silo_user_id: string): Promise<void> {
  const now_ms = services.clock.now()
  const { numUpdatedRows } = await services.store
    .updateTable('device_auth_request')
    .set({ silo_user_id })
    .where('user_code', '=', user_code)
    .where('silo_user_id', 'is', null)
    .where('time_expires_ms', '>=', now_ms)
    .executeTakeFirst()
  if (numUpdatedRows > 0n) return
  const expired = await services.store
    .selectFrom('device_auth_request')
    .select('user_code')
    .where('user_code', '=', user_code)
    .where('time_expires_ms', '<', now_ms)
    .executeTakeFirst()
  throw expired === undefined
    ? notFound('device-auth-request', user_code)
    : invalidRequest('device authorization request expired')
}

interface Granted {
  readonly access_token: string
}
type Refused = 'authorization_pending' | 'expired_token'

/**
 * Trades a confirmed device code for an access token, once and in its time. The token is made here, not
 * at the confirmation, for the store keeps nothing that opens a door.
 */
async function redeem(
  services: Services,
  client_id: string,
  device_code: string,
): Promise<Granted | Refused> {
  const now_ms = services.clock.now()
  return await transact(services, async (store) => {
    const found = await store
      .selectFrom('device_auth_request')
      .selectAll()
      .where('client_id', '=', client_id)
      .where('device_code', '=', hashToken(device_code))
      .executeTakeFirst()
    if (found === undefined) return 'authorization_pending'
    if (found.time_expires_ms < now_ms) return 'expired_token'
    if (found.silo_user_id === null) return 'authorization_pending'
    await store.deleteFrom('device_auth_request').where('user_code', '=', found.user_code).execute()
    const token = newToken(services)
    await store
      .insertInto('device_access_token')
      .values({
        token_hash: hashToken(token),
        client_id,
        silo_user_id: found.silo_user_id,
        time_created_ms: now_ms,
      })
      .execute()
    return { access_token: `oxide-token-${token}` }
  })
}

function newUserCode(services: Services): string {
  const letters = Array.from(
    { length: 8 },
    () => codeLetters[Math.floor(services.random.next() * codeLetters.length)] ?? 'B',
  )
  return `${letters.slice(0, 4).join('')}-${letters.slice(4).join('')}`
}
