/** What is written down of every saga: its row, and one of each node that is done or undone. */
import { prepare } from './store/prepare.ts'
import type { Store, StoreTransaction, Tables } from './store/schema.ts'

export const unfinishedStates = ['running', 'unwinding'] as const
type End = 'succeeded' | 'failed'
interface Step {
  /** Of the node among its saga's, from 0. */
  readonly position: number
  readonly name: string
  readonly state: 'done' | 'undone'
  /** What the node returned, for those after it; kept as JSON. */
  readonly output: unknown
}

/** The saga's own row, before anything of it is done. */
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

const ended = prepare((store, { id, state }: { readonly id: string; readonly state: End }) =>
  store.updateTable('saga').set({ state }).where('id', '=', id),
)

export async function endSaga(
  store: Store | StoreTransaction,
  id: string,
  state: End,
): Promise<void> {
  await ended(store, { id, state })
}
