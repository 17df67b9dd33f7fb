/**
 * A process's credentials, kept up to date: the files are looked at from time to time, and what
 * was renewed or revoked counts from then on without a restart.
 */
import { limits } from '#config/limits.ts'
import type { TlsFiles } from '#config/tls.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { ok, type Result } from '../result.ts'
import { readCredentials, type CertificateFault, type Credentials } from './credentials.ts'

export interface IdentityOptions {
  readonly files: TlsFiles
  /** The host that the certificate must be for. */
  readonly host: string
  readonly clock: Clock
  readonly log: Log
}

export class Identity {
  readonly #options: IdentityOptions
  readonly #listeners = new Set<(credentials: Credentials) => void>()
  #credentials: Credentials
  #trouble = ''
  #stopLooking: () => void = () => undefined
  #closed = false

  private constructor(options: IdentityOptions, credentials: Credentials) {
    this.#options = options
    this.#credentials = credentials
    this.#lookLater()
  }

  /** Reads the files for the first time; what is wrong with them is the failure. */
  static async open(options: IdentityOptions): Promise<Result<Identity, CertificateFault>> {
    const read = await readCredentials(options.files, options.host, options.clock.now())
    return read.ok ? ok(new Identity(options, read.value)) : read
  }

  get credentials(): Credentials {
    return this.#credentials
  }

  /** Calls back whenever the credentials changed; the returned function takes it back. */
  onChange(listener: (credentials: Credentials) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Looks at the files now. Files that are wrong change nothing: what was read before stays. */
  async reload(): Promise<Result<null, CertificateFault>> {
    const { files, host, clock, log } = this.#options
    const read = await readCredentials(files, host, clock.now())
    if (!read.ok) {
      if (this.#trouble !== read.detail) log.error('certificates', { why: read.detail })
      this.#trouble = read.detail
      return read
    }
    this.#trouble = ''
    if (isSame(read.value, this.#credentials)) return ok(null)
    this.#credentials = read.value
    log.info('certificates were read again', { until: read.value.leaf.validTo })
    for (const listener of this.#listeners) listener(read.value)
    return ok(null)
  }

  close(): void {
    this.#closed = true
    this.#stopLooking()
    this.#listeners.clear()
  }

  #lookLater(): void {
    if (this.#closed) return
    this.#stopLooking = this.#options.clock.after(limits.tls_reload_ms, () => {
      void this.reload().then(() => {
        this.#lookLater()
      })
    })
  }
}

const isSame = (a: Credentials, b: Credentials): boolean =>
  a.certificate === b.certificate &&
  a.key === b.key &&
  a.authority === b.authority &&
  a.revocations === b.revocations
