/** An identity provider: its metadata, and responses that xmlsec1, which is not ours, signs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sh } from './rack.ts'

const saml = 'urn:oasis:names:tc:SAML:2.0'
export const acs_url = 'https://rack.test/login/remote/saml/idp'
export const sp_client_id = 'urn:luge:sp'

/** What a response says; what is not given is as it should be. */
export interface Said {
  readonly id?: string
  readonly user?: string
  readonly issuer?: string
  readonly audience?: string
  readonly recipient?: string
  readonly destination?: string
  readonly in_response_to?: string | null
  /** From now, seconds. */
  readonly expires_s?: number
  readonly groups?: readonly string[]
  readonly algorithm?: 'rsa-sha256' | 'rsa-sha1'
}

export class Idp {
  readonly directory = mkdtempSync(join(tmpdir(), 'luge-idp-'))
  readonly entity_id = 'https://idp.test/metadata'
  readonly key = join(this.directory, 'key.pem')
  #ids = 0

  async open(): Promise<this> {
    await sh('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=idp', '-days', '2'],
      ...['-keyout', this.key, '-out', join(this.directory, 'cert.pem')],
    ])
    return this
  }

  close(): void {
    rmSync(this.directory, { recursive: true })
  }

  /** Base64 of the certificate in DER. */
  get certificate(): string {
    return bare(readFileSync(join(this.directory, 'cert.pem'), 'utf8'))
  }

  metadata(): string {
    return `<?xml version="1.0"?>
<md:EntityDescriptor xmlns:md="${saml}:metadata" entityID="${this.entity_id}">
  <md:IDPSSODescriptor protocolSupportEnumeration="${saml}:protocol">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
      <ds:X509Data><ds:X509Certificate>${this.certificate}</ds:X509Certificate></ds:X509Data>
    </ds:KeyInfo></md:KeyDescriptor>
    <md:SingleSignOnService Binding="${saml}:bindings:HTTP-POST" Location="https://idp.test/post"/>
    <md:SingleSignOnService Binding="${saml}:bindings:HTTP-Redirect" Location="https://idp.test/sso?x=1"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>`
  }

  /** A response, with a place for the signature of its assertion. */
  response(said: Said): string {
    const { id = `_a${(this.#ids += 1)}`, issuer = this.entity_id, recipient = acs_url } = said
    const { in_response_to = null, destination = acs_url, algorithm = 'rsa-sha256' } = said
    const expires = at(said.expires_s ?? 300)
    const answers = in_response_to === null ? '' : ` InResponseTo="${in_response_to}"`
    const values = (said.groups ?? []).map(
      (group) => `<saml:AttributeValue>${group}</saml:AttributeValue>`,
    )
    return (
      `<samlp:Response xmlns:samlp="${saml}:protocol" ID="${id}r" Version="2.0" IssueInstant="${at(0)}" Destination="${destination}"${answers}>` +
      `<samlp:Status><samlp:StatusCode Value="${saml}:status:Success"/></samlp:Status>` +
      `<saml:Assertion xmlns:saml="${saml}:assertion" ID="${id}" Version="2.0" IssueInstant="${at(0)}">` +
      `<saml:Issuer>${issuer}</saml:Issuer>${signatureOf(id, algorithm)}` +
      `<saml:Subject><saml:NameID>${said.user ?? 'ada@idp.test'}</saml:NameID>` +
      `<saml:SubjectConfirmation Method="${saml}:cm:bearer"><saml:SubjectConfirmationData Recipient="${recipient}" NotOnOrAfter="${expires}"${answers}/></saml:SubjectConfirmation></saml:Subject>` +
      `<saml:Conditions NotBefore="${at(-5)}" NotOnOrAfter="${expires}"><saml:AudienceRestriction><saml:Audience>${said.audience ?? sp_client_id}</saml:Audience></saml:AudienceRestriction></saml:Conditions>` +
      `<saml:AttributeStatement><saml:Attribute Name="groups">${values.join('')}</saml:Attribute></saml:AttributeStatement>` +
      `</saml:Assertion></samlp:Response>`
    )
  }

  /** Fills in the signature. */
  async sign(response: string, key = this.key): Promise<string> {
    const file = join(this.directory, 'response.xml')
    writeFileSync(file, response)
    const words = ['--sign', '--privkey-pem', key, '--id-attr:ID', `${saml}:assertion:Assertion`]
    return await sh('xmlsec1', [...words, file])
  }
}

/** So many seconds from now. */
const at = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString()

/** The base64 of a PEM. */
export const bare = (pem: string): string => pem.replaceAll(/-----[^-]+-----|\s/g, '')

export const noSignature = (response: string): string =>
  response.replace(/<ds:Signature[\s\S]*<\/ds:Signature>/, '')

function signatureOf(id: string, algorithm: string): string {
  const more = 'http://www.w3.org/2001/04/xmldsig-more#'
  const old = 'http://www.w3.org/2000/09/xmldsig#'
  const c14n = 'http://www.w3.org/2001/10/xml-exc-c14n#'
  const isOld = algorithm === 'rsa-sha1'
  const method = isOld ? `${old}rsa-sha1` : `${more}${algorithm}`
  const digest = isOld ? `${old}sha1` : 'http://www.w3.org/2001/04/xmlenc#sha256'
  return (
    `<ds:Signature xmlns:ds="${old}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="${c14n}"/>` +
    `<ds:SignatureMethod Algorithm="${method}"/><ds:Reference URI="#${id}"><ds:Transforms>` +
    `<ds:Transform Algorithm="${old}enveloped-signature"/><ds:Transform Algorithm="${c14n}"/></ds:Transforms>` +
    `<ds:DigestMethod Algorithm="${digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/></ds:Signature>`
  )
}
