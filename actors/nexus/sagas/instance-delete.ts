/** instance-delete: the mark, the guest on the sled, the records. Once marked there is no way back. */
import { unavailable } from '#actors/http/errors.ts'
import {
  deleteRecords,
  deleting,
  destroyGuest,
  instanceById,
  markDeleting,
  unmarkTarget,
} from '../compute/instances.ts'
import { oweNeighbours } from '../propagation.ts'
import type { Saga } from '../saga-nodes.ts'

export interface InstanceDeleteParams {
  readonly id: string
  readonly name: string
}

export const instanceDeleteSaga: Saga<InstanceDeleteParams> = {
  name: 'instance-delete',
  nodes: () => [
    {
      name: 'instance_mark',
      writes:
        ({ params }) =>
        async (store) => {
          await markDeleting(store, params)
          return null
        },
      undo: async ({ services, params }) => {
        await unmarkTarget(services, params.id, deleting)
      },
    },
    {
      name: 'guest_destroy',
      action: async ({ services, params }) => {
        // Where it is now that nothing moves it any more.
        const { id, sled_id } = await instanceById(services, params.id)
        if (!(await destroyGuest(services, { id, sled_id }))) throw unavailable()
      },
      undo: 'onward',
    },
    {
      name: 'instance_records',
      writes:
        ({ services, params }) =>
        async (store) => {
          await deleteRecords(store, params.id, services.clock.now())
          const owed = await oweNeighbours(services, store, params.id)
          return () => {
            services.publisher.sendSoon(services, owed)
          }
        },
      undo: 'onward',
    },
  ],
}
