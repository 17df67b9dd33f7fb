/** Ways to get credentials: the development login, logging out, and OAuth's device flow (RFC 8628). */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { wellKnown } from '#config/addressing.ts'
import { readBody } from './api/body.ts'
import { bytesOf, credentialsOf } from './api/server.ts'
import {
  authenticate,
  cookieName,
  endSession,
  hashToken,
  newToken,
  sessionToken,
  startSession,
} from './authn.ts'
import type { Services } from './context.ts'
import { badRequest, invalidRequest, notFound, unauthenticated } from './errors.ts'
import { uuid } from './names.ts'
import { fits } from '#runtime/schema.ts'
import { transact } from './store/transact.ts'

const device_s = 300
/** No vowels, so that no words come out; no letters that look like digits. */
const codeLetters = 'BCDFGHJKLMNPQRSTVWXZ'
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'

const spoofUsers: ReadonlyMap<string, string> = new Map([
  ['privileged', wellKnown.user_privileged],
  ['unprivileged', wellKnown.user_unprivileged],
])

export function addLogin(server: FastifyInstance, services: Services): void {
  addSessions(server, services)
  addDeviceFlow(server, services)
}

function addSessions(server: FastifyInstance, services: Services): void {
  server.post('/login', async (request, reply) => {
    const schema = Type.Object({ username: Type.String() })
    const body = readBody(schema, contentTypeOf(request), bytesOf(request.body))
    const user_id = fits(schema, body) ? spoofUsers.get(body.username) : undefined
    if (!services.config.authn.schemes.includes('spoof') || user_id === undefined) {
      throw unauthenticated()
    }
    const token = await startSession(services, user_id)
    const max_age_s = services.config.authn.session_idle_timeout_minutes * 60
    await reply.status(204).header('set-cookie', cookie(token, max_age_s)).send()
  })
  server.post('/logout', async (request, reply) => {
    const token = sessionToken(request.headers.cookie ?? null)
    if (token !== null) await endSession(services, token)
    await reply.status(204).header('set-cookie', cookie('', 0)).send()
  })
}

const cookie = (token: string, max_age_s: number) =>
  `${cookieName}=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${max_age_s}`

function addDeviceFlow(server: FastifyInstance, services: Services): void {
  server.post('/device/auth', async (request, reply) => {
    const client_id = formOf(request).get('client_id') ?? ''
    if (!fits(uuid, client_id)) {
      throw badRequest('unable to parse URL-encoded body: client_id: UUID parsing failed')
    }
    const { host } = request.headers
    if (host === undefined) {
      await oauthError(reply, 'invalid_request', 'missing Host header')
      return
    }
    const device_code = newToken(services)
    const user_code = newUserCode(services)
    const now_ms = services.clock.now()
    await services.store
      .insertInto('device_auth_request')
      .values({
        user_code,
        device_code: hashToken(device_code),
        client_id,
        time_created_ms: now_ms,
        time_expires_ms: now_ms + device_s * 1000,
        silo_user_id: null,
      })
      .execute()
    const verification_uri = `http://${host}/device/verify`
    await reply
      .status(200)
      .header('content-type', 'application/json')
      .send(
        JSON.stringify({
          device_code,
          user_code,
          verification_uri,
          verification_uri_complete: `${verification_uri}?user_code=${user_code}`,
          expires_in: device_s,
        }),
      )
  })

  server.post('/device/confirm', async (request, reply) => {
    const schema = Type.Object({ user_code: Type.String() })
    const body = readBody(schema, contentTypeOf(request), bytesOf(request.body))
    const actor = await authenticate(services, credentialsOf(request))
    const user_code = fits(schema, body) ? body.user_code : ''
    await confirm(services, user_code, actor.user_id)
    await reply.status(204).send()
  })

  server.post('/device/token', async (request, reply) => {
    const form = formOf(request)
    if (form.get('grant_type') !== deviceGrant) {
      await oauthError(reply, 'unsupported_grant_type')
      return
    }
    const access_token = await redeem(
      services,
      form.get('client_id') ?? '',
      form.get('device_code') ?? '',
    )
    if (access_token === null) {
      await oauthError(reply, 'authorization_pending')
      return
    }
    await reply
      .status(200)
      .header('content-type', 'application/json')
      .send(JSON.stringify({ access_token, token_type: 'bearer' }))
  })
}

async function confirm(services: Services, user_code: string, silo_user_id: string): Promise<void> {
  const found = await services.store
    .selectFrom('device_auth_request')
    .selectAll()
    .where('user_code', '=', user_code)
    .executeTakeFirst()
  if (found === undefined) throw notFound('device-auth-request', user_code)
  if (found.time_expires_ms < services.clock.now()) {
    throw invalidRequest('device authorization request expired')
  }
  await services.store
    .updateTable('device_auth_request')
    .set({ silo_user_id })
    .where('user_code', '=', user_code)
    .execute()
}

/** Trades a confirmed device code for an access token, once; null while nobody has confirmed. */
async function redeem(
  services: Services,
  client_id: string,
  device_code: string,
): Promise<string | null> {
  return await transact(services, async (store) => {
    const found = await store
      .selectFrom('device_auth_request')
      .selectAll()
      .where('client_id', '=', client_id)
      .where('device_code', '=', hashToken(device_code))
      .executeTakeFirst()
    if (found === undefined || found.silo_user_id === null) return null
    await store.deleteFrom('device_auth_request').where('user_code', '=', found.user_code).execute()
    const token = newToken(services)
    await store
      .insertInto('device_access_token')
      .values({
        token_hash: hashToken(token),
        client_id,
        silo_user_id: found.silo_user_id,
        time_created_ms: services.clock.now(),
      })
      .execute()
    return `oxide-token-${token}`
  })
}

function newUserCode(services: Services): string {
  const letters = Array.from(
    { length: 8 },
    () => codeLetters[Math.floor(services.random.next() * codeLetters.length)] ?? 'B',
  )
  return `${letters.slice(0, 4).join('')}-${letters.slice(4).join('')}`
}

const contentTypeOf = (request: FastifyRequest) => request.headers['content-type'] ?? null
const formOf = (request: FastifyRequest) =>
  new URLSearchParams(bytesOf(request.body).toString('utf8'))

async function oauthError(
  reply: {
    status: (code: number) => {
      header: (name: string, value: string) => { send: (text: string) => unknown }
    }
  },
  error: string,
  error_description?: string,
): Promise<void> {
  const body = error_description === undefined ? { error } : { error, error_description }
  await reply.status(400).header('content-type', 'application/json').send(JSON.stringify(body))
}
