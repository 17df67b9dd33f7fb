/** The API over TLS: where, and with which certificate, of which Nexus gets a copy of its own. */
import { existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readSocketAddress, writeSocketAddress } from '#actors/http/words.ts'
import type { RackProfile } from '#config/rack.ts'
import type { ServerTls } from '#config/tls.ts'
import { writeFileAtomically } from '#runtime/files.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { readKeyPair } from '#runtime/tls/credentials.ts'
import { nexusFiles, nexusState } from './layout.ts'
import { home, type RackPlan } from './plan.ts'

type Https = NonNullable<RackProfile['https']>
export interface HttpsOptions {
  readonly https: string | null
  readonly certificate: string | null
  readonly key: string | null
}

export const certificateFiles = (directory: string): ServerTls => ({
  certificate: join(directory, 'cert.pem'),
  key: join(directory, 'key.pem'),
})
/** What tools/create_self_signed_cert.sh makes. */
const selfMade = certificateFiles(join(home, 'out/certs'))

/** Where HTTPS is asked for and with what: the options go before the profile. */
export function httpsOf(
  { https, certificate, key }: HttpsOptions,
  profile: RackProfile,
): Result<Https | undefined, 'invalid_option'> {
  if ((certificate === null) !== (key === null)) {
    return err('invalid_option', '--certificate and --key belong together: name both files')
  }
  const where = https === null ? profile.https : parseHostPort(https)
  if (where === null) return err('invalid_option', `--https ${https}: expected ADDRESS:PORT`)
  if (where === undefined) {
    return certificate === null
      ? ok(undefined)
      : err('invalid_option', '--certificate is for HTTPS: say where with --https ADDRESS:PORT')
  }
  const { address, port } = where
  if (certificate !== null && key !== null) {
    return ok({ address, port, certificate: resolve(certificate), key: resolve(key) })
  }
  if (profile.https !== undefined) return ok({ ...profile.https, address, port })
  if (existsSync(selfMade.certificate)) return ok({ address, port, ...selfMade })
  return err(
    'invalid_option',
    '--https needs a certificate: run tools/create_self_signed_cert.sh, or name yours with --certificate and --key',
  )
}

/** Gives each Nexus a copy, which it sees from its zone; one that runs takes it up by itself. */
export function provideHttps(
  state: string,
  { profile, nexus }: RackPlan,
  now_ms: number,
): Result<null, string> {
  const { https } = profile
  if (https === undefined) return ok(null)
  const pair = readKeyPair(https, now_ms)
  if (!pair.ok) return pair
  for (const index of nexus.keys()) {
    const { certs } = nexusFiles(nexusState(state, index + 1))
    mkdirSync(certs, { recursive: true, mode: 0o700 })
    const copy = certificateFiles(certs)
    writeFileAtomically(copy.key, pair.value.key)
    writeFileAtomically(copy.certificate, pair.value.certificate)
  }
  return ok(null)
}

export const httpsUrl = ({ https }: RackProfile): string | null =>
  https === undefined ? null : `https://${writeSocketAddress(https.address, https.port)}`

/** Where somebody can listen; null when the text says no such place. */
export function parseHostPort(text: string): { address: string; port: number } | null {
  const read = readSocketAddress(text)
  return read === null || read.port === 0 ? null : { address: read.ip, port: read.port }
}
