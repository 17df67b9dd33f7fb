/** instance-start, -stop and -reboot: the mark of what is wanted, and the request to the sled. */
import { invalidRequest } from '#actors/http/errors.ts'
import type { InstanceTarget } from '#actors/instance.protocol.ts'
import {
  askTarget,
  markTarget,
  recorded,
  unmarkTarget,
  type InstanceSeen,
} from '../compute/instances.ts'
import { oweNeighbours, type OwedOfNetworks } from '../propagation.ts'
import type { Saga } from '../saga-nodes.ts'
import { demandNear, diskBringNodes } from './disks-brought.ts'

export interface InstanceStateParams {
  readonly instance_id: string
  /** What whoever is no user has seen: when that is over, there is nothing to do. */
  readonly seen?: InstanceSeen
  /** Whether it has disks on other sleds, which come to its own before it starts. */
  readonly has_far_disks?: boolean
}

const stateSaga = (name: string, target: InstanceTarget): Saga<InstanceStateParams> => ({
  name,
  nodes: ({ has_far_disks = false }) => [
    {
      name: 'instance_target',
      writes:
        ({ services, params }) =>
        async (store) => {
          const { instance_id, seen = null } = params
          if (target === 'running') {
            const instance = await recorded(store, instance_id)
            if (!has_far_disks) await demandNear(store, instance)
            else if (instance.pending_target === target) {
              throw invalidRequest(`instance "${instance.name}" is starting already`)
            }
          }
          await markTarget(store, instance_id, { target, seen }, services.random)
          return null
        },
      undo: async ({ services, params }) => {
        await unmarkTarget(services, params.instance_id, target)
      },
    },
    ...(has_far_disks ? diskBringNodes<InstanceStateParams>(({ instance_id }) => instance_id) : []),
    {
      // A sled that is away is asked once it is back.
      name: 'instance_ensure',
      action: async ({ services, params, done }) => {
        let owed: readonly OwedOfNetworks[] = []
        await askTarget(services, params.instance_id, target, async (store) => {
          if (target === 'running') owed = await oweNeighbours(services, store, params.instance_id)
          await done(store)
        })
        services.publisher.sendSoon(services, owed)
      },
      undo: 'onward',
    },
  ],
})

export const instanceStartSaga = stateSaga('instance-start', 'running')
export const instanceStopSaga = stateSaga('instance-stop', 'stopped')
export const instanceRebootSaga = stateSaga('instance-reboot', 'reboot')
