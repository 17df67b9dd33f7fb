/** Volumes on sleds: made for disks, snapshots and images alike, and taken away. */
import type { VolumeSource, VolumeSpec } from '#actors/disk.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import { fenceOf, orUnfenced } from '../fence.ts'
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
  const made = await askVolume(services, sled_id, { id, size_bytes, block_size, source })
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

async function askVolume(services: Services, sled_id: string, { source, ...size }: VolumeSpec) {
  const disk = services.sleds.disk(sled_id, size.id)
  const fence = fenceOf(services)
  const time = { timeout_ms: limits.disk_ensure_ms_max }
  if (source?.type === 'volume') {
    const copied = { ...size, from: source.id }
    return await orUnfenced(
      await disk.call('copy_fenced', { ...copied, fence }, time),
      async () => await disk.call('copy', copied, time),
    )
  }
  const made = { ...size, source }
  return await orUnfenced(
    await disk.call('ensure_fenced', { ...made, fence }, time),
    async () => await disk.call('ensure', made, time),
  )
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
const temporary: ReadonlySet<string> = new Set([
  'no_space',
  'busy',
  'deadline',
  'unreachable',
  'stale',
  'unconfirmed',
])
