/** snapshot-create: the record, the copy of the disk's volume on its sled, the record's final state. */
import { alreadyExists, invalidRequest, notFound } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import type { Saga, Write } from '../saga-nodes.ts'
import type { Snapshot } from '../storage/sources.ts'
import { isConflict } from '../store/failure.ts'
import { transact } from '../store/transact.ts'
import { destroyVolume, makeVolume } from '../storage/volumes.ts'

export interface SnapshotCreateParams {
  /** The record as it will be inserted. */
  readonly snapshot: Snapshot
  readonly disk_name: string
}

export const snapshotCreateSaga: Saga<SnapshotCreateParams> = {
  name: 'snapshot-create',
  nodes: () => [
    {
      name: 'created_snapshot',
      writes: ({ params }) => recordInserted(params),
      undo: async ({ services, params }) => {
        await transact(services, async (store) => {
          await store.deleteFrom('snapshot').where('id', '=', params.snapshot.id).execute()
        })
      },
    },
    {
      name: 'snapshot_request',
      action: async ({ services, params }) => {
        const { disk_id, ...volume } = params.snapshot
        await makeVolume(services, { ...volume, source: { type: 'volume', id: disk_id } })
      },
      undo: async ({ services, params }) => {
        await destroyVolume(services, params.snapshot)
      },
    },
    { name: 'finalized_snapshot', writes: ({ params }) => finished(params), undo: null },
  ],
}

/** The states of a disk whose volume is there. */
const whole: ReadonlySet<string> = new Set(['detached', 'attaching', 'attached', 'detaching'])

const recordInserted =
  ({ snapshot, disk_name }: SnapshotCreateParams): Write =>
  async (store) => {
    await demandLive(store, 'project', { id: snapshot.project_id, name: null })
    const disk = await store
      .selectFrom('disk')
      .select('state')
      .where('id', '=', snapshot.disk_id)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (disk === undefined) throw notFound('disk', disk_name)
    if (!whole.has(disk.state)) {
      throw invalidRequest(`a disk in state "${disk.state}" has nothing to take a snapshot of`)
    }
    try {
      await store.insertInto('snapshot').values(snapshot).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('snapshot', snapshot.name) : error
    }
    return null
  }

const finished =
  ({ snapshot: { id, name } }: SnapshotCreateParams): Write =>
  async (store) => {
    await store
      .updateTable('snapshot')
      .set({ state: 'ready' })
      .where('id', '=', id)
      .where('state', '=', 'creating')
      .execute()
    const row = await store
      .selectFrom('snapshot')
      .select('state')
      .where('id', '=', id)
      .executeTakeFirst()
    // Deleted while it was being made: what came into being since goes too.
    if (row === undefined || row.state === 'destroyed') throw notFound('snapshot', name)
    return null
  }
