/** What a supervisor is started with: one JSON file, written by `luge rack up`. */
import { Type, type Static } from 'typebox'
import { metricsListen, telemetry } from './seeing.ts'
import { tlsFiles } from './tls.ts'
import { internalListen, wireAddress } from './wire.ts'

const text = Type.String({ minLength: 1, maxLength: 4096 })
const port = Type.Integer({ minimum: 0, maximum: 65_535 })

/** A service zone of this sled and the link it gets on the underlay (null: none, in sim). */
export const serviceZone = Type.Object({
  name: text,
  control: Type.Union([Type.Object({ id: text, address: text }), Type.Null()]),
  args: Type.Array(text),
  env: Type.Array(text),
  mounts: Type.Array(Type.Object({ source: text, destination: text, read_only: Type.Boolean() })),
  listen: Type.Array(Type.Object({ address: text, port })),
  log: text,
})
export type ServiceZone = Static<typeof serviceZone>

export const sledConfig = Type.Object({
  sled_id: text,
  rack_id: text,
  /** Sets this sled's kernel objects apart from others': six hex characters, and which sled it is. */
  tag: Type.String({ pattern: '^[0-9a-f]{6}(s[0-9]+)?$' }),
  platform: Type.Enum(['linux', 'sim']),
  /** The sled's own directory: journal, volumes, zones, instances. */
  state: text,
  /** The sled agent's address on the underlay. */
  address: text,
  underlay: Type.Object({
    addresses: Type.Array(text),
    uplink: Type.Object({
      outside_netns: Type.Union([text, Type.Null()]),
      gateway: text,
      address: text,
    }),
    /** How it is joined to the rack's other sleds; absent: it is the only one. */
    rack: Type.Optional(
      Type.Object({
        prefix: text,
        trunk: Type.Union([
          Type.Object({
            netns: text,
            link: text,
            number: Type.Integer({ minimum: 1 }),
            gateway: text,
            address: text,
          }),
          Type.Null(),
        ]),
      }),
    ),
  }),
  /** Where the rack's names are served; null on a sled that does not serve them. */
  dns: Type.Union([Type.Object({ address: text, port }), Type.Null()]),
  guest_image: text,
  nexus: Type.Array(Type.Object({ host: text, wire: wireAddress })),
  /** What the supervisor proves itself to Nexus with. */
  tls: tlsFiles,
  zones: Type.Array(serviceZone),
  /** Where the sled agent's API is served; absent: nowhere. */
  internal: Type.Optional(internalListen),
  /** Allows plain HTTP for that beyond loopback. */
  development: Type.Optional(Type.Boolean()),
  log: text,
  /** Absent: metrics are had over the control socket only. */
  metrics: Type.Optional(metricsListen),
  /** Absent: nothing is traced. */
  telemetry: Type.Optional(telemetry),
})
export type SledConfig = Static<typeof sledConfig>
