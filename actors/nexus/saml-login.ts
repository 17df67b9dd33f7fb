/**
 * Logging in by SAML 2.0 (web browser SSO profile): a redirect to the provider, and what the provider
 * posts back through the browser. Signatures are node-saml's to check; whom an assertion is for, whether
 * it answers a request of ours, and that it counts once, is checked here, of what was signed alone.
 */
import { createHash } from 'node:crypto'
import { SAML, type Profile } from '@node-saml/node-saml'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { implement, Reply, type AnyCall } from './api/route.ts'
import { sessionCookie, startSession } from './authn.ts'
import type { Services } from './context.ts'
import { badRequest, notFound, unauthenticated } from './errors.ts'
import { demandLive } from './lookup.ts'
import { isBase64, readMetadata } from './saml-metadata.ts'
import { privateKeyOf, providerNamed, type Provider } from './saml.ts'
import { elementsOf, parseXml, samlNames } from './saml-xml.ts'
import { joinSilo, type Subject } from './saml-users.ts'
import type { StoreTransaction } from './store/schema.ts'
import { transact } from './store/transact.ts'

/** RSA with SHA-2, exclusive canonicalization: what XML signatures may be made with. */
const algorithms: readonly RegExp[] = [
  /^http:\/\/www\.w3\.org\/2001\/04\/xmldsig-more#rsa-sha(256|512)$/,
  /^http:\/\/www\.w3\.org\/2001\/04\/xmlenc#sha(256|512)$/,
]

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

/** The protocol's library, set to this provider. */
function serviceOf(provider: Provider, request_id = ''): SAML {
  const described = readMetadata(provider.idp_metadata)
  // It was read before it was stored.
  if (!described.ok) throw new Error(`metadata of ${provider.id}: ${described.detail}`)
  const { login_url, certificates } = described.value
  const key = provider.private_key === null ? null : privateKeyOf(provider.private_key)
  return new SAML({
    entryPoint: login_url,
    issuer: provider.sp_client_id,
    audience: provider.sp_client_id,
    callbackUrl: provider.acs_url,
    idpCert: [...certificates],
    // A signature of the whole response or of the assertion: one of them there must be.
    wantAuthnResponseSigned: false,
    wantAssertionsSigned: false,
    acceptedClockSkewMs: limits.saml_clock_skew_ms,
    identifierFormat: null,
    disableRequestedAuthnContext: true,
    generateUniqueId: () => request_id,
    ...(key === null
      ? {}
      : {
          privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
          signatureAlgorithm: 'sha256' as const,
        }),
  })
}

interface Form {
  readonly response: string
  readonly state: string | null
}

/** The form that the browser posts, whatever type it says that it is. Throws 400. */
function readForm(body: Buffer): Form {
  const fields = new URLSearchParams(body.toString('utf8'))
  const [response = null, ...more] = fields.getAll('SAMLResponse')
  if (response === null)
    throw badRequest('unable to parse URL-encoded body: missing field `SAMLResponse`')
  if (more.length > 0)
    throw badRequest('unable to parse URL-encoded body: duplicate field `SAMLResponse`')
  const packed = response.replaceAll(/\s/g, '')
  if (!isBase64(packed)) throw badRequest('SAMLResponse is not base64')
  if (packed.length > limits.saml_response_bytes_max) throw badRequest('SAMLResponse is too long')
  return { response: packed, state: fields.get('RelayState') }
}

interface Assertion {
  readonly id: string
  readonly in_response_to: string | null
  readonly time_expires_ms: number
  readonly subject: Subject
}

/** What the provider asserts; the error, which is for the log, says why it is not believed. */
async function readResponse(
  services: Services,
  provider: Provider,
  response: string,
): Promise<Result<Assertion, 'refused'>> {
  const parsed = parseXml(Buffer.from(response, 'base64').toString('utf8'))
  if (!parsed.ok) return err('refused', parsed.detail)
  const root = parsed.value
  const destination = root.getAttribute('Destination')
  if (destination !== '' && destination !== provider.acs_url) {
    return err('refused', 'its Destination is not our acs_url')
  }
  for (const name of ['SignatureMethod', 'DigestMethod']) {
    const used = elementsOf(root, samlNames.signature, name)
    const isKnown = used.every((element) =>
      algorithms.some((known) => known.test(element.getAttribute('Algorithm'))),
    )
    if (!isKnown) return err('refused', `its ${name} is not one that is allowed`)
  }
  try {
    const { profile } = await serviceOf(provider).validatePostResponseAsync({
      SAMLResponse: response,
    })
    return profile === null
      ? err('refused', 'it asserts nothing')
      : checkAssertion(services.clock.now(), provider, profile)
  } catch (error) {
    // The library's errors are of what was sent.
    return err('refused', explain(error).slice(0, 256))
  }
}

/** The assertion as node-saml read it: lists of elements, `$` their attributes. */
interface Read {
  readonly $?: Readonly<Record<string, string>>
  readonly [child: string]: unknown
}
const childrenOf = (of: Read | undefined, name: string): readonly Read[] => {
  const found = of?.[name]
  return Array.isArray(found) ? (found as Read[]) : []
}

function checkAssertion(
  now_ms: number,
  provider: Provider,
  profile: Profile,
): Result<Assertion, 'refused'> {
  const assertion = (profile.getAssertion?.() as { Assertion?: Read } | undefined)?.Assertion
  const id = assertion?.$?.['ID'] ?? ''
  if (id === '') return err('refused', 'its assertion has no ID')
  if (profile.issuer !== provider.idp_entity_id) return err('refused', 'its Issuer is another')
  const [subject] = childrenOf(assertion, 'Subject')
  const confirmation = childrenOf(subject, 'SubjectConfirmation').find(
    ({ $ }) => $?.['Method'] === 'urn:oasis:names:tc:SAML:2.0:cm:bearer',
  )
  const [data] = childrenOf(confirmation, 'SubjectConfirmationData')
  const { Recipient, NotOnOrAfter = '', InResponseTo = null, NotBefore } = data?.$ ?? {}
  if (Recipient !== provider.acs_url) return err('refused', 'its Recipient is not our acs_url')
  if (NotBefore !== undefined && !(Date.parse(NotBefore) - limits.saml_clock_skew_ms <= now_ms)) {
    return err('refused', 'it is not valid yet')
  }
  const end_ms = Date.parse(NotOnOrAfter) + limits.saml_clock_skew_ms
  if (!(now_ms < end_ms)) return err('refused', 'it has expired, or does not say when it does')
  if (end_ms - now_ms > limits.saml_assertion_ms_max) {
    return err('refused', 'it is good for longer than an assertion may be')
  }
  const external_id = typeof profile.nameID === 'string' ? profile.nameID : ''
  if (external_id === '' || external_id.length > limits.external_id_chars_max) {
    return err('refused', 'it names nobody, or by a name that is too long')
  }
  const groups = groupsIn(profile, provider.group_attribute_name)
  if (groups.length > limits.saml_groups_max) return err('refused', 'it names too many groups')
  return ok({
    id,
    in_response_to: InResponseTo,
    time_expires_ms: end_ms,
    subject: { external_id, groups },
  })
}

/** The groups of an attribute's values, which may each be a list with commas; null: none are wanted. */
function groupsIn({ attributes }: Profile, name: string | null): readonly string[] {
  const all: unknown = name === null ? undefined : Object(attributes)[name]
  const names = [all]
    .flat()
    .filter((value) => typeof value === 'string')
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
  return [...new Set(names)].filter(
    (value) => value !== '' && value.length <= limits.external_id_chars_max,
  )
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
