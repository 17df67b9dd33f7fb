/** Volumes on sleds: made for disks, snapshots and images alike, and taken away. */
import type { VolumeSource } from '#actors/disk.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import { internal, invalidRequest, unavailable } from '#actors/http/errors.ts'

export interface VolumeGiven {
  readonly id: string
  readonly sled_id: string
  readonly size_bytes: number
  readonly block_size: number
  /** Null for zeros. */
  readonly source: VolumeSource | null
}

/** Makes a volume, or sees that it is made. Throws 400, 500 or 503 when it cannot be. */
export async function makeVolume(services: Services, volume: VolumeGiven): Promise<void> {
  const { id, sled_id, size_bytes, source } = volume
  const block_size = ([512, 2048, 4096] as const).find((size) => size === volume.block_size) ?? 512
  const size = { id, size_bytes, block_size }
  const disk = services.sleds.disk(sled_id, id)
  const time = { timeout_ms: limits.disk_ensure_ms_max }
  const made =
    source?.type === 'volume'
      ? await disk.call('copy', { ...size, from: source.id }, time)
      : await disk.call('ensure', { ...size, source }, time)
  if (made.ok) return
  services.log.error('a volume could not be made', { disk: id, detail: made.detail })
  if (made.error === 'image_unreachable' || made.error === 'image_too_large') {
    throw invalidRequest(`the disk's image could not be read: ${made.detail}`)
  }
  if (made.error === 'not_found') {
    throw invalidRequest(`what should be copied is not there any more: ${made.detail}`)
  }
  throw temporary.has(made.error) ? unavailable() : internal()
}

/** Takes a volume away, whether it is there or not. Throws 503 when it may still be there. */
export async function destroyVolume(
  services: Services,
  { id, sled_id }: { readonly id: string; readonly sled_id: string },
): Promise<void> {
  const destroyed = await services.sleds
    .disk(sled_id, id)
    .call('destroy', null, { timeout_ms: limits.zone_boot_ms_max })
  if (destroyed.ok) return
  services.log.error('a volume could not be destroyed', { disk: id, detail: destroyed.detail })
  throw unavailable()
}

/** What may well work later: the answer is 503. */
const temporary: ReadonlySet<string> = new Set(['no_space', 'busy', 'deadline', 'unreachable'])
