/**
 * image-delete: the volume, where the image has one, then the record: no volume is forgotten while its sled
 * is away.
 */
import type { Saga } from '../saga.ts'
import type { Image } from '../sources.ts'
import { transact } from '../store/transact.ts'
import { destroyVolume } from '../volumes.ts'

type Params = Pick<Image, 'id' | 'sled_id'>

export const imageDeleteSaga: Saga<Params> = {
  name: 'image-delete',
  nodes: () => [
    {
      name: 'image_volume',
      action: async ({ services, params: { id, sled_id } }) => {
        if (sled_id !== null) await destroyVolume(services, { id, sled_id })
      },
      undo: 'onward',
    },
    {
      name: 'image_record',
      action: async ({ services, params }) => {
        await transact(services, async (store) => {
          await store
            .updateTable('image')
            .set({ time_deleted_ms: services.clock.now() })
            .where('id', '=', params.id)
            .where('time_deleted_ms', 'is', null)
            .execute()
        })
      },
      undo: 'onward',
    },
  ],
}
