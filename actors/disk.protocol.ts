/** Messages of a disk: one raw volume of the sled and the way a guest reaches it. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { bytes, fence, nullable, path, uuid } from '#actors/schema.ts'

/** Where a new volume's first bytes come from (Nexus' `VolumeConstructionRequest`, reduced). */
export const imageSource = Type.Union([
  /** The guest image that stands where the guide has alpine.iso. */
  Type.Object({ type: Type.Literal('alpine'), size_bytes: bytes }),
  Type.Object({
    type: Type.Literal('url'),
    url: Type.String({ maxLength: 8192 }),
    size_bytes: bytes,
  }),
])
export type ImageSource = Static<typeof imageSource>

/** All of what a volume may begin with: an image's bytes, or those of another volume of its sled. */
export const volumeSource = Type.Union([
  ...imageSource.anyOf,
  Type.Object({ type: Type.Literal('volume'), id: uuid }),
])
export type VolumeSource = Static<typeof volumeSource>

const size = {
  id: uuid,
  size_bytes: bytes,
  block_size: Type.Union([Type.Literal(512), Type.Literal(2048), Type.Literal(4096)]),
}
export const diskSpec = Type.Object({ ...size, source: nullable(imageSource) })
export type DiskSpec = Static<typeof diskSpec>
/** What is journaled of a disk, however it was asked for. */
export const volumeSpec = Type.Object({ ...size, source: nullable(volumeSource) })
export type VolumeSpec = Static<typeof volumeSpec>

/** How QEMU reaches the volume: an NBD export on a unix socket. */
export const diskEndpoint = Type.Object({ socket: path, export: Type.String() })
export type DiskEndpoint = Static<typeof diskEndpoint>

/** A volume that another sled may read, and where. */
export const volumeOffer = Type.Object({ ...size, address: path })
export type VolumeOffer = Static<typeof volumeOffer>

export const diskView = Type.Object({
  id: uuid,
  size_bytes: bytes,
  /** `exported`: an NBD server offers it now. */
  phase: Type.Union([Type.Literal('absent'), Type.Literal('ready'), Type.Literal('exported')]),
  instance_id: nullable(uuid),
})
export type DiskView = Static<typeof diskView>

const copySpec = Type.Object({ ...size, from: uuid })

/**
 * An actor's id is the UUID of the disk, or of the snapshot or image whose volume it keeps. What ends in
 * `_fenced` is done only while the saga that asks still wants it (fence.ts). `destroy` needs no fence:
 * it is asked for once it is decided that nobody will want the volume again, and its id never comes back.
 */
export const diskProtocol = protocol('disk', 6, {
  get: call(1, { request: nothing, reply: diskView, errors: [], idempotent: true }),
  /** Makes the volume, filled from its source; nothing stays behind when it fails. */
  ensure: call(2, {
    request: diskSpec,
    reply: diskView,
    errors: ['conflict', 'no_space', 'image_unreachable', 'image_too_large', 'os_failed'],
    idempotent: true,
  }),
  /** Offers the volume to one instance. */
  attach: call(3, {
    request: Type.Object({ instance_id: uuid, read_only: Type.Boolean() }),
    reply: diskEndpoint,
    errors: ['not_found', 'attached_elsewhere', 'os_failed'],
    idempotent: true,
  }),
  detach: call(4, {
    request: Type.Object({ instance_id: uuid }),
    reply: diskView,
    errors: ['os_failed'],
    idempotent: true,
  }),
  destroy: call(5, {
    request: nothing,
    reply: nothing,
    errors: ['attached', 'os_failed'],
    lane: 'urgent',
    idempotent: true,
  }),
  /** Internal: sees to it that an attached volume is still offered. */
  check: call(6, { request: nothing, reply: nothing, errors: [], idempotent: true }),
  /**
   * Makes the volume, beginning with what another one of this sled holds at one moment, whether a guest
   * uses that one or not; nothing stays behind when it fails.
   */
  copy: call(7, {
    request: copySpec,
    reply: diskView,
    errors: ['conflict', 'not_found', 'no_space', 'os_failed'],
    idempotent: true,
    since: 2,
  }),
  /** Internal: has a new volume begin with what this one holds; to be asked by the new one's actor. */
  copy_into: call(8, {
    request: Type.Object({ id: uuid, size_bytes: bytes }),
    reply: nothing,
    errors: ['not_found', 'no_space', 'os_failed'],
    idempotent: true,
    since: 2,
  }),
  /** Lets another sled read the volume; answers with where. */
  offer: call(9, {
    request: nothing,
    reply: volumeOffer,
    errors: ['not_found', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** Has the volume hold what another sled offers. */
  fill: call(10, {
    request: volumeOffer,
    reply: nothing,
    errors: ['not_found', 'source_gone', 'os_failed'],
    idempotent: true,
    since: 3,
  }),
  /** `ensure` for a saga. */
  ensure_fenced: call(11, {
    request: Type.Object({ ...diskSpec.properties, fence }),
    reply: diskView,
    errors: [
      'conflict',
      'no_space',
      'image_unreachable',
      'image_too_large',
      'os_failed',
      'stale',
      'unconfirmed',
    ],
    idempotent: true,
    since: 4,
  }),
  /** `copy` for a saga. */
  copy_fenced: call(12, {
    request: Type.Object({ ...copySpec.properties, fence }),
    reply: diskView,
    errors: ['conflict', 'not_found', 'no_space', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 4,
  }),
  /**
   * Takes in what another sled offers while a guest writes to it, and follows that until `fill`. Answered
   * when it has caught up.
   */
  follow: call(13, {
    request: volumeOffer,
    reply: nothing,
    errors: ['not_found', 'source_gone', 'no_space', 'os_failed'],
    idempotent: true,
    since: 5,
  }),
  /**
   * Makes the volume, beginning with what another sled offers and nobody writes to, for a saga; nothing stays
   * behind when it fails. What came with this `bring_id` before is left as it is; anything else that is there,
   * and is not attached, is what an earlier saga could not take away.
   */
  bring_fenced: call(14, {
    request: Type.Object({ ...volumeOffer.properties, bring_id: uuid, fence }),
    reply: diskView,
    errors: ['conflict', 'source_gone', 'no_space', 'os_failed', 'stale', 'unconfirmed'],
    idempotent: true,
    since: 6,
  }),
})
