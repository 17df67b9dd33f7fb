/** instance-delete: the mark, the guest on the sled, the records. Once marked there is no way back. */
import { unavailable } from '#actors/http/errors.ts'
import {
  deleteRecords,
  deleting,
  destroyGuest,
  instanceById,
  markDeleting,
  oweNeighbours,
  unmarkTarget,
} from '../compute/instances.ts'
import type { Saga } from '../saga.ts'

export interface InstanceDeleteParams {
  readonly id: string
  readonly name: string
}

export const instanceDeleteSaga: Saga<InstanceDeleteParams> = {
  name: 'instance-delete',
  nodes: () => [
    {
      name: 'instance_mark',
      action: async ({ services, params }) => {
        await markDeleting(services, params)
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
      action: async ({ services, params, done }) => {
        let vpcs: readonly string[] = []
        await deleteRecords(services, params.id, async (store) => {
          vpcs = await oweNeighbours(store, params.id)
          await done(store)
        })
        services.firewall.sendSoon(services, vpcs)
      },
      undo: 'onward',
    },
  ],
}
