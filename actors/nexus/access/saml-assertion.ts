/**
 * What a provider asserts, and whether it is to be believed. Signatures are node-saml's to check; whom an
 * assertion is for and until when is checked here, of what was signed alone.
 */
import { SAML, type Profile } from '@node-saml/node-saml'
import type { Element } from '@xmldom/xmldom'
import { limits } from '#config/limits.ts'
import { readIsoTime } from '#runtime/clock.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { Services } from '../context.ts'
import { readMetadata } from './saml-metadata.ts'
import { privateKeyOf, type Provider } from './saml.ts'
import type { Subject } from './saml-users.ts'
import { childrenOf, elementsOf, parseXml, samlNames } from './saml-xml.ts'

/** RSA with SHA-2, exclusive canonicalization: what XML signatures may be made with. */
const algorithms: readonly RegExp[] = [
  /^http:\/\/www\.w3\.org\/2001\/04\/xmldsig-more#rsa-sha(256|512)$/,
  /^http:\/\/www\.w3\.org\/2001\/04\/xmlenc#sha(256|512)$/,
]

/** The protocol's library, set to this provider. */
export function serviceOf(provider: Provider, request_id = ''): SAML {
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
          privateKey: key.export({ type: 'pkcs8', format: 'pem' }),
          signatureAlgorithm: 'sha256' as const,
        }),
  })
}

/** What was signed, as far as it matters. */
export interface Assertion {
  readonly id: string
  readonly in_response_to: string | null
  readonly time_expires_ms: number
  readonly subject: Subject
}

/** What the provider asserts; the error, which is for the log, says why it is not believed. */
export async function readResponse(
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

/** Whom the signed assertion is for, and until when. What node-saml has looked at is not looked at again. */
function checkAssertion(
  now_ms: number,
  provider: Provider,
  profile: Profile,
): Result<Assertion, 'refused'> {
  const parsed = parseXml(profile.getAssertionXml?.() ?? '')
  if (!parsed.ok) return err('refused', parsed.detail)
  const id = parsed.value.getAttribute('ID')
  const confirmation = confirmationOf(parsed.value)
  const end_ms = timeOf(confirmation, 'NotOnOrAfter') + limits.saml_clock_skew_ms
  const begin_ms = timeOf(confirmation, 'NotBefore') - limits.saml_clock_skew_ms
  const external_id = typeof profile.nameID === 'string' ? profile.nameID : ''
  const groups = groupsIn(profile, provider.group_attribute_name)
  const demands: readonly (readonly [boolean, string])[] = [
    [id !== '', 'its assertion has no ID'],
    [profile.issuer === provider.idp_entity_id, 'its Issuer is another'],
    [confirmation?.getAttribute('Recipient') === provider.acs_url, 'its Recipient is not ours'],
    [now_ms < end_ms, 'it has expired, or does not say when it does'],
    [end_ms - now_ms <= limits.saml_assertion_ms_max, 'it is good for too long'],
    [!(now_ms < begin_ms), 'it is not valid yet'],
    [external_id !== '', 'it names nobody'],
    [external_id.length <= limits.external_id_chars_max, 'the name that it gives is too long'],
    [groups.length <= limits.saml_groups_max, 'it names too many groups'],
  ]
  const unmet = demands.find(([isMet]) => !isMet)
  if (unmet !== undefined) return err('refused', unmet[1])
  const in_response_to = confirmation?.getAttribute('InResponseTo') ?? ''
  return ok({
    id,
    in_response_to: in_response_to === '' ? null : in_response_to,
    time_expires_ms: end_ms,
    subject: { external_id, groups },
  })
}

const children = (of: Element, name: string) => childrenOf(of, samlNames.assertion, name)

/** Who bears the assertion is its subject, under these conditions. */
function confirmationOf(assertion: Element): Element | null {
  const bearer = children(assertion, 'Subject')
    .flatMap((subject) => children(subject, 'SubjectConfirmation'))
    .find((one) => one.getAttribute('Method') === 'urn:oasis:names:tc:SAML:2.0:cm:bearer')
  const [data = null] = bearer === undefined ? [] : children(bearer, 'SubjectConfirmationData')
  return data
}

/** NaN, which is neither before nor after anything, when it is not there. */
const timeOf = (of: Element | null, name: string) =>
  readIsoTime(of?.getAttribute(name) ?? '') ?? Number.NaN

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
