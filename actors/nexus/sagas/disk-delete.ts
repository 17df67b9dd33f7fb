/** disk-delete: the mark, the volume on its sled, the record. Once marked there is no way back. */
import { invalidRequest, notFound } from '#actors/http/errors.ts'
import type { Saga } from '../saga-nodes.ts'
import type { Tables } from '../store/schema.ts'
import { unmarkDestroyed, volumeGoneNodes } from './volume-gone.ts'

export interface DiskDeleteParams {
  readonly id: string
  readonly name: string
  readonly sled_id: string
  /** As it was when its deletion was asked for. */
  readonly state: Tables['disk']['state']
}

export const diskDeleteSaga: Saga<DiskDeleteParams> = {
  name: 'disk-delete',
  nodes: () => [
    {
      // So that no instance can take the disk while its volume goes.
      name: 'disk_mark',
      writes:
        ({ params }) =>
        async (store) => {
          const row = await store
            .selectFrom('disk')
            .select(['state', 'attach_instance_id'])
            .where('id', '=', params.id)
            .where('time_deleted_ms', 'is', null)
            .executeTakeFirst()
          if (row === undefined) throw notFound('disk', params.name)
          if (row.attach_instance_id !== null || !deletable.has(row.state)) {
            throw invalidRequest(`disk cannot be deleted in state "${row.state}"`)
          }
          await store
            .updateTable('disk')
            .set({ state: 'destroyed' })
            .where('id', '=', params.id)
            .execute()
          return null
        },
      undo: async ({ services, params }) => {
        await unmarkDestroyed(services, 'disk', params)
      },
    },
    ...volumeGoneNodes<DiskDeleteParams>('disk', {
      volume: 'volume_destroy',
      record: 'disk_record',
    }),
  ],
}

const deletable: ReadonlySet<string> = new Set(['detached', 'faulted', 'creating', 'destroyed'])
