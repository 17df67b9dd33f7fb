/**
 * An instance's disks come to its sled before it starts: a guest reaches volumes of its own sled only. Each is
 * copied, then the record says where it is, then the sled that it was on lets go of it.
 *
 * Meanwhile the instance counts as migrating: nobody starts, stops or deletes it, gives it disks or takes
 * them away. That mark goes with the record, or when every sled has taken back what it made.
 */
import { Type, type Static } from 'typebox'
import { internal, invalidRequest, unavailable } from '#actors/http/errors.ts'
import { uuid } from '#actors/schema.ts'
import { limits } from '#config/limits.ts'
import { fits } from '#runtime/schema.ts'
import type { Services } from '../context.ts'
import { instanceById, recorded } from '../compute/instances.ts'
import { fenceOf } from '../fence.ts'
import type { SagaNode, SagaRun } from '../saga-nodes.ts'
import { destroyVolume } from '../storage/volumes.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction } from '../store/schema.ts'
import { transact } from '../store/transact.ts'

/** A disk and the sled that it comes from. */
const farDisk = Type.Object({ id: uuid, sled_id: uuid })
const farDisks = Type.Object({ bring_id: uuid, disks: Type.Array(farDisk) })
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
    { name: far_node, action: begin, undo: end },
    { name: 'disks_brought', action: bring, undo: settle },
    { name: 'disks_left', action: settle, undo: settle },
  ]

  /** Marks the instance, and writes down what is to come: so what is to be taken back is known. */
  async function begin({ services, params, done }: SagaRun<P>): Promise<void> {
    const bring_id = services.random.uuid()
    await transact(services, async (store) => {
      const instance = await recorded(store, idOf(params))
      if (instance.migration_id !== null) {
        throw invalidRequest(`disks of instance "${instance.name}" are on their way already`)
      }
      await setMark(store, instance.id, { from: null, to: bring_id })
      const far = await farDisksOf(store, instance)
      const disks = far.map(({ id, sled_id }): FarDisk => ({ id, sled_id }))
      await done(store, { bring_id, disks })
    })
  }

  async function end(run: Run<P>): Promise<void> {
    // The mark and what is to come were written at once, or neither.
    if (!run.outputs.has(far_node)) return
    const { bring_id } = farOf(run)
    await transact(run.services, async (store) => {
      await setMark(store, idOf(run.params), { from: bring_id, to: null })
    })
  }

  async function bring(run: SagaRun<P>): Promise<void> {
    const { services, params } = run
    const instance = await instanceById(services, idOf(params))
    const { bring_id, disks } = farOf(run)
    await Promise.all(
      disks.map(async (disk) => {
        await bringVolume(services, disk, { bring_id, sled_id: instance.sled_id })
      }),
    )
    await transact(services, async (store) => {
      for (const { id } of disks) {
        const { sled_id } = instance
        await store.updateTable('disk').set({ sled_id }).where('id', '=', id).execute()
      }
      await setMark(store, instance.id, { from: bring_id, to: null })
      await run.done(store)
    })
  }

  /** Has each disk be where its record says, and nowhere else: one that has come stays, whatever became of the start. */
  async function settle(run: Run<P>): Promise<void> {
    const { services, params } = run
    const { id: instance_id, sled_id: to } = await instanceById(services, idOf(params))
    for (const { id, sled_id: from } of farOf(run).disks) {
      const recorded_on = await sledOf(services, id)
      if (recorded_on === to) await demandVolume(services, id, to)
      for (const sled_id of [from, to]) {
        if (sled_id !== recorded_on) await destroyVolume(services, { id, sled_id })
      }
      if (recorded_on === from) await endOffer(services, { id, sled_id: from }, instance_id)
    }
  }
}

async function setMark(
  store: StoreTransaction,
  id: string,
  { from, to }: { readonly from: string | null; readonly to: string | null },
): Promise<void> {
  await store
    .updateTable('instance')
    .set({ migration_id: to })
    .where('id', '=', id)
    .where('migration_id', from === null ? 'is' : '=', from)
    .execute()
}

/** What a disk came from is not let go of before the sled that it has come to says that it has it. Throws 503. */
async function demandVolume(services: Services, id: string, sled_id: string): Promise<void> {
  const found = await services.sleds
    .disk(sled_id, id)
    .call('get', null, { timeout_ms: limits.zone_boot_ms_max })
  if (found.ok && found.value.phase !== 'absent') return
  const detail = found.ok ? 'it has no volume of it' : found.detail
  services.log.error('a disk is not where its record says', { disk: id, sled_id, detail })
  throw unavailable()
}

function farOf({ outputs }: Run<unknown>): Static<typeof farDisks> {
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

/** Nobody comes for a volume any more. Where that is not heard the sled's next start ends the offer. */
async function endOffer(services: Services, { id, sled_id }: FarDisk, instance_id: string) {
  const ended = await services.sleds
    .disk(sled_id, id)
    .call('detach', { instance_id }, { timeout_ms: limits.zone_boot_ms_max })
  if (!ended.ok) services.log.warn('a disk is still offered', { disk: id, detail: ended.detail })
}

/** Copies a volume that nobody uses from its sled to another one. Throws 500 or 503 when it does not come. */
async function bringVolume(
  services: Services,
  { id, sled_id }: FarDisk,
  to: { readonly bring_id: string; readonly sled_id: string },
) {
  const offered = await services.sleds
    .disk(sled_id, id)
    .call('offer', null, { timeout_ms: limits.zone_boot_ms_max })
  const brought = offered.ok
    ? await services.sleds
        .disk(to.sled_id, id)
        .call(
          'bring_fenced',
          { ...offered.value, bring_id: to.bring_id, fence: fenceOf(services) },
          { timeout_ms: limits.disk_ensure_ms_max },
        )
    : offered
  if (brought.ok) return
  const { error, detail } = brought
  services.log.error('a disk did not come from sled to sled', { disk: id, error, detail })
  throw error === 'os_failed' || error === 'conflict' ? internal() : unavailable()
}
