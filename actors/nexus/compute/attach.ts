/** Which disk may be with which instance, and when (Omicron's attach rules of 2022-11-11). */
import { limits } from '#config/limits.ts'
import { diskNamed, type Disk } from '../storage/disks.ts'
import { invalidRequest } from '#actors/http/errors.ts'
import type { Instance } from './instances.ts'
import type { StoreTransaction } from '../store/schema.ts'

/** Attaches a disk; one that is attached already stays so. Inside a transaction, so it is atomic. */
export async function attachDisk(
  store: StoreTransaction,
  instance: Pick<Instance, 'id' | 'name' | 'project_id' | 'run_state' | 'sled_id'>,
  name: string,
): Promise<Disk> {
  const disk = await diskNamed(store, instance.project_id, name)
  if (disk.attach_instance_id === instance.id) return disk
  if (disk.attach_instance_id !== null) {
    throw invalidRequest(`cannot attach disk "${name}": disk is attached to another instance`)
  }
  if (!['creating', 'detached'].includes(disk.state)) {
    throw invalidRequest(`cannot attach disk "${name}": invalid state ${disk.state}`)
  }
  if (!['creating', 'stopped'].includes(instance.run_state)) {
    throw invalidRequest(`cannot attach disk to instance in ${instance.run_state} state`)
  }
  if (disk.sled_id !== instance.sled_id) {
    throw invalidRequest(
      `cannot attach disk "${name}": it is on another sled than instance "${instance.name}": create the instance with it`,
    )
  }
  const others = await store
    .selectFrom('disk')
    .select('slot')
    .where('attach_instance_id', '=', instance.id)
    .execute()
  if (others.length >= limits.instance_disks_max) {
    throw invalidRequest('cannot attach more than 8 disks to instance')
  }
  const slot = Array.from({ length: limits.instance_disks_max }, (_, index) => index).find(
    (index) => !others.some((other) => other.slot === index),
  )
  const attached = {
    state: 'attached',
    attach_instance_id: instance.id,
    slot: slot ?? 0,
  } as const
  await store.updateTable('disk').set(attached).where('id', '=', disk.id).execute()
  return { ...disk, ...attached }
}

/** Detaches a disk; one that is not attached stays so. */
export async function detachDisk(
  store: StoreTransaction,
  instance: Pick<Instance, 'id' | 'project_id' | 'run_state'>,
  name: string,
): Promise<Disk> {
  const disk = await diskNamed(store, instance.project_id, name)
  if (disk.attach_instance_id === null) return disk
  if (disk.attach_instance_id !== instance.id) {
    throw invalidRequest(`cannot detach disk "${name}": disk is attached to another instance`)
  }
  if (!['creating', 'stopped', 'failed'].includes(instance.run_state)) {
    throw invalidRequest(`cannot detach disk from instance in ${instance.run_state} state`)
  }
  const detached = { state: 'detached', attach_instance_id: null, slot: null } as const
  await store.updateTable('disk').set(detached).where('id', '=', disk.id).execute()
  return { ...disk, ...detached }
}
