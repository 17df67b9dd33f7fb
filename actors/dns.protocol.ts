/** Messages of the internal DNS server: the whole zone at once, with a generation. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { generation, ip, nullable, port } from '#actors/schema.ts'

export const dnsRecord = Type.Union([
  Type.Object({ type: Type.Literal('AAAA'), data: ip }),
  Type.Object({
    type: Type.Literal('SRV'),
    data: Type.Object({ prio: port, weight: port, port, target: Type.String({ maxLength: 255 }) }),
  }),
])
export type DnsRecord = Static<typeof dnsRecord>

export const dnsConfig = Type.Object({
  generation,
  /** `control-plane.oxide.internal`, without a trailing dot. */
  zone: Type.String({ maxLength: 255 }),
  /** Full names without a trailing dot. */
  records: Type.Array(
    Type.Object({ name: Type.String({ maxLength: 255 }), records: Type.Array(dnsRecord) }),
    { maxItems: 65_536 },
  ),
})
export type DnsConfig = Static<typeof dnsConfig>

/** One actor a sled, id `internal`. An older generation than the one served changes nothing. */
export const dnsProtocol = protocol('dns', 1, {
  get: call(1, { request: nothing, reply: nullable(dnsConfig), errors: [], idempotent: true }),
  put: call(2, {
    request: dnsConfig,
    reply: Type.Object({ generation }),
    errors: [],
    idempotent: true,
  }),
})
