/**
 * A certificate authority in a directory, and what it hands out to the directories of its hosts.
 * Everything is level-triggered: `open` and `provide` look at what is there and make what is
 * missing, ends soon or was revoked. Each file is replaced as a whole, in an order that a process
 * killed between any two leaves nothing that the next run does not put right.
 *
 *   key.pem        the secret: whoever has it can be any host
 *   register.json  every certificate that was issued and has not ended, written before it is used
 *   cert.pem       the authority's own certificate
 *   crl.pem        the register's revoked certificates, for the hosts
 */
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Type, type Static } from 'typebox'
import { writeFileAtomically } from '../files.ts'
import type { Random } from '../random.ts'
import { err, explain, ok, type Result } from '../result.ts'
import { fits, misfit } from '../schema.ts'
import {
  makeKey,
  makeSerial,
  signAuthority,
  signHost,
  signRevocations,
  type Authority,
} from './authority.ts'
import {
  readCertificate,
  readCredentials,
  readKey,
  readRevocations,
  serialOf,
  type CertificateFault,
} from './credentials.ts'
import { hostFiles } from './files.ts'

const day_ms = 24 * 60 * 60 * 1000

/** For how long what is signed holds. It is signed again once half of that has passed. */
export const lives = {
  authority_ms: 3650 * day_ms,
  host_ms: 365 * day_ms,
  revocations_ms: 365 * day_ms,
  /** By how much another machine's clock may be behind ours. */
  skew_ms: 5 * 60 * 1000,
} as const

const issued = Type.Object({
  serial: Type.String(),
  host: Type.String(),
  not_after_ms: Type.Integer(),
  revoked_ms: Type.Union([Type.Integer(), Type.Null()]),
})
export type Issued = Static<typeof issued>
const register = Type.Object({
  version: Type.Literal(1),
  crl_number: Type.Integer({ minimum: 0 }),
  issued: Type.Array(issued),
})
type Register = Static<typeof register>

export interface StoreOptions {
  readonly directory: string
  /** What the authority's certificate is called. */
  readonly name: string
  readonly now_ms: number
  readonly random: Random
}

const authorityFiles = (directory: string) => ({
  key: join(directory, 'key.pem'),
  register: join(directory, 'register.json'),
  certificate: join(directory, 'cert.pem'),
  revocations: join(directory, 'crl.pem'),
})

/** One process at a time may have a store of a directory open. */
export class AuthorityStore {
  readonly #options: StoreOptions
  readonly #files: ReturnType<typeof authorityFiles>
  readonly #authority: Authority
  #register: Register

  private constructor(options: StoreOptions, authority: Authority, read: Register) {
    this.#options = options
    this.#files = authorityFiles(options.directory)
    this.#authority = authority
    this.#register = read
  }

  /** Opens the authority of a directory; makes one when there is none. */
  static async open(options: StoreOptions): Promise<Result<AuthorityStore, CertificateFault>> {
    const { directory } = options
    const files = authorityFiles(directory)
    makePrivate(directory)
    if (!existsSync(files.key)) {
      if (existsSync(files.certificate)) return damaged(directory, files.key)
      writeFileAtomically(files.key, makeKey())
    }
    const key = readKey(files.key)
    if (!key.ok) return key
    if (!existsSync(files.register)) {
      if (existsSync(files.certificate)) return damaged(directory, files.register)
      writeFileAtomically(files.register, asText({ version: 1, crl_number: 0, issued: [] }))
    }
    const read = readRegister(files.register)
    if (!read.ok) return read
    const certificate = await ensureOwnCertificate(options, key.value.text)
    if (!certificate.ok) return certificate
    const authority = { key: key.value.text, certificate: certificate.value }
    const store = new AuthorityStore(options, authority, read.value)
    const listed = await store.#ensureRevocations()
    return listed.ok ? ok(store) : listed
  }

  /** Certificates that have not ended, in the order in which they were issued. */
  get issued(): readonly Issued[] {
    return this.#register.issued
  }

  /**
   * Gives a host's directory a key, a certificate and what it needs to check others. What is there
   * and holds is kept; otherwise both are new, so that a key never outlives its certificate.
   */
  async provide(host: string, directory: string): Promise<Result<null, CertificateFault>> {
    const { now_ms } = this.#options
    const files = hostFiles(directory)
    makePrivate(directory)
    replace(files.authority, this.#authority.certificate)
    replace(files.revocations, readFileSync(this.#files.revocations, 'utf8'))
    const found = await readCredentials(files, host, now_ms)
    if (found.ok && !isHalfOver(found.value.leaf, now_ms)) return ok(null)
    if (!found.ok && found.error === 'unsafe_permissions') return found
    // A key that is ahead of its certificate was made by a run that did not get further.
    if (found.ok || found.error !== 'wrong_key') writeFileAtomically(files.key, makeKey())
    const key = readKey(files.key)
    if (!key.ok) return key
    writeFileAtomically(files.certificate, await this.#issue(host, key.value.text))
    const made = await readCredentials(files, host, now_ms)
    return made.ok ? ok(null) : made
  }

  /**
   * Revokes every certificate that a host has, and says how many those were. The hosts' own lists
   * are brought up to date by `provide`.
   */
  async revoke(host: string): Promise<Result<number, CertificateFault>> {
    const { now_ms } = this.#options
    const holding = this.issued.filter((one) => one.host === host && one.revoked_ms === null)
    if (holding.length === 0) return ok(0)
    this.#save({
      ...this.#register,
      issued: this.issued.map((one) =>
        holding.includes(one) ? { ...one, revoked_ms: now_ms } : one,
      ),
    })
    const listed = await this.#ensureRevocations()
    return listed.ok ? ok(holding.length) : listed
  }

  async #issue(host: string, key: string): Promise<string> {
    const { now_ms, random } = this.#options
    const validity = { now_ms, life_ms: lives.host_ms, skew_ms: lives.skew_ms }
    const subject = { host, key, serial: makeSerial(random) }
    const certificate = await signHost(this.#authority, subject, validity)
    const made = new X509Certificate(certificate)
    const entry: Issued = {
      serial: serialOf(made),
      host,
      not_after_ms: made.validToDate.getTime(),
      revoked_ms: null,
    }
    const holding = this.issued.filter(({ not_after_ms }) => not_after_ms > now_ms)
    this.#save({ ...this.#register, issued: [...holding, entry] })
    return certificate
  }

  /** Signs the list of revoked certificates again unless the one there says the same and holds. */
  async #ensureRevocations(): Promise<Result<null, CertificateFault>> {
    const { now_ms } = this.#options
    const revoked = this.issued.flatMap(({ serial, revoked_ms: at_ms }) =>
      at_ms === null ? [] : [{ serial, at_ms }],
    )
    const issuer = new X509Certificate(this.#authority.certificate)
    const found = await readRevocations(this.#files.revocations, issuer, now_ms)
    const isCurrent =
      found.ok &&
      found.value.next_ms - now_ms > lives.revocations_ms / 2 &&
      found.value.serials.size === revoked.length &&
      revoked.every(({ serial }) => found.value.serials.has(serial))
    if (isCurrent) return ok(null)
    const number = this.#register.crl_number + 1
    this.#save({ ...this.#register, crl_number: number })
    const validity = { now_ms, life_ms: lives.revocations_ms, skew_ms: lives.skew_ms }
    const list = await signRevocations(this.#authority, { number, revoked }, validity)
    writeFileAtomically(this.#files.revocations, list)
    const made = await readRevocations(this.#files.revocations, issuer, now_ms)
    return made.ok ? ok(null) : made
  }

  #save(next: Register): void {
    writeFileAtomically(this.#files.register, asText(next))
    this.#register = next
  }
}

/** The authority's certificate: the one there, or one that its key signs (again). */
async function ensureOwnCertificate(
  options: StoreOptions,
  key: string,
): Promise<Result<string, CertificateFault>> {
  const { now_ms, random, name } = options
  const { certificate: path, key: keyPath } = authorityFiles(options.directory)
  if (existsSync(path)) {
    const found = readCertificate(path)
    if (!found.ok) return found
    const parsedKey = readKey(keyPath)
    if (!parsedKey.ok) return parsedKey
    if (!found.value.parsed.checkPrivateKey(parsedKey.value.parsed)) {
      return err('wrong_key', `${keyPath} is not the key of the certificate ${path}`)
    }
    if (!isHalfOver(found.value.parsed, now_ms)) return ok(found.value.text)
  }
  const validity = { now_ms, life_ms: lives.authority_ms, skew_ms: lives.skew_ms }
  const made = await signAuthority(key, { name, serial: makeSerial(random) }, validity)
  writeFileAtomically(path, made)
  return ok(made)
}

function readRegister(path: string): Result<Register, 'unreadable' | 'malformed'> {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    return err('malformed', `${path}: ${explain(cause)}`)
  }
  return fits(register, value) ? ok(value) : err('malformed', `${path}: ${misfit(register, value)}`)
}

const damaged = (directory: string, missing: string) =>
  err(
    'unreadable',
    `${missing} is missing: put it back, or remove ${directory} so that a new authority is made`,
  )

function isHalfOver(certificate: X509Certificate, now_ms: number): boolean {
  const [from_ms, to_ms] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()]
  return now_ms > from_ms + (to_ms - from_ms) / 2
}

/** Writes a file unless it says the same already. */
function replace(path: string, text: string): void {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileAtomically(path, text)
}

function makePrivate(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chmodSync(directory, 0o700)
}

const asText = (value: Register): string => `${JSON.stringify(value, null, 2)}\n`
