/**
 * Logging in by SAML 2.0 (web browser SSO profile): a redirect to the provider, and what the provider
 * posts back through the browser, which answers a request of ours or none, and counts once.
 */
import { createHash } from 'node:crypto'
import { limits } from '#config/limits.ts'
import { Reply } from '#actors/http/route.ts'
import { implement, type AnyCall } from '../api/route.ts'
import { sessionCookie, startSession } from './authn.ts'
import type { Services } from '../context.ts'
import { badRequest, notFound, unauthenticated } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import { readResponse, serviceOf, type Assertion } from './saml-assertion.ts'
import { isBase64 } from './saml-metadata.ts'
import { providerNamed, type Provider } from './saml.ts'
import { joinSilo } from './saml-users.ts'
import type { StoreTransaction } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

export const samlLoginRoutes = [
  implement('login_saml_begin', async (call) => {
    const { services } = call
    const provider = await providerOf(call)
    const id = `_${Buffer.from(services.random.bytes(20)).toString('hex')}`
    await services.store
      .insertInto('saml_login_request')
      .values({
        id,
        identity_provider_id: provider.id,
        time_expires_ms: services.clock.now() + limits.saml_login_ms_max,
      })
      .execute()
    const referer = call.header('referer')
    const state = referer === null ? '' : encodeState({ referer })
    const location = await serviceOf(provider, id).getAuthorizeUrlAsync(state, undefined, {})
    return new Reply(302, { location, 'cache-control': 'no-store' })
  }),

  implement('login_saml', async (call) => {
    const { services, body, scheme } = call
    const provider = await providerOf(call)
    const form = readForm(body)
    const asserted = await readResponse(services, provider, form.response)
    if (!asserted.ok) {
      const { detail: why } = asserted
      services.log.info('a SAML login was refused', { identity_provider_id: provider.id, why })
      throw unauthenticated()
    }
    const user_id = await transact(services, async (store) => {
      await demandLive(store, 'silo', { id: provider.silo_id, name: null })
      await useUp(services, store, { provider, assertion: asserted.value })
      return await joinSilo(services, store, {
        silo_id: provider.silo_id,
        ...asserted.value.subject,
      })
    })
    const token = await startSession(services, user_id)
    const location = placeOf(form.state, call.header('host'))
    return new Reply(303, { location, 'set-cookie': sessionCookie(services, token, scheme) })
  }),
]

async function providerOf({ services, path }: AnyCall): Promise<Provider> {
  const [silo_name, name] = [path('silo_name'), path('provider_name')]
  const silo = await services.store
    .selectFrom('silo')
    .select('id')
    .where('name', '=', silo_name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (silo === undefined) throw notFound('silo', silo_name)
  const provider = await providerNamed(services.store, silo.id, name)
  if (provider === null) throw notFound('identity-provider', name)
  return provider
}

interface Form {
  readonly response: string
  readonly state: string | null
}

/** The form that the browser posts, whatever type it says that it is. Throws 400. */
function readForm(body: Buffer): Form {
  const fields = new URLSearchParams(body.toString('utf8'))
  const [response = null, ...more] = fields.getAll('SAMLResponse')
  const place = 'unable to parse URL-encoded body'
  if (response === null) throw badRequest(`${place}: missing field \`SAMLResponse\``)
  if (more.length > 0) throw badRequest(`${place}: duplicate field \`SAMLResponse\``)
  const packed = response.replaceAll(/\s/g, '')
  if (!isBase64(packed)) throw badRequest('SAMLResponse is not base64')
  if (packed.length > limits.saml_response_bytes_max) throw badRequest('SAMLResponse is too long')
  return { response: packed, state: fields.get('RelayState') }
}

/** An assertion counts once, and what answers a request answers one that waits. Throws 401. */
async function useUp(
  services: Services,
  store: StoreTransaction,
  { provider, assertion }: { readonly provider: Provider; readonly assertion: Assertion },
): Promise<void> {
  const assertion_hash = createHash('sha256').update(assertion.id).digest('hex')
  const used = await store
    .selectFrom('saml_assertion_used')
    .select('assertion_hash')
    .where('identity_provider_id', '=', provider.id)
    .where('assertion_hash', '=', assertion_hash)
    .executeTakeFirst()
  if (used !== undefined) throw unauthenticated()
  const { time_expires_ms, in_response_to } = assertion
  await store
    .insertInto('saml_assertion_used')
    .values({ identity_provider_id: provider.id, assertion_hash, time_expires_ms })
    .execute()
  if (in_response_to === null) return
  const { numDeletedRows } = await store
    .deleteFrom('saml_login_request')
    .where('id', '=', in_response_to)
    .where('identity_provider_id', '=', provider.id)
    .where('time_expires_ms', '>', services.clock.now())
    .executeTakeFirst()
  if (numDeletedRows === 0n) throw unauthenticated()
}

const encodeState = (state: { readonly referer: string }) =>
  Buffer.from(JSON.stringify(state)).toString('base64')

/** Where the user came from, when that is a page of ours: a provider sends nobody elsewhere. */
function placeOf(state: string | null, host: string | null): string {
  try {
    const read: unknown = JSON.parse(Buffer.from(state ?? '', 'base64').toString('utf8'))
    const url = new URL(String(Object(read)['referer']))
    return url.host === host && /^https?:$/.test(url.protocol) ? url.href : '/'
  } catch {
    return '/'
  }
}
