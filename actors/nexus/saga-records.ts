/** What is written down of every saga: its row, and one of each node that is done or undone. */
import { limits } from '#config/limits.ts'
import type { Services } from './context.ts'
import { prepare } from './store/prepare.ts'
import type { StoreTransaction, Tables } from './store/schema.ts'
import { transact } from './store/transact.ts'

export const unfinishedStates = ['running', 'unwinding'] as const
const ends = ['succeeded', 'failed'] as const
type End = (typeof ends)[number]
interface Step {
  /** Of the node among its saga's, from 0. */
  readonly position: number
  readonly name: string
  readonly state: 'done' | 'undone'
  /** What the node returned, for those after it; kept as JSON. */
  readonly output: unknown
}

/** The saga's own row: with what is done of it first, or before. */
export const beginSaga = prepare((store, row: Tables['saga']) =>
  store.insertInto('saga').values(row),
)

const noted = prepare((store, row: Tables['saga_node']) =>
  store
    .insertInto('saga_node')
    .values(row)
    .onConflict((conflict) =>
      conflict
        .columns(['saga_id', 'position'])
        .doUpdateSet({ state: row.state, output: row.output }),
    ),
)

/** A node is done, or undone. */
export async function noteNode(
  store: StoreTransaction,
  saga_id: string,
  { position, name, state, output }: Step,
): Promise<void> {
  const written = state === 'done' ? JSON.stringify(output) : null
  await noted(store, { saga_id, position, name, state, output: written })
}

/** A saga fails at a node; its row may not have been there yet. */
export async function noteFailure(store: StoreTransaction, row: Tables['saga']): Promise<void> {
  const { state, error_node_name, error, time_ended_ms } = row
  await store
    .insertInto('saga')
    .values(row)
    .onConflict((begun) =>
      begun.column('id').doUpdateSet({ state, error_node_name, error, time_ended_ms }),
    )
    .execute()
}

interface Ended {
  readonly id: string
  readonly state: End
  readonly time_ended_ms: number
}
const ended = prepare((store, { id, ...end }: { readonly [K in keyof Ended]: Ended[K] }) =>
  store.updateTable('saga').set(end).where('id', '=', id),
)

export async function endSaga(store: StoreTransaction, end: Ended): Promise<void> {
  await ended(store, { ...end })
}

/**
 * Removes sagas that ended more than `saga_kept_ms` ago, each with its nodes, at most `sweep_rows_max` of
 * each end. Where it is not known when they ended, their beginning counts. What has not ended stays, however
 * old it is. Gives back how many sagas went: as many again may be left while that is not 0.
 */
export async function sweepSagas(services: Services): Promise<number> {
  const before_ms = services.clock.now() - limits.saga_kept_ms
  let gone = 0
  for (const state of ends) {
    gone += await transact(services, async (store) => await sweepEnded(store, state, before_ms))
  }
  return gone
}

/** No saga leaves an end again, so those that were found may be deleted by their ids. */
async function sweepEnded(store: StoreTransaction, state: End, before_ms: number) {
  const some = store
    .selectFrom('saga')
    .select('id')
    .where('state', '=', state)
    .limit(limits.sweep_rows_max)
  const known = await some.where('time_ended_ms', '<', before_ms).orderBy('time_ended_ms').execute()
  const found =
    known.length > 0
      ? known
      : await some
          .where('time_ended_ms', 'is', null)
          .where('time_created_ms', '<', before_ms)
          // In the index' order: PostgreSQL does not see that the first is the same in all.
          .orderBy('time_ended_ms')
          .orderBy('time_created_ms')
          .execute()
  if (found.length === 0) return 0
  const ids = found.map(({ id }) => id)
  await store.deleteFrom('saga_node').where('saga_id', 'in', ids).execute()
  await store.deleteFrom('saga').where('id', 'in', ids).execute()
  return ids.length
}
