/**
 * An instance's disks come to its sled before it starts: a guest reaches volumes of its own sled only. Each is
 * copied, then the record says where it is, then the sled that it was on lets go of it.
 */
import { Type, type Static } from 'typebox'
import { internal, invalidRequest, unavailable } from '#actors/http/errors.ts'
import { uuid } from '#actors/schema.ts'
import { limits } from '#config/limits.ts'
import { fits } from '#runtime/schema.ts'
import type { Services } from '../context.ts'
import { instanceById } from '../compute/instances.ts'
import { fenceOf } from '../fence.ts'
import type { SagaNode, SagaRun } from '../saga-nodes.ts'
import { destroyVolume } from '../storage/volumes.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

/** A disk and the sled that it comes from. */
const farDisk = Type.Object({ id: uuid, sled_id: uuid })
const farDisks = Type.Array(farDisk)
type FarDisk = Static<typeof farDisk>

const diskRows = prepare((store, { id }: { readonly id: string }) =>
  store.selectFrom('disk').select(['id', 'name', 'sled_id']).where('attach_instance_id', '=', id),
)

/** The disks of an instance that are on other sleds than its own. */
export async function farDisksOf(
  store: Store | StoreTransaction,
  { id, sled_id }: { readonly id: string; readonly sled_id: string },
) {
  return (await diskRows(store, { id })).filter((disk) => disk.sled_id !== sled_id)
}

/** Throws 400 for an instance with a disk on another sled, which no node of its saga brings. */
export async function demandNear(
  store: StoreTransaction,
  instance: { readonly id: string; readonly sled_id: string },
): Promise<void> {
  const [far] = await farDisksOf(store, instance)
  if (far === undefined) return
  throw invalidRequest(`disk "${far.name}" has just come to another sled: ask again`)
}

type Run<P> = Omit<SagaRun<P>, 'done'>
const far_node = 'disks_far'

/** The nodes that bring the disks of the instance that `idOf` names. */
export function diskBringNodes<P>(idOf: (params: P) => string): ReadonlyArray<SagaNode<P>> {
  return [
    {
      // Written down before anything is copied: what is taken back is known, whoever detaches what.
      name: far_node,
      action: async ({ services, params }) => {
        const far = await farDisksOf(services.store, await instanceById(services, idOf(params)))
        return far.map(({ id, sled_id }): FarDisk => ({ id, sled_id }))
      },
      undo: null,
    },
    {
      name: 'disks_brought',
      action: async (run) => {
        const { services, params } = run
        const instance = await instanceById(services, idOf(params))
        const far = farOf(run)
        await Promise.all(
          far.map(async (disk) => {
            await bringVolume(services, disk, instance.sled_id)
          }),
        )
        await transact(services, async (store) => {
          for (const disk of far) await moved(store, disk, instance)
          await run.done(store)
        })
      },
      undo: settleDisks,
    },
    { name: 'disks_left', action: settleDisks, undo: settleDisks },
  ]

  /** Has each disk be where its record says, and nowhere else: one that has come stays, whatever became of the start. */
  async function settleDisks(run: Run<P>): Promise<void> {
    const { services, params } = run
    const { id: instance_id, sled_id: to } = await instanceById(services, idOf(params))
    for (const { id, sled_id: from } of farOf(run)) {
      const recorded = await sledOf(services, id)
      for (const sled_id of [from, to]) {
        if (sled_id !== recorded) await destroyVolume(services, { id, sled_id })
      }
      if (recorded === from) await endOffer(services, { id, sled_id: from }, instance_id)
    }
  }
}

function farOf({ outputs }: Run<unknown>): readonly FarDisk[] {
  const far = outputs.get(far_node)
  if (!fits(farDisks, far)) throw new Error(`node ${far_node} has given no disks`)
  return far
}

/** Where a disk is, as it is recorded; null for one that was deleted. */
async function sledOf({ store }: Services, id: string): Promise<string | null> {
  const row = await store
    .selectFrom('disk')
    .select('sled_id')
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  return row?.sled_id ?? null
}

/** Writes down that a disk has come. Throws 400 for one that was detached meanwhile. */
async function moved(
  store: StoreTransaction,
  { id, sled_id }: FarDisk,
  instance: { readonly id: string; readonly name: string; readonly sled_id: string },
): Promise<void> {
  const { numUpdatedRows } = await store
    .updateTable('disk')
    .set({ sled_id: instance.sled_id })
    .where('id', '=', id)
    .where('sled_id', '=', sled_id)
    .where('attach_instance_id', '=', instance.id)
    .executeTakeFirst()
  if (numUpdatedRows > 0n) return
  throw invalidRequest(`a disk of instance "${instance.name}" was detached while it was brought`)
}

/** Nobody comes for a volume any more. Where that is not heard the sled's next start ends the offer. */
async function endOffer(services: Services, { id, sled_id }: FarDisk, instance_id: string) {
  const ended = await services.sleds
    .disk(sled_id, id)
    .call('detach', { instance_id }, { timeout_ms: limits.zone_boot_ms_max })
  if (!ended.ok) services.log.warn('a disk is still offered', { disk: id, detail: ended.detail })
}

/** Copies a volume that nobody uses from its sled to another one. Throws 500 or 503 when it does not come. */
async function bringVolume(services: Services, { id, sled_id }: FarDisk, to: string) {
  const offered = await services.sleds
    .disk(sled_id, id)
    .call('offer', null, { timeout_ms: limits.zone_boot_ms_max })
  const brought = offered.ok
    ? await services.sleds
        .disk(to, id)
        .call(
          'bring_fenced',
          { ...offered.value, fence: fenceOf(services) },
          { timeout_ms: limits.disk_ensure_ms_max },
        )
    : offered
  if (brought.ok) return
  const { error, detail } = brought
  services.log.error('a disk did not come from sled to sled', { disk: id, error, detail })
  throw error === 'os_failed' || error === 'conflict' ? internal() : unavailable()
}
