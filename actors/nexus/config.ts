/** What a Nexus is started with: a TOML file, checked as a whole before anything is opened. */
import { Type, type Static } from 'typebox'
import { internalListen, internalProblem, isLoopback, wireAddress } from '#config/wire.ts'
import { metricsListen, telemetry } from '#config/seeing.ts'
import { ip } from '#actors/schema.ts'
import { explain } from '#runtime/result.ts'
import { readStoreUrl } from './store/url.ts'
import { serverTls, tlsFiles } from '#config/tls.ts'

export const externalListener = Type.Object({
  address: Type.String({ minLength: 1 }),
  port: Type.Integer({ minimum: 0, maximum: 65_535 }),
  /** Absent: plain HTTP. */
  tls: Type.Optional(serverTls),
})
export type ExternalListener = Static<typeof externalListener>

export const nexusConfig = Type.Object({
  id: Type.String(),
  rack_id: Type.String(),
  /** Allows the spoof login and plain HTTP beyond loopback. */
  development: Type.Boolean(),
  /** `sqlite:PATH`, or `postgres://…` where several members share it. */
  store: Type.String({ minLength: 1 }),
  /** Where the API is served, everywhere the same. */
  external: Type.Array(externalListener, { minItems: 1, maxItems: 4 }),
  /** What the rack itself has outside: no guest is given one of these. */
  own_addresses: Type.Array(ip),
  /** Absent: there is no console. */
  console: Type.Optional(
    Type.Object({
      /** Of a build of it: absolute, or relative to the working directory. */
      static_dir: Type.String({ minLength: 1 }),
      cache_control_max_age_minutes: Type.Integer({ minimum: 0, maximum: 525_600 }),
    }),
  ),
  /** Where sleds dial in. */
  wire: wireAddress,
  /** Where the internal API is served; absent: nowhere. */
  internal: Type.Optional(internalListen),
  /** Path of the socket where its operator looks at it. */
  control: Type.String({ minLength: 1 }),
  /** Absent: metrics are had over the control socket only. */
  metrics: Type.Optional(metricsListen),
  /** Absent: nothing is traced. */
  telemetry: Type.Optional(telemetry),
  /** What Nexus proves itself to sleds with. */
  tls: tlsFiles,
  /** The underlay address that DNS names this Nexus by. */
  internal_address: Type.String(),
  /** Every Nexus of the rack, this one among them, as DNS names them. */
  members: Type.Array(Type.Object({ id: Type.String(), internal_address: Type.String() }), {
    minItems: 1,
  }),
  /** Sleds of the rack, and where their DNS is. */
  sleds: Type.Array(Type.String(), { minItems: 1 }),
  dns_address: Type.String(),
  authn: Type.Object({
    schemes: Type.Array(Type.Enum(['spoof', 'session_cookie', 'access_token'])),
    session_idle_timeout_minutes: Type.Integer({ minimum: 1 }),
    session_absolute_timeout_minutes: Type.Integer({ minimum: 1 }),
  }),
})
export type NexusConfig = Static<typeof nexusConfig>

/** Why a configuration may not be used although every field is well-formed; null when it may. */
export function configProblem(config: NexusConfig): string | null {
  try {
    readStoreUrl(config.store)
  } catch (error) {
    return `store: ${explain(error)}`
  }
  const { metrics, external } = config
  if (
    metrics !== undefined &&
    external.some(({ address }) => address === metrics.address) &&
    !isLoopback(metrics.address)
  ) {
    return 'metrics.address: metrics are not for the outside: use loopback or the underlay'
  }
  if (!config.development && config.authn.schemes.includes('spoof')) {
    return 'authn.schemes: the spoof scheme needs development = true'
  }
  const inside =
    config.internal === undefined ? null : internalProblem(config.internal, config.development)
  if (inside !== null) return inside
  const open = external.find(({ address, tls }) => tls === undefined && !isLoopback(address))
  if (open === undefined || config.development) return null
  return `external: plain HTTP on ${open.address} needs development = true: give it tls with certificate and key, or use loopback`
}
