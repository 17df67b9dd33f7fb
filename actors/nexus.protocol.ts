/** What sleds tell Nexus. Every report carries a generation; an older one changes nothing. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/protocol.ts'
import { instanceRuntime } from './instance.protocol.ts'
import { ip, port, uuid } from './schema.ts'

export const sledHello = Type.Object({
  sled_id: uuid,
  /** The sled agent's address on the underlay. */
  address: ip,
  port,
  platform: Type.Enum(['linux', 'illumos', 'sim']),
})
export type SledHello = Static<typeof sledHello>

/** One actor a Nexus, id `nexus`. */
export const nexusProtocol = protocol('nexus', 2, {
  /** A sled is there: Nexus records it and may from now on call its actors. */
  sled_up: call(1, {
    request: sledHello,
    reply: nothing,
    errors: ['unknown_sled'],
    idempotent: true,
  }),
  instance_report: call(2, {
    request: Type.Object({ sled_id: uuid, instance_id: uuid, runtime: instanceRuntime }),
    reply: nothing,
    errors: ['unknown_instance'],
    idempotent: true,
  }),
  /** Internal: puts Nexus and a sled that has come up together. */
  reconcile: call(3, {
    request: Type.Object({ sled_id: uuid }),
    reply: nothing,
    errors: [],
    idempotent: true,
  }),
  /** What should be looked at although Nexus serves, a sentence each. */
  warnings: call(4, {
    request: nothing,
    reply: Type.Array(Type.String({ maxLength: 1_024 }), { maxItems: 64 }),
    errors: [],
    idempotent: true,
    since: 2,
  }),
})
