/** disk-create: the record, the volume on a sled, the record's final state. */
import { volumeSource } from '#actors/disk.protocol.ts'
import { nullable } from '#actors/schema.ts'
import { alreadyExists, notFound } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import type { Saga, SagaNode, Write } from '../saga-nodes.ts'
import { readColumn } from '../store/column.ts'
import { isConflict } from '../store/failure.ts'
import { prepare } from '../store/prepare.ts'
import { transact } from '../store/transact.ts'
import type { Disk } from '../storage/disks.ts'
import { destroyVolume, makeVolume } from '../storage/volumes.ts'

/** What a disk will be made of, once its request has passed all checks. */
export interface DiskPlan {
  readonly name: string
  readonly description: string
  readonly size_bytes: number
  readonly block_size: number
  readonly image_id: string | null
  readonly snapshot_id: string | null
  /** The sled that has what the disk is made of; null when any sled will do. */
  readonly sled_id: string | null
  /** JSON of the source on the sled; null for a blank disk. */
  readonly source: string | null
}

export interface DiskCreateParams {
  readonly disk_id: string
  readonly project_id: string
  readonly sled_id: string
  readonly plan: DiskPlan
  readonly now_ms: number
}

/** The nodes for one disk, their names with a prefix where they are part of another saga. */
export function diskCreateNodes<P>(
  prefix: string,
  paramsOf: (params: P) => DiskCreateParams,
): ReadonlyArray<SagaNode<P>> {
  return [
    {
      name: `${prefix}created_disk`,
      writes: ({ params }) => recordInserted(paramsOf(params)),
      undo: async ({ services, params }) => {
        const { disk_id } = paramsOf(params)
        await transact(services, async (store) => {
          await store.deleteFrom('disk').where('id', '=', disk_id).execute()
        })
      },
    },
    {
      name: `${prefix}volume_ensure`,
      action: async ({ services, params }) => {
        const { disk_id, sled_id, plan } = paramsOf(params)
        const { size_bytes, block_size } = plan
        const source = readColumn(nullable(volumeSource), plan.source ?? 'null')
        await makeVolume(services, { id: disk_id, sled_id, size_bytes, block_size, source })
      },
      undo: async ({ services, params }) => {
        const { sled_id, disk_id } = paramsOf(params)
        await destroyVolume(services, { id: disk_id, sled_id })
      },
    },
    {
      name: `${prefix}disk_runtime`,
      writes:
        ({ params }) =>
        async (store) => {
          const { disk_id, plan } = paramsOf(params)
          if ((await diskFinished(store, { id: disk_id })).length > 0) return null
          const row = await store
            .selectFrom('disk')
            .select('state')
            .where('id', '=', disk_id)
            .executeTakeFirst()
          // Deleted while it was being made: what came into being since goes too.
          if (row === undefined || row.state === 'destroyed') throw notFound('disk', plan.name)
          return null
        },
      undo: null,
    },
  ]
}

export const diskCreateSaga: Saga<DiskCreateParams> = {
  name: 'disk-create',
  nodes: () => diskCreateNodes('', (params: DiskCreateParams) => params),
}

const diskInserted = prepare((store, row: Disk) => store.insertInto('disk').values(row))
const diskFinished = prepare((store, { id }: { readonly id: string }) =>
  store
    .updateTable('disk')
    .set({ state: 'detached' })
    .where('id', '=', id)
    .where('state', '=', 'creating')
    .returning('id'),
)

const recordInserted =
  ({ plan, now_ms, disk_id, project_id, sled_id }: DiskCreateParams): Write =>
  async (store) => {
    await demandLive(store, 'project', { id: project_id, name: null })
    await diskInserted(store, {
      id: disk_id,
      name: plan.name,
      description: plan.description,
      time_created_ms: now_ms,
      time_modified_ms: now_ms,
      time_deleted_ms: null,
      project_id,
      sled_id,
      image_id: plan.image_id,
      snapshot_id: plan.snapshot_id,
      size_bytes: plan.size_bytes,
      block_size: plan.block_size,
      source: plan.source,
      state: 'creating',
      attach_instance_id: null,
      slot: null,
      reported_gen: null,
    }).catch((error: unknown) => {
      throw isConflict(error) ? alreadyExists('disk', plan.name) : error
    })
    return null
  }
