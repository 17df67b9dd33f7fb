/** What sleds tell Nexus. Every report carries a generation; an older one changes nothing. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { instanceRuntime } from '#actors/instance.protocol.ts'
import { limits } from '#config/limits.ts'
import { ip, moment_ms, port, uuid } from '#actors/schema.ts'

export const sledHello = Type.Object({
  sled_id: uuid,
  /** The sled agent's address on the underlay. */
  address: ip,
  port,
  platform: Type.Enum(['linux', 'illumos', 'sim']),
})
export type SledHello = Static<typeof sledHello>

const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
/** What a guest has asked of one of its disks since `start_ms`, counted at `time_ms`. */
export const diskSample = Type.Object({
  disk_id: uuid,
  time_ms: moment_ms,
  start_ms: moment_ms,
  activated: count,
  flush: count,
  read: count,
  read_bytes: count,
  write: count,
  write_bytes: count,
})
export type DiskSample = Static<typeof diskSample>

/** One actor a Nexus, id `nexus`. */
export const nexusProtocol = protocol('nexus', 3, {
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
  disk_samples: call(5, {
    request: Type.Object({
      samples: Type.Array(diskSample, { maxItems: limits.instance_disks_max }),
    }),
    reply: nothing,
    errors: [],
    idempotent: true,
    since: 3,
  }),
})
