/** What sleds tell Nexus. Every report carries a generation; an older one changes nothing. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { instanceRuntime, instanceTargets } from '#actors/instance.protocol.ts'
import { limits } from '#config/limits.ts'
import { fence, ip, moment_ms, nullable, port, uuid } from '#actors/schema.ts'

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

/** What an instance's record must still say for a request to count. */
export const instanceMark = Type.Object({
  id: uuid,
  propolis_id: uuid,
  target: Type.Enum(instanceTargets),
})
export type InstanceMark = Static<typeof instanceMark>

/** One actor a Nexus, id `nexus`. */
export const nexusProtocol = protocol('nexus', 4, {
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
  /**
   * Whether what a saga has asked still counts, by the store: the saga goes forward and is that session's,
   * and the instance, unless null, is still to become what was asked for.
   */
  is_wanted: call(6, {
    request: Type.Object({ fence, instance: nullable(instanceMark) }),
    reply: Type.Boolean(),
    errors: ['unavailable'],
    idempotent: true,
    since: 4,
  }),
})
