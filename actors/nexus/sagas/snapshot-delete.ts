/**
 * snapshot-delete: the mark, the volume on its sled, the record. Once marked there is no way back. What was
 * made from the snapshot has volumes of its own and stays.
 */
import type { Saga } from '../saga-nodes.ts'
import type { Snapshot } from '../storage/sources.ts'
import { unmarkDestroyed, volumeGoneNodes } from './volume-gone.ts'

type Params = Pick<Snapshot, 'id' | 'sled_id' | 'state'>

export const snapshotDeleteSaga: Saga<Params> = {
  name: 'snapshot-delete',
  nodes: () => [
    {
      // So that nothing begins to be made from it while its volume goes.
      name: 'snapshot_mark',
      writes:
        ({ params }) =>
        async (store) => {
          await store
            .updateTable('snapshot')
            .set({ state: 'destroyed' })
            .where('id', '=', params.id)
            .execute()
          return null
        },
      undo: async ({ services, params }) => {
        await unmarkDestroyed(services, 'snapshot', params)
      },
    },
    ...volumeGoneNodes<Params>('snapshot', {
      volume: 'snapshot_volume',
      record: 'snapshot_record',
    }),
  ],
}
