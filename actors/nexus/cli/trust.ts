/** How the API's server proves itself and where it is reached: `--cacert`, `--insecure`, `--resolve`. */
import { err, ok, type Result } from '#runtime/result.ts'
import type { Terminal } from '#runtime/terminal.ts'

/** As the parser has them; an option that was not given is not there. */
export interface ConnectionFlags {
  readonly cacert?: string
  readonly insecure?: boolean
  readonly resolve?: string
}

export interface Trust {
  /** PEM of the only certificates that are trusted; null: the system's. */
  readonly ca: string | null
  readonly insecure: boolean
  readonly resolve: {
    readonly host: string
    readonly port: string
    readonly address: string
  } | null
}

/** Reads what the flags name. SSL_CERT_FILE stands in for `--cacert`, as with OpenSSL. */
export function readTrust(
  terminal: Terminal,
  { cacert, insecure = false, resolve: text }: ConnectionFlags,
): Result<Trust, 'usage' | 'failed'> {
  const resolve = text === undefined ? null : parseResolve(text)
  if (resolve === null && text !== undefined) {
    return err('usage', `✘ --resolve ${text}: expected HOST:PORT:ADDRESS`)
  }
  const path = cacert ?? terminal.env('SSL_CERT_FILE')
  if (path === null || insecure) return ok({ ca: null, insecure, resolve })
  const file = terminal.readFile(path)
  if (!file.ok) return err('failed', `✘ --cacert ${path} cannot be read: ${file.detail}`)
  const ca = new TextDecoder().decode(file.value)
  if (ca.includes('-----BEGIN CERTIFICATE-----')) return ok({ ca, insecure, resolve })
  return err('failed', `✘ --cacert ${path} holds no certificate in PEM`)
}

function parseResolve(text: string): Trust['resolve'] {
  const [, host = '', port = '', address = ''] =
    /^([^:]+):([0-9]+):\[?([^\]]+)\]?$/.exec(text) ?? []
  return /^[0-9.]+$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(address) ? { host, port, address } : null
}

type Found = (error: null, address: string | readonly object[], family?: number) => void

/** What a connection to this origin is made with. */
export function connectOptions(origin: string, { ca, insecure, resolve }: Trust) {
  const url = new URL(origin)
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port
  const isMeant = resolve !== null && resolve.host === url.hostname && resolve.port === port
  return {
    rejectUnauthorized: !insecure,
    ...(ca === null ? {} : { ca }),
    ...(isMeant ? { lookup: always(resolve.address) } : {}),
  }
}

/** A name service that knows one answer. */
const always =
  (address: string) =>
  (_host: string, options: { readonly all?: boolean | undefined }, found: Found): void => {
    const family = address.includes(':') ? 6 : 4
    if (options.all === true) found(null, [{ address, family }])
    else found(null, address, family)
  }
