/**
 * What a certificate authority signs: its own certificate, its hosts' certificates and its list of
 * revoked ones (RFC 5280). Keys are ECDSA P-256, texts are PEM. Nothing is read or written here.
 */
import 'reflect-metadata' // @peculiar/x509 needs it before it is loaded.
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509'
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { Random } from '../random.ts'
import { hostNames, hostPattern, hostUri } from './name.ts'

/** When something signed now begins and ends to hold. */
export interface Validity {
  readonly now_ms: number
  readonly life_ms: number
  /** By how much another host's clock may be behind. */
  readonly skew_ms: number
}

/** A key and the certificate that others know it by. */
export interface Authority {
  readonly key: string
  readonly certificate: string
}

/** A certificate that is no longer to be trusted, and since when. */
export interface Revoked {
  readonly serial: string
  readonly at_ms: number
}

const curve = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signature = { name: 'ECDSA', hash: 'SHA-256' } as const
/** RFC 5280 §5.2.3. */
const crlNumber = '2.5.29.20'

/** A new private key (PKCS #8). */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: curve.namedCurve })
  return privateKey.export({ type: 'pkcs8', format: 'pem' })
}

/** A serial number that nobody can guess: 127 bits in hexadecimal, positive, as RFC 5280 asks. */
export function makeSerial(random: Random): string {
  const bytes = Buffer.from(random.bytes(16))
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0)
  return bytes.toString('hex')
}

/** The certificate that an authority's key signs for itself. It may sign hosts, no authorities. */
export async function signAuthority(
  key: string,
  subject: { readonly name: string; readonly serial: string },
  validity: Validity,
): Promise<string> {
  const keys = { privateKey: signingKey(key), publicKey: publicKey(key) }
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: subject.serial,
    name: [{ O: ['luge'] }, { CN: [subject.name] }],
    ...period(validity),
    keys,
    signingAlgorithm: signature,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return pem(certificate)
}

/**
 * A host's certificate: it names the host as a URI, holds for both ends of a connection, and ends
 * with the authority's own at the latest.
 */
export async function signHost(
  authority: Authority,
  subject: { readonly host: string; readonly serial: string; readonly key: string },
  validity: Validity,
): Promise<string> {
  assert(hostPattern.test(subject.host), `${subject.host} cannot be a host's id`)
  const issuer = new X509Certificate(authority.certificate)
  const { notBefore, notAfter } = period(validity)
  const own = publicKey(subject.key)
  const certificate = await X509CertificateGenerator.create({
    serialNumber: subject.serial,
    subject: [{ O: ['luge'] }, { CN: [subject.host] }],
    issuer: issuer.subjectName,
    notBefore,
    notAfter: notAfter < issuer.notAfter ? notAfter : issuer.notAfter,
    publicKey: own,
    signingKey: signingKey(authority.key),
    signingAlgorithm: signature,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([
        { type: 'url', value: hostUri(subject.host) },
        ...hostNames(subject.host).map((value) => ({ type: 'dns' as const, value })),
      ]),
      await SubjectKeyIdentifierExtension.create(own),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return pem(certificate)
}

/** The list of revoked certificates; `number` grows with every list. */
export async function signRevocations(
  authority: Authority,
  list: { readonly number: number; readonly revoked: readonly Revoked[] },
  validity: Validity,
): Promise<string> {
  const issuer = new X509Certificate(authority.certificate)
  const { notBefore, notAfter } = period(validity)
  const crl = await X509CrlGenerator.create({
    issuer: issuer.subjectName,
    thisUpdate: notBefore,
    nextUpdate: notAfter,
    signingAlgorithm: signature,
    signingKey: signingKey(authority.key),
    entries: list.revoked.map(({ serial, at_ms }) => ({
      serialNumber: serial,
      revocationDate: new Date(at_ms),
    })),
    extensions: [
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      new Extension(crlNumber, false, derInteger(list.number)),
    ],
  })
  // The library's own label is not the one of RFC 7468 §7, which OpenSSL wants.
  return `${PemConverter.encode(crl.rawData, 'X509 CRL')}\n`
}

const pem = (certificate: X509Certificate): string => `${certificate.toString('pem')}\n`

const signingKey = (key: string): CryptoKey =>
  createPrivateKey(key).toCryptoKey(curve, false, ['sign'])

const publicKey = (key: string): CryptoKey =>
  createPublicKey(key).toCryptoKey(curve, true, ['verify'])

const period = ({ now_ms, life_ms, skew_ms }: Validity) => ({
  notBefore: new Date(now_ms - skew_ms),
  notAfter: new Date(now_ms + life_ms),
})

/** A whole number from 0 on as ASN.1 writes it (X.690 §8.3): as few bytes as keep it positive. */
function derInteger(value: number): Uint8Array<ArrayBuffer> {
  const digits = value.toString(16)
  const even = digits.length % 2 === 0 ? digits : `0${digits}`
  const content = Buffer.from(/^[89a-f]/.test(even) ? `00${even}` : even, 'hex')
  return new Uint8Array([0x02, content.length, ...content])
}
