/** How disks, snapshots and images end, whose bytes are a volume: a mark, the volume, the record. */
import type { SagaNode } from '../saga-nodes.ts'
import type { Services } from '../context.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { destroyVolume } from '../storage/volumes.ts'

interface Held {
  readonly id: string
  /** Null for an image that has no volume of its own. */
  readonly sled_id: string | null
}

/** The volume, then the record: no volume is forgotten while its sled is away. There is no way back. */
export function volumeGoneNodes<P extends Held>(
  table: 'disk' | 'snapshot' | 'image',
  names: { readonly volume: string; readonly record: string },
): ReadonlyArray<SagaNode<P>> {
  return [
    {
      name: names.volume,
      action: async ({ services, params: { id, sled_id } }) => {
        if (sled_id !== null) await destroyVolume(services, { id, sled_id })
      },
      undo: 'onward',
    },
    {
      name: names.record,
      writes:
        ({ services, params }) =>
        async (store) => {
          await store
            .updateTable(table)
            .set({ time_deleted_ms: services.clock.now() })
            .where('id', '=', params.id)
            .where('time_deleted_ms', 'is', null)
            .execute()
          return null
        },
      undo: 'onward',
    },
  ]
}

/** Takes the mark `destroyed` back: the state is again what it was when the deletion was asked for. */
export async function unmarkDestroyed<T extends 'disk' | 'snapshot'>(
  services: Services,
  table: T,
  { id, state }: { readonly id: string; readonly state: Tables[T]['state'] },
): Promise<void> {
  await transact(services, async (store) => {
    await store
      .updateTable<'disk' | 'snapshot'>(table)
      .set({ state })
      .where('id', '=', id)
      .where('state', '=', 'destroyed')
      .where('time_deleted_ms', 'is', null)
      .execute()
  })
}
