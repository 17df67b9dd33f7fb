/** What an operator may say about a rack, and the profile that `luge rack up` starts from. */
import { Type, type Static } from 'typebox'
import { telemetry } from './seeing.ts'

export const rackProfile = Type.Object(
  {
    /** Allows the spoof login and plain HTTP; without it both are refused. */
    development: Type.Boolean(),
    authn_schemes: Type.Array(Type.Enum(['spoof', 'session_cookie', 'access_token'])),
    session_idle_timeout_minutes: Type.Integer({ minimum: 1, maximum: 525_600 }),
    session_absolute_timeout_minutes: Type.Integer({ minimum: 1, maximum: 525_600 }),
    external: Type.Object({
      address: Type.String(),
      port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    }),
    /** Where the API is served over TLS as well, with these files. */
    https: Type.Optional(
      Type.Object({
        address: Type.String(),
        port: Type.Integer({ minimum: 1, maximum: 65_535 }),
        certificate: Type.String({ minLength: 1 }),
        key: Type.String({ minLength: 1 }),
      }),
    ),
    /** A build of the console; absent: there is none. */
    console: Type.Optional(Type.Object({ static_dir: Type.String({ minLength: 1 }) })),
    uplink: Type.Object({
      /** Path of the network namespace that stands for the outside; null: the host's own. */
      outside_netns: Type.Union([Type.String(), Type.Null()]),
      /** The guests' internet gateway, `address/length`: the outer end of the uplink. */
      gateway: Type.String(),
      address: Type.String(),
    }),
    /** Ports where metrics are served: a sled's on loopback, Nexus' on the underlay (sim: loopback). */
    metrics: Type.Optional(
      Type.Object({
        sled_port: Type.Integer({ minimum: 1, maximum: 65_535 }),
        nexus_port: Type.Integer({ minimum: 1, maximum: 65_535 }),
      }),
    ),
    telemetry: Type.Optional(telemetry),
    /** `plain`: the internal APIs are without TLS, which needs `development`; absent: with TLS. */
    internal: Type.Optional(Type.Object({ plain: Type.Boolean() })),
  },
  { additionalProperties: false },
)
export type RackProfile = Static<typeof rackProfile>
