/** Messages of an instance: a guest, its ports, its disks and its serial console on one sled. */
import { Type, type Static } from 'typebox'
import { limits } from '#config/limits.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import {
  binary,
  bytes,
  fence,
  generation,
  moment_ms,
  nullable,
  path,
  uuid,
} from '#actors/schema.ts'
import { volumeOffer } from '#actors/disk.protocol.ts'
import { guestVnic } from '#actors/vnic.protocol.ts'

export const runStates = [
  'creating',
  'starting',
  'running',
  'stopping',
  'stopped',
  'rebooting',
  'migrating',
  'repairing',
  'failed',
  'destroyed',
] as const
export type RunState = (typeof runStates)[number]
/** Those of an instance whose sled has its ports and, soon or still, its machine. */
export const liveStates = ['starting', 'running', 'rebooting', 'stopping', 'migrating'] as const
export const runState = Type.Enum(runStates)

export const instanceSpec = Type.Object({
  id: uuid,
  propolis_id: uuid,
  name: Type.String({ maxLength: 63 }),
  hostname: Type.String({ maxLength: 63 }),
  ncpus: Type.Integer({ minimum: 1, maximum: 65_535 }),
  memory_bytes: bytes,
  nics: Type.Array(guestVnic, { maxItems: 8 }),
  /** Disk ids by slot: 0 boots. */
  disks: Type.Array(
    Type.Object({
      id: uuid,
      slot: Type.Integer({ minimum: 0, maximum: 7 }),
      read_only: Type.Boolean(),
      block_size: Type.Integer(),
    }),
    { maxItems: 8 },
  ),
  /** Seed of cloud-init: keys and user data reach the guest on a disk labelled `cidata`. */
  cidata: Type.Object({
    public_keys: Type.Array(Type.String({ maxLength: 1023 }), { maxItems: 8 }),
    /** Base64; empty for none. */
    user_data: Type.String(),
  }),
})
export type InstanceSpec = Static<typeof instanceSpec>

/** What the sled knows of the guest now; `gen` grows with every change. */
export const instanceRuntime = Type.Object({
  run_state: runState,
  gen: generation,
  time_updated_ms: moment_ms,
})
export type InstanceRuntime = Static<typeof instanceRuntime>

export const instanceTargets = ['running', 'stopped', 'reboot', 'destroyed'] as const
export type InstanceTarget = (typeof instanceTargets)[number]

export const migration = Type.Object({ migration_id: uuid, dst_propolis_id: uuid })

/** A guest that another sled may take over: its machine, its volumes, and where they are had. */
export const guestOffer = Type.Object({
  migration_id: uuid,
  propolis_id: uuid,
  address: path,
  volumes: Type.Array(volumeOffer, { maxItems: limits.instance_disks_max }),
})
export type GuestOffer = Static<typeof guestOffer>

const ensureRequest = Type.Object({
  spec: instanceSpec,
  target: Type.Enum(instanceTargets),
  gen: generation,
})
const migrateOutRequest = Type.Object({ propolis_id: uuid, migration, gen: generation })
const migrateInRequest = Type.Object({ spec: instanceSpec, offer: guestOffer, gen: generation })

/**
 * An actor's id is the instance's UUID. Transitions follow spec/01 §10.2.
 *
 * What ends in `_fenced` is done only while the saga that asks still wants it (fence.ts). The others that
 * Nexus asks for may come late: `destroy` is asked for once no instance of this id is wanted again, and
 * `go_on` and `leave` name a propolis and what the record has decided of it, which is never taken back.
 */
export const instanceProtocol = protocol('instance', 4, {
  get: call(1, {
    request: nothing,
    reply: nullable(instanceRuntime),
    errors: [],
    idempotent: true,
  }),
  /**
   * Asks for a target state; `spec` is what the guest should have, taken up at its next start. `gen`
   * is Nexus' last known generation: reports always exceed it.
   */
  ensure: call(2, {
    request: ensureRequest,
    reply: instanceRuntime,
    errors: ['invalid_transition', 'no_space', 'os_failed'],
    idempotent: true,
  }),
  /** Internal: what the machine was seen to do, or that it has not ended in time. */
  observed: call(3, {
    request: Type.Object({
      propolis_id: uuid,
      event: Type.Enum(['running', 'reset', 'shutdown', 'exited', 'overdue']),
    }),
    reply: nothing,
    errors: [],
  }),
  /**
   * Console output since the guest's start. Exactly one of `from_start` (offset) and `most_recent`
   * (bytes back from the end) is given. To follow the console, watch it through `console`.
   */
  serial_read: call(4, {
    request: Type.Object({
      from_start: nullable(bytes),
      most_recent: nullable(bytes),
      max_bytes: Type.Integer({ minimum: 0, maximum: limits.serial_read_bytes_max }),
    }),
    reply: Type.Object({ data: binary, last_byte_offset: bytes }),
    errors: ['not_running', 'os_failed'],
    idempotent: true,
  }),
  /** Keys typed at the console, at most `serial_write_bytes_max` at a time. */
  serial_write: call(5, {
    request: Type.Object({ data: binary }),
    reply: nothing,
    errors: ['not_running', 'os_failed'],
  }),
  /** Ends the guest at once and forgets it: ports, zone, console file. Disks stay. */
  destroy: call(6, {
    request: nothing,
    reply: nothing,
    errors: ['os_failed'],
    lane: 'urgent',
    idempotent: true,
  }),
  /** Internal: does what the state still asks for (start the guest, let go of a dead one). */
  advance: call(7, { request: nothing, reply: nothing, errors: [] }),
  /** Internal: sends the newest runtime to Nexus, until it is taken. */
  report: call(8, { request: nothing, reply: nothing, errors: [] }),
  /** Internal: Nexus has taken a report. */
  reported: call(9, { request: Type.Object({ gen: generation }), reply: nothing, errors: [] }),
  /** Internal: tells Nexus what this guest has asked of its disks, again and again while it runs. */
  sample: call(10, {
    request: Type.Object({ propolis_id: uuid }),
    reply: nothing,
    errors: [],
    idempotent: true,
    since: 2,
  }),
  /**
   * Has a guest become `migrating` and offers it to the propolis that is to take it over. It runs on
   * until it is taken; then it stands still, here as there, until Nexus says who goes on.
   */
  migrate_out: call(11, {
    request: migrateOutRequest,
    reply: Type.Object({ runtime: instanceRuntime, offer: guestOffer }),
    errors: ['invalid_transition', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** Takes over a guest that another sled offers. When it fails, nothing of it is here. */
  migrate_in: call(12, {
    request: migrateInRequest,
    reply: instanceRuntime,
    errors: ['invalid_transition', 'source_gone', 'no_space', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /**
   * The guest of this propolis goes on here: it has come, or the migration is called off. One that is
   * over already, or was replaced by another, changes nothing.
   */
  go_on: call(13, {
    request: Type.Object({ propolis_id: uuid, migration_id: uuid, gen: generation }),
    reply: instanceRuntime,
    errors: ['not_here', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** Forgets the guest of this propolis and its volumes: it goes on elsewhere. Another one stays. */
  leave: call(14, {
    request: Type.Object({ propolis_id: uuid }),
    reply: nothing,
    errors: ['os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** The migration that is under way here; null for none. */
  get_migration: call(15, {
    request: nothing,
    reply: nullable(migration),
    errors: [],
    idempotent: true,
    since: 3,
  }),
  /** `ensure` for a saga: only while the instance's record is marked with this target and propolis. */
  ensure_fenced: call(16, {
    request: Type.Object({ ...ensureRequest.properties, fence }),
    reply: instanceRuntime,
    errors: ['invalid_transition', 'no_space', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 4,
  }),
  /** `migrate_out` for a saga. */
  migrate_out_fenced: call(17, {
    request: Type.Object({ ...migrateOutRequest.properties, fence }),
    reply: Type.Object({ runtime: instanceRuntime, offer: guestOffer }),
    errors: ['invalid_transition', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 4,
  }),
  /** `migrate_in` for a saga. */
  migrate_in_fenced: call(18, {
    request: Type.Object({ ...migrateInRequest.properties, fence }),
    reply: instanceRuntime,
    errors: ['invalid_transition', 'source_gone', 'no_space', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 4,
  }),
})
