/**
 * Snapshots: a volume of its own with what a disk of this sled holds at one moment, whether a guest uses
 * it or not. It goes by the snapshot's id from then on, as a disk that `disk_put` destroys.
 */
import { diskProtocol } from '#actors/disk.protocol.ts'
import { invalidRequest, notFoundById } from '#actors/http/errors.ts'
import { limits } from '#config/limits.ts'
import { journaledVolume } from './journaled.ts'
import { implementSled as implement, refusal, type SledAgentServices } from './route.ts'
import { volumeOf } from './spec.ts'

const options = { timeout_ms: limits.disk_ensure_ms_max }

export const snapshotRoutes = [
  implement('issue_disk_snapshot_request', async ({ services, path, body }) => {
    const disk_id = path('disk_id')
    const { id } = volumeOf(body.volume_construction_request, 'volume_construction_request')
    if (id !== disk_id) {
      throw invalidRequest(`volume_construction_request: it names ${id}, and the path ${disk_id}`)
    }
    return await take(services, { disk_id, instance_id: null }, body.snapshot_id)
  }),
  implement('instance_issue_disk_snapshot_request', async ({ services, path, body }) => {
    const of = { disk_id: path('disk_id'), instance_id: path('instance_id') }
    return await take(services, of, body.snapshot_id)
  }),
]

/** Asked again for the same, it is there already. `instance_id` null: attached to none. */
async function take(
  services: SledAgentServices,
  { disk_id, instance_id }: { readonly disk_id: string; readonly instance_id: string | null },
  snapshot_id: string,
) {
  const volume = await journaledVolume(services, disk_id)
  if (volume === null) throw notFoundById('disk', disk_id)
  const holder = volume.attachment?.instance_id ?? null
  if (holder !== instance_id) {
    const where = holder === null ? 'no instance' : `instance ${holder}`
    throw invalidRequest(`disk is attached to ${where}: ask for its snapshot there`)
  }
  const { size_bytes, block_size } = volume.spec
  const made = await services
    .ref(diskProtocol, snapshot_id)
    .call('copy', { id: snapshot_id, size_bytes, block_size, from: disk_id }, options)
  if (made.ok) return { snapshot_id }
  if (made.error === 'conflict') throw invalidRequest(made.detail)
  // Gone since it was looked at, or never whole.
  if (made.error === 'not_found') throw notFoundById('disk', disk_id)
  throw refusal(services, made)
}
