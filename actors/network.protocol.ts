/**
 * Messages of a sled's network: where the guests of a rack of several sleds are. Nexus says it, from its
 * records; a sled keeps nothing of it, for it is said again when the sled comes up.
 */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { generation, ip, ipv4, port } from '#actors/schema.ts'

/** OPTE's mapping from virtual to physical: a guest's address, and its sled's on the underlay. */
export const v2pMapping = Type.Object({ ip: ipv4, sled: ip })
export type V2pMapping = Static<typeof v2pMapping>

/** A range of an external address's ports, and the sled of the guest that has it. */
export const natEntry = Type.Object({ ip: ipv4, first_port: port, last_port: port, sled: ip })
export type NatEntry = Static<typeof natEntry>

/** One actor a sled, id `rack`. */
export const networkProtocol = protocol('network', 1, {
  /** All guests of a VPC that are to run, in place of what was said before. */
  set_v2p: call(1, {
    request: Type.Object({
      vni: Type.Integer({ minimum: 1, maximum: 0xffffff }),
      mappings: Type.Array(v2pMapping, { maxItems: 65_536 }),
    }),
    reply: nothing,
    errors: ['os_failed'],
    idempotent: true,
  }),
  /** All external addresses of the rack. An older generation than the last changes nothing. */
  set_nat: call(2, {
    request: Type.Object({
      generation,
      entries: Type.Array(natEntry, { maxItems: 262_144 }),
    }),
    reply: nothing,
    errors: ['os_failed'],
    idempotent: true,
  }),
})
