/** The fence under which sagas ask something of sleds (#actors/fence.ts): its words, and whether it holds. */
import assert from 'node:assert/strict'
import { sessionName } from '#runtime/cluster/store.ts'
import type { Result } from '#runtime/result.ts'
import type { InstanceMark } from '#actors/nexus.protocol.ts'
import type { Fence } from '#actors/schema.ts'
import type { Services } from './context.ts'
import { prepare } from './store/prepare.ts'
import type { Store, StoreTransaction } from './store/schema.ts'

/** The fence of the saga whose node asks. */
export function fenceOf({ config, fence, saga }: Services): Fence {
  assert(fence !== null && saga !== null, 'only nodes of sagas ask under a fence')
  return { nexus: config.id, saga_id: saga, owner: sessionName(fence) }
}

/** What a sled of before there were fences does not know is asked of it without. */
export async function orUnfenced<T, E extends string>(
  asked: Result<T, E>,
  older: () => Promise<Result<T, E>>,
): Promise<Result<T, E>> {
  return asked.ok || asked.error !== 'unsupported' ? asked : await older()
}

/** Whether what a saga has asked still counts; `instance`: what it is to become, null for anything else. */
export async function isWanted(
  { store }: Services,
  { saga_id, owner }: Fence,
  instance: InstanceMark | null,
): Promise<boolean> {
  const found =
    instance === null
      ? await going(store, { saga_id, owner })
      : await goingAndMarked(store, { saga_id, owner, ...instance })
  return found.length > 0
}

interface Going {
  readonly saga_id: string
  readonly owner: string
}

/** The saga, while it goes forward and is this owner's. */
const goingSaga = (store: Store | StoreTransaction, { saga_id, owner }: Going) =>
  store
    .selectFrom('saga')
    .select('id')
    .where('id', '=', saga_id)
    .where('owner', '=', owner)
    .where('state', '=', 'running')

const going = prepare((store, saga: { readonly [K in keyof Going]: Going[K] }) =>
  goingSaga(store, saga),
)

// The saga is compared with rather than said to exist: SQLite would plan that anew for every value.
const goingAndMarked = prepare(
  (store, { saga_id, owner, ...mark }: { readonly [K in keyof (Going & InstanceMark)]: string }) =>
    store
      .selectFrom('instance')
      .select('id')
      .where('id', '=', mark.id)
      .where('pending_target', '=', mark.target)
      .where('propolis_id', '=', mark.propolis_id)
      .where('time_deleted_ms', 'is', null)
      .where(goingSaga(store, { saga_id, owner }), '=', saga_id),
)
