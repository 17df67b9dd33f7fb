/** Which disk may be with which instance, and when (Omicron's attach rules of 2022-11-11). */
import { limits } from '#config/limits.ts'
import { diskNamed, type Disk } from '../storage/disks.ts'
import { invalidRequest } from '#actors/http/errors.ts'
import { stateOf, type Instance } from './instances.ts'
import type { StoreTransaction } from '../store/schema.ts'

type Attached = Pick<
  Instance,
  'id' | 'project_id' | 'run_state' | 'pending_target' | 'migration_id'
>

/** Attaches a disk, wherever it is; one that is attached already stays so. Inside a transaction, so it is atomic. */
export async function attachDisk(
  store: StoreTransaction,
  instance: Attached,
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
  const state = stateOf(instance)
  if (!['creating', 'stopped'].includes(state)) {
    throw invalidRequest(`cannot attach disk to instance in ${state} state`)
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
  instance: Attached,
  name: string,
): Promise<Disk> {
  const disk = await diskNamed(store, instance.project_id, name)
  if (disk.attach_instance_id === null) return disk
  if (disk.attach_instance_id !== instance.id) {
    throw invalidRequest(`cannot detach disk "${name}": disk is attached to another instance`)
  }
  const state = stateOf(instance)
  if (!['creating', 'stopped', 'failed'].includes(state)) {
    throw invalidRequest(`cannot detach disk from instance in ${state} state`)
  }
  const detached = { state: 'detached', attach_instance_id: null, slot: null } as const
  await store.updateTable('disk').set(detached).where('id', '=', disk.id).execute()
  return { ...disk, ...detached }
}
