/** Messages of a disk: one raw volume of the sled and the way a guest reaches it. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/protocol.ts'
import { bytes, nullable, path, uuid } from './schema.ts'

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

export const diskSpec = Type.Object({
  id: uuid,
  size_bytes: bytes,
  block_size: Type.Union([Type.Literal(512), Type.Literal(2048), Type.Literal(4096)]),
  source: nullable(imageSource),
})
export type DiskSpec = Static<typeof diskSpec>

/** How QEMU reaches the volume: an NBD export on a unix socket. */
export const diskEndpoint = Type.Object({ socket: path, export: Type.String() })
export type DiskEndpoint = Static<typeof diskEndpoint>

export const diskView = Type.Object({
  id: uuid,
  size_bytes: bytes,
  /** `exported`: an NBD server offers it now. */
  phase: Type.Union([Type.Literal('absent'), Type.Literal('ready'), Type.Literal('exported')]),
  instance_id: nullable(uuid),
})
export type DiskView = Static<typeof diskView>

/** An actor's id is the disk's UUID. */
export const diskProtocol = protocol('disk', 1, {
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
})
