/** What a request for a disk must satisfy, in Omicron's order and words, and what becomes of it. */
import type { Static } from 'typebox'
import type { VolumeSource } from '#actors/disk.protocol.ts'
import { limits } from '#config/limits.ts'
import type { diskCreate } from '../api/contract/disks.ts'
import type { Actor, Services } from '../context.ts'
import { invalidRequest, invalidValue } from '#actors/http/errors.ts'
import type { DiskPlan } from '../sagas/disk-create.ts'
import { globalImageById, imageById, readySnapshot } from './sources.ts'

const gib_bytes = limits.size_step_bytes
export type DiskCreate = Static<typeof diskCreate>

interface Caller {
  readonly services: Services
  readonly actor: Actor
}

export async function planDisk(caller: Caller, body: DiskCreate): Promise<DiskPlan> {
  const { name, description, size } = body
  const plan = { name, description, size_bytes: size, ...nothing }
  switch (body.disk_source.type) {
    case 'blank': {
      const { block_size } = body.disk_source
      if (size % block_size !== 0) {
        throw invalidValue('size and block_size', 'total size must be a multiple of block size')
      }
      checkGib(size)
      return { ...plan, block_size }
    }
    case 'image': {
      const image = await imageById(caller, body.disk_source.image_id)
      checkFit(size, 'image', image)
      const { id, block_size, source, sled_id } = image
      return { ...plan, block_size, source, image_id: id, sled_id }
    }
    case 'snapshot': {
      const snapshot = await readySnapshot(caller, body.disk_source.snapshot_id)
      checkFit(size, 'snapshot', snapshot)
      const { id, block_size, sled_id } = snapshot
      const source: VolumeSource = { type: 'volume', id }
      return { ...plan, block_size, source: JSON.stringify(source), snapshot_id: id, sled_id }
    }
    case 'global_image': {
      const image = await globalImageById(caller.services, body.disk_source.image_id)
      checkFit(size, 'global image', image)
      return { ...plan, block_size: image.block_size, source: image.source, image_id: image.id }
    }
  }
}

const nothing = { image_id: null, snapshot_id: null, sled_id: null, source: null }

function checkFit(
  size: number,
  what: 'global image' | 'image' | 'snapshot',
  source: { readonly size_bytes: number; readonly block_size: number },
): void {
  if (size % source.block_size !== 0) {
    throw invalidValue('size', `total size must be a multiple of ${what}'s block size`)
  }
  if (size < source.size_bytes) {
    const kind = what === 'snapshot' ? what : 'image'
    throw invalidRequest(
      `disk size ${size} must be greater than or equal to ${kind} size ${source.size_bytes}`,
    )
  }
  checkGib(size)
}

function checkGib(size: number): void {
  if (size < gib_bytes) throw invalidValue('size', 'total size must be at least 1 GiB')
  if (size % gib_bytes !== 0) {
    throw invalidValue('size', 'total size must be a multiple of 1 GiB')
  }
}
