/** disk-delete: the mark, the volume on its sled, the record. Once marked there is no way back. */
import { limits } from '#config/limits.ts'
import { invalidRequest, notFound, unavailable } from '../errors.ts'
import type { Saga } from '../saga.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

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
      action: async ({ services, params }) => {
        await transact(services, async (store) => {
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
        })
      },
      undo: async ({ services, params }) => {
        await transact(services, async (store) => {
          await store
            .updateTable('disk')
            .set({ state: params.state })
            .where('id', '=', params.id)
            .where('state', '=', 'destroyed')
            .where('time_deleted_ms', 'is', null)
            .execute()
        })
      },
    },
    {
      name: 'volume_destroy',
      action: async ({ services, params }) => {
        const destroyed = await services.sleds
          .disk(params.sled_id, params.id)
          .call('destroy', null, { timeout_ms: limits.zone_boot_ms_max })
        if (destroyed.ok) return
        const { detail } = destroyed
        services.log.error('a volume could not be destroyed', { disk: params.id, detail })
        throw unavailable()
      },
      undo: 'onward',
    },
    {
      name: 'disk_record',
      action: async ({ services, params }) => {
        const time_deleted_ms = services.clock.now()
        await transact(services, async (store) => {
          await store
            .updateTable('disk')
            .set({ time_deleted_ms })
            .where('id', '=', params.id)
            .where('time_deleted_ms', 'is', null)
            .execute()
        })
      },
      undo: 'onward',
    },
  ],
}

const deletable: ReadonlySet<string> = new Set(['detached', 'faulted', 'creating', 'destroyed'])
