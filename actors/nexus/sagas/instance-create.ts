/** instance-create: record, NICs, SNAT, external IPs, disks, and the request to the sled. */
import { limits } from '#config/limits.ts'
import { attachDisk } from '../compute/attach.ts'
import type { Services } from '../context.ts'
import { alreadyExists } from '#actors/http/errors.ts'
import { allocateIp } from '../networking/external-ips.ts'
import { askTarget, markTarget, type Instance } from '../compute/instances.ts'
import { demandLive } from '../lookup.ts'
import { nicsOf, placeNic, type NicGiven } from '../networking/nics.ts'
import { owe, oweNeighbours, type OwedOfNetworks } from '../propagation.ts'
import type { Saga, SagaNode, Write, WriteNode } from '../saga-nodes.ts'
import { isConflict } from '../store/failure.ts'
import { prepare } from '../store/prepare.ts'
import { diskCreateNodes, type DiskCreateParams } from './disk-create.ts'
import { demandNear, diskBringNodes } from './disks-brought.ts'
import { transact } from '../store/transact.ts'

export interface InstanceCreateParams {
  /** The record as it will be inserted. */
  readonly instance: Instance
  readonly nics: readonly NicGiven[]
  readonly snat_id: string
  readonly external_ips: ReadonlyArray<{ readonly id: string; readonly pool_name: string | null }>
  readonly create_disks: readonly DiskCreateParams[]
  /** Names, in the order of their slots. */
  readonly attach_disks: readonly string[]
  /** Whether some of them are on other sleds; absent in requests of before that was possible. */
  readonly has_far_disks?: boolean
  readonly start: boolean
}
type Node = SagaNode<InstanceCreateParams>

export const instanceCreateSaga: Saga<InstanceCreateParams> = {
  name: 'instance-create',
  nodes: (params) => [
    recordNode,
    ...params.nics.map(nicNode),
    snatNode,
    ...params.external_ips.map(externalIpNode),
    ...params.create_disks.flatMap((_disk, index) =>
      diskCreateNodes<InstanceCreateParams>(`create_disk${index}_`, (all) =>
        at(all.create_disks, index),
      ),
    ),
    ...params.attach_disks.map(attachNode),
    ...(params.start ? startNodes(params) : [restNode]),
  ],
}

const instanceInserted = prepare((store, row: Instance) => store.insertInto('instance').values(row))

const recordNode: Node = {
  name: 'instance_name',
  writes:
    ({ params: { instance } }) =>
    async (store) => {
      await demandLive(store, 'project', { id: instance.project_id, name: null })
      await instanceInserted(store, instance).catch((error: unknown) => {
        throw isConflict(error) ? alreadyExists('instance', instance.name) : error
      })
      return null
    },
  // The record stays as a deleted one: should a request of before reach the sled late, then its
  // report is answered by letting go of the guest.
  undo: async ({ services, params }) => {
    const time_deleted_ms = services.clock.now()
    await transact(services, async (store) => {
      await store
        .updateTable('instance')
        .set({ time_deleted_ms, run_state: 'destroyed', pending_target: null })
        .where('id', '=', params.instance.id)
        .where('time_deleted_ms', 'is', null)
        .execute()
    })
  },
}

function nicNode(_nic: NicGiven, index: number): Node {
  return {
    name: `network_interface${index}`,
    writes: async ({ services, params, tries }) => {
      const { id: instance_id, project_id } = params.instance
      const attempt = { services, store: services.store, tries }
      const put = await placeNic(attempt, { instance_id, project_id }, at(params.nics, index))
      return async (store) => {
        // Nobody else gives one to an instance that is being made.
        await put(store, index === 0 ? [] : await nicsOf(store, { instance_id }))
        return null
      }
    },
    undo: async ({ services, params }) => {
      await transact(services, async (store) => {
        const gone = await store
          .deleteFrom('network_interface')
          .where('id', '=', at(params.nics, index).id)
          .returning('vpc_id')
          .execute()
        // A round for something else may have told others of its address.
        for (const { vpc_id } of gone) await owe(store, { kind: 'firewall', id: vpc_id })
      })
    },
  }
}

const snatNode: Node = {
  name: 'snat_ip',
  writes: (run) => ipTaken(run, { id: run.params.snat_id, kind: 'snat', pool_name: null }),
  undo: async ({ services, params }) => {
    await releaseIp(services, params.snat_id)
  },
}

function externalIpNode(_ip: unknown, index: number): Node {
  return {
    name: `external_ip${index}`,
    writes: (run) => ipTaken(run, { ...at(run.params.external_ips, index), kind: 'ephemeral' }),
    undo: async ({ services, params }) => {
      await releaseIp(services, at(params.external_ips, index).id)
    },
  }
}

const ipTaken =
  (
    { services, params, tries }: Parameters<WriteNode<InstanceCreateParams>['writes']>[0],
    wanted: {
      readonly id: string
      readonly kind: 'snat' | 'ephemeral'
      readonly pool_name: string | null
    },
  ): Write =>
  async (store) => {
    const { id: instance_id, project_id } = params.instance
    const whose = { ...wanted, instance_id, project_id }
    const taken = await allocateIp({ services, store, tries }, whose)
    return () => {
      services.partlyUsed.offer(taken)
    }
  }

async function releaseIp(services: Services, id: string): Promise<void> {
  await transact(services, async (store) => {
    await store.deleteFrom('external_ip').where('id', '=', id).execute()
  })
}

function attachNode(_name: string, index: number): Node {
  return {
    name: `attach_disk${index}`,
    writes:
      ({ params }) =>
      async (store) => {
        await attachDisk(store, params.instance, at(params.attach_disks, index))
        return null
      },
    undo: async ({ services, params }) => {
      await transact(services, async (store) => {
        await store
          .updateTable('disk')
          .set({ state: 'detached', attach_instance_id: null, slot: null })
          .where('attach_instance_id', '=', params.instance.id)
          .where('name', '=', at(params.attach_disks, index))
          .execute()
      })
    },
  }
}

const startNodes = ({ has_far_disks = false }: InstanceCreateParams): readonly Node[] => [
  targetNode,
  ...(has_far_disks ? diskBringNodes<InstanceCreateParams>(({ instance }) => instance.id) : []),
  ensureNode,
]

const targetNode: Node = {
  name: 'instance_target',
  writes:
    ({ services, params }) =>
    async (store) => {
      const { instance, attach_disks, has_far_disks = false } = params
      if (attach_disks.length > 0 && !has_far_disks) await demandNear(store, instance)
      await markTarget(store, instance.id, { target: 'running', seen: null }, services.random)
      return null
    },
  // It goes with the record.
  undo: null,
}

const ensureNode: Node = {
  name: 'instance_ensure',
  action: async ({ services, params, done }) => {
    const { id } = params.instance
    let owed: readonly OwedOfNetworks[] = []
    await askTarget(services, id, 'running', async (store) => {
      owed = await oweNeighbours(services, store, id)
      await done(store)
    })
    services.publisher.sendSoon(services, owed)
  },
  undo: async ({ services, params }) => {
    const { id, sled_id } = params.instance
    const destroyed = await services.sleds
      .instance(sled_id, id)
      .call('destroy', null, { timeout_ms: limits.instance_stop_ms_max })
    if (!destroyed.ok) throw new Error(`instance ${id}: ${destroyed.detail}`)
  },
}

/** An instance that is not to be started is at rest once it has everything. */
const restNode: Node = {
  name: 'instance_ensure',
  writes:
    ({ params }) =>
    async (store) => {
      await store
        .updateTable('instance')
        .set({ run_state: 'stopped' })
        .where('id', '=', params.instance.id)
        .where('run_state', '=', 'creating')
        .execute()
      return null
    },
  undo: null,
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index]
  if (found === undefined) throw new Error(`there is no item ${index}`)
  return found
}
