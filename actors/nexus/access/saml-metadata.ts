/** What an identity provider says of itself (SAML 2.0 metadata): where to send users, whom to believe. */
import { X509Certificate } from 'node:crypto'
import { request } from 'undici'
import type { Static } from 'typebox'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { idpMetadataSource } from '../api/contract/silos.ts'
import { invalidValue } from '#actors/http/errors.ts'
import { elementsOf, parseXml, samlNames } from './saml-xml.ts'

const redirectBinding = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect'

export interface Metadata {
  readonly entity_id: string
  /** Where browsers are redirected to. */
  readonly login_url: string
  /** Certificates that assertions may be signed with, as PEM. */
  readonly certificates: readonly string[]
}

/** The metadata's text, from where it is said to be. Throws what the caller is told. */
export async function fetchMetadata(source: Static<typeof idpMetadataSource>): Promise<string> {
  if (source.type === 'url') return await download(source.url)
  const { data } = source
  if (!isBase64(data)) throw invalidValue('data', 'error decoding base64 data: it is none')
  return textOf('data', Buffer.from(data, 'base64'))
}

export const isBase64 = (text: string): boolean =>
  text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text)

function textOf(label: string, bytes: Buffer): string {
  if (bytes.length > limits.saml_metadata_bytes_max) {
    throw invalidValue(label, `metadata may have at most ${limits.saml_metadata_bytes_max} bytes`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw invalidValue(label, 'error getting UTF8 from metadata: it is not UTF-8')
  }
}

/** GETs it. Redirects are not followed: where metadata is, is what was said. */
async function download(text: string): Promise<string> {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw invalidValue('url', 'error querying url: it must be an http or https URL')
  }
  const signal = AbortSignal.timeout(limits.saml_metadata_ms_max)
  try {
    const answer = await request(url, { signal })
    if (answer.statusCode >= 300) {
      await answer.body.dump({ limit: 0 }).catch(() => undefined)
      throw invalidValue('url', `querying url returned: ${answer.statusCode}`)
    }
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      length += chunk.length
      if (length > limits.saml_metadata_bytes_max) break
    }
    return textOf('url', Buffer.concat(chunks))
  } catch (error) {
    if (error instanceof Error && 'error_code' in error) throw error
    throw invalidValue('url', `error querying url: ${explain(error)}`)
  }
}

/** Reads metadata. The error says what is missing. */
export function readMetadata(text: string): Result<Metadata, 'malformed'> {
  const parsed = parseXml(text)
  if (!parsed.ok) return parsed
  const root = parsed.value
  if (root.namespaceURI !== samlNames.metadata || root.localName !== 'EntityDescriptor') {
    return err('malformed', 'its root is not an EntityDescriptor of SAML 2.0')
  }
  const [idp] = elementsOf(root, samlNames.metadata, 'IDPSSODescriptor')
  if (idp === undefined) return err('malformed', 'it describes no identity provider')
  const services = elementsOf(idp, samlNames.metadata, 'SingleSignOnService')
  const login_url =
    services
      .find((service) => service.getAttribute('Binding') === redirectBinding)
      ?.getAttribute('Location') ?? ''
  if (!isHttpUrl(login_url)) {
    return err('malformed', 'it has no SingleSignOnService with the HTTP-Redirect binding')
  }
  const certificates = elementsOf(idp, samlNames.metadata, 'KeyDescriptor')
    .filter((key) => key.getAttribute('use') !== 'encryption')
    .flatMap((key) => elementsOf(key, samlNames.signature, 'X509Certificate'))
    .map((element) => pemOf(element.textContent ?? ''))
  if (certificates.length === 0 || certificates.includes(null)) {
    return err(
      'malformed',
      'it has no X.509 certificate to verify signatures with, or a broken one',
    )
  }
  return ok({
    entity_id: root.getAttribute('entityID') ?? '',
    login_url,
    certificates: certificates.filter((pem) => pem !== null),
  })
}

export const isHttpUrl = (text: string): boolean =>
  /^https?:$/.test(URL.parse(text)?.protocol ?? '')

/** A certificate of base64 DER as PEM; null when it is none. */
export function pemOf(base64: string): string | null {
  const packed = base64.replaceAll(/\s/g, '')
  if (!isBase64(packed)) return null
  try {
    return new X509Certificate(Buffer.from(packed, 'base64')).toString()
  } catch {
    return null
  }
}
