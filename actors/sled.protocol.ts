/** Messages to a sled as a whole: what it has, and errands that belong to no object. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { bytes, uuid } from '#actors/schema.ts'
import { zoneView } from '#actors/zone.protocol.ts'

export const sledStatus = Type.Object({
  sled_id: uuid,
  platform: Type.Enum(['linux', 'illumos', 'sim']),
  /** `kvm`, `tcg` or `sim`, and why. */
  accelerator: Type.String(),
  zones: Type.Array(zoneView),
  nexus_connected: Type.Boolean(),
  /** What still keeps the sled from serving, one sentence each; empty when it does. */
  troubles: Type.Array(Type.String()),
})
export type SledStatus = Static<typeof sledStatus>

/** An actor's id is the sled's UUID. */
export const sledProtocol = protocol('sled', 2, {
  status: call(1, { request: nothing, reply: sledStatus, errors: [], idempotent: true }),
  /** HEAD of a disk image's URL, asked from where it will later be fetched. */
  image_probe: call(2, {
    request: Type.Object({ url: Type.String({ maxLength: 8192 }) }),
    reply: Type.Object({ size_bytes: bytes }),
    errors: ['unreachable_url', 'bad_status', 'no_length'],
    idempotent: true,
  }),
  /**
   * Internal: wakes everything the journal says this sled should have and brings up its service
   * zones; tries again by itself until all are up.
   */
  reconcile: call(3, { request: nothing, reply: nothing, errors: [], idempotent: true }),
  /** Internal: tells a Nexus that has just been reached that this sled is there. */
  announce: call(4, {
    request: Type.Object({ nexus: Type.String({ maxLength: 128 }) }),
    reply: nothing,
    errors: [],
    idempotent: true,
  }),
  /** What should be looked at although the sled serves, a sentence each. */
  warnings: call(5, {
    request: nothing,
    reply: Type.Array(Type.String({ maxLength: 1_024 }), { maxItems: 64 }),
    errors: [],
    idempotent: true,
    since: 2,
  }),
})
