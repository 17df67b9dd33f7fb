/**
 * What a process proves itself and checks others with, read from files. Whatever is wrong is found
 * when the files are read, and said with the file's name, not at the first connection.
 */
import type { X509Crl } from '@peculiar/x509'
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { limits } from '#config/limits.ts'
import type { TlsFiles } from '#config/tls.ts'
import { isoTime } from '../clock.ts'
import { err, explain, ok, type Result } from '../result.ts'
import { hostOf } from './name.ts'

export type CertificateFault =
  | 'unreadable'
  | 'unsafe_permissions'
  | 'malformed'
  | 'wrong_key'
  | 'not_yet_valid'
  | 'expired'
  | 'wrong_authority'
  | 'wrong_host'
  | 'revoked'

/** A certificate (and those behind it that its file has) with its key, as PEM. */
export interface KeyPair {
  readonly certificate: string
  readonly key: string
  readonly leaf: X509Certificate
}

/** A host's key pair, and what it holds others against. */
export interface Credentials extends KeyPair {
  readonly host: string
  readonly authority: string
  readonly issuer: X509Certificate
  readonly revocations: string
  readonly revocations_end_ms: number
  /** Serial numbers of revoked certificates, as `serialOf` writes them. */
  readonly revoked: ReadonlySet<string>
}

/** One spelling of a certificate's serial number: hexadecimal, lower case, no leading zeros. */
export const serialOf = (certificate: { readonly serialNumber: string }): string =>
  BigInt(`0x${certificate.serialNumber}`).toString(16)

/** Reads a certificate and its key, for any server that proves itself with them. */
export function readKeyPair(
  files: Pick<TlsFiles, 'certificate' | 'key'>,
  now_ms: number,
): Result<KeyPair, CertificateFault> {
  const certificate = readCertificate(files.certificate)
  if (!certificate.ok) return certificate
  const key = readKey(files.key)
  if (!key.ok) return key
  const { text, parsed: leaf } = certificate.value
  if (!leaf.checkPrivateKey(key.value.parsed)) {
    return err('wrong_key', `${files.key} is not the key of the certificate ${files.certificate}`)
  }
  const period = checkPeriod(files.certificate, leaf, now_ms)
  return period.ok ? ok({ certificate: text, key: key.value.text, leaf }) : period
}

/** Reads a host's credentials and checks each file against the others, the host and the time. */
export async function readCredentials(
  files: TlsFiles,
  host: string,
  now_ms: number,
): Promise<Result<Credentials, CertificateFault>> {
  const pair = readKeyPair(files, now_ms)
  if (!pair.ok) return pair
  const authority = readCertificate(files.authority)
  if (!authority.ok) return authority
  const issuer = authority.value.parsed
  if (!issuer.ca || !isIssuedBy(issuer, issuer)) {
    return err('wrong_authority', `${files.authority} is not the certificate of an authority`)
  }
  const period = checkPeriod(files.authority, issuer, now_ms)
  if (!period.ok) return period
  const revoked = await readRevocations(files.revocations, issuer, now_ms)
  if (!revoked.ok) return revoked
  const credentials = {
    ...pair.value,
    host,
    authority: authority.value.text,
    issuer,
    revocations: revoked.value.text,
    revocations_end_ms: revoked.value.next_ms,
    revoked: revoked.value.serials,
  }
  const named = checkHost(files.certificate, pair.value.leaf, credentials)
  if (!named.ok) return named
  if (named.value === host) return ok(credentials)
  return err('wrong_host', `${files.certificate} is for host ${named.value}, not for ${host}`)
}

/**
 * Whether a certificate holds now: its period, its authority, its revocation and that it names one
 * host, which is the value. `what` is how the error calls it.
 */
export function checkCertificate(
  what: string,
  leaf: X509Certificate,
  against: Credentials,
  now_ms: number,
): Result<string, CertificateFault> {
  const period = checkPeriod(what, leaf, now_ms)
  return period.ok ? checkHost(what, leaf, against) : period
}

function checkHost(
  what: string,
  leaf: X509Certificate,
  against: Pick<Credentials, 'issuer' | 'revoked'>,
): Result<string, CertificateFault> {
  if (!isIssuedBy(leaf, against.issuer)) {
    return err('wrong_authority', `${what} was not issued by this rack's authority`)
  }
  if (against.revoked.has(serialOf(leaf))) {
    return err('revoked', `${what} (serial ${serialOf(leaf)}) has been revoked`)
  }
  const host = hostOf(leaf)
  return host === null ? err('wrong_host', `${what} does not name a host`) : ok(host)
}

/** The serial numbers of a list that the authority signed and that is in force. */
export async function readRevocations(
  path: string,
  issuer: X509Certificate,
  now_ms: number,
): Promise<
  Result<
    { readonly text: string; readonly serials: ReadonlySet<string>; readonly next_ms: number },
    CertificateFault
  >
> {
  const read = readText(path)
  if (!read.ok) return read
  const x509 = await loadX509()
  let list: X509Crl
  let isSigned: boolean
  try {
    list = new x509.X509Crl(read.value.text)
    // OpenSSL must be able to use it as well.
    createSecureContext({ crl: read.value.text })
    isSigned = await list.verify({ publicKey: new x509.X509Certificate(issuer.raw) })
  } catch (cause) {
    return err('malformed', `${path} is not a list of revoked certificates: ${explain(cause)}`)
  }
  if (!isSigned) {
    return err('wrong_authority', `${path} was not signed by this rack's authority`)
  }
  const period = checkPeriod(
    path,
    { validFromDate: list.thisUpdate, validToDate: list.nextUpdate ?? list.thisUpdate },
    now_ms,
  )
  if (!period.ok) return period
  const serials = new Set(list.entries.map(serialOf))
  return ok({
    text: read.value.text,
    serials,
    next_ms: (list.nextUpdate ?? list.thisUpdate).getTime(),
  })
}

/** Two hundred modules: who reads no list, as a link without TLS, does without. */
async function loadX509() {
  await import('reflect-metadata') // @peculiar/x509 needs it before it is loaded.
  return await import('@peculiar/x509')
}

const isIssuedBy = (leaf: X509Certificate, issuer: X509Certificate): boolean =>
  leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey)

function checkPeriod(
  what: string,
  period: Pick<X509Certificate, 'validFromDate' | 'validToDate'>,
  now_ms: number,
): Result<null, 'not_yet_valid' | 'expired'> {
  const [from_ms, to_ms] = [period.validFromDate.getTime(), period.validToDate.getTime()]
  if (now_ms < from_ms) {
    const detail = `${what} is not valid before ${isoTime(from_ms)}, and it is ${isoTime(now_ms)}: check this machine's clock`
    return err('not_yet_valid', detail)
  }
  if (now_ms > to_ms) return err('expired', `${what} expired on ${isoTime(to_ms)}: renew it`)
  return ok(null)
}

interface Parsed<T> {
  readonly text: string
  readonly parsed: T
}

/** The first certificate of a file. */
export function readCertificate(path: string): Result<Parsed<X509Certificate>, CertificateFault> {
  const read = readText(path)
  if (!read.ok) return read
  try {
    return ok({ text: read.value.text, parsed: new X509Certificate(read.value.text) })
  } catch (cause) {
    return err('malformed', `${path} is not a certificate in PEM: ${explain(cause)}`)
  }
}

/** A private key that nobody but its owner, who is this user or root, can read. */
export function readKey(path: string): Result<Parsed<KeyObject>, CertificateFault> {
  const read = readText(path)
  if (!read.ok) return read
  const { text, mode, uid } = read.value
  if ((mode & 0o077) !== 0) {
    const octal = (mode & 0o777).toString(8)
    return err(
      'unsafe_permissions',
      `${path} has mode ${octal}, so that others can use the key: make it 600`,
    )
  }
  if (uid !== 0 && uid !== process.geteuid?.()) {
    return err(
      'unsafe_permissions',
      `${path} belongs to user ${uid}: it must belong to who uses it`,
    )
  }
  try {
    return ok({ text, parsed: createPrivateKey(text) })
  } catch (cause) {
    return err(
      'malformed',
      `${path} is not a private key in PEM without a passphrase: ${explain(cause)}`,
    )
  }
}

/** A file's text with what the very same file's permissions are. */
function readText(
  path: string,
): Result<{ readonly text: string; readonly mode: number; readonly uid: number }, 'unreadable'> {
  let fd: number | null = null
  try {
    // A pipe in the file's place must not hold us up.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = fstatSync(fd)
    if (!found.isFile()) return err('unreadable', `${path} is not a file`)
    if (found.size > limits.tls_file_bytes_max) {
      return err('unreadable', `${path} has ${found.size} bytes, more than any certificate file`)
    }
    return ok({ text: readFileSync(fd, 'utf8'), mode: found.mode, uid: found.uid })
  } catch (cause) {
    return err('unreadable', `${path} cannot be read: ${explain(cause)}`)
  } finally {
    if (fd !== null) closeSync(fd)
  }
}
