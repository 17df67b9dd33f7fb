/**
 * Changes of more than one statement. Transactions are serializable on every dialect: what one has read
 * still holds when it commits, or it is run again. A statement outside of a transaction is atomic by
 * itself only (read committed); so a check and the write that depends on it belong in one transaction,
 * and so does the write that the check is about.
 */
import { sql } from 'kysely'
import { limits } from '#config/limits.ts'
import type { Clock } from '#runtime/clock.ts'
import { assertHeld } from '#runtime/cluster/sql.ts'
import type { Lease } from '#runtime/cluster/store.ts'
import type { Random } from '#runtime/random.ts'
import { StoreError } from './failure.ts'
import type { Store, StoreTransaction, Tables } from './schema.ts'

interface Means {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  /** Nothing is committed unless this lease is held; null: nothing depends on one. */
  readonly fence: Lease | null
}

/**
 * Runs `work` in a transaction and gives back what it returned. When another transaction was in the way
 * it is run again, so it changes nothing but the store; everything it reads and writes goes through the
 * transaction it is given. `tries` counts its runs from 1, so that it can choose otherwise where others
 * were in the way. What it throws rolls back. Throws `StoreError` with `retry` when others were in the
 * way every time, with `away` when the database is; `LeaseLost` when the fence is not held.
 */
export async function transact<T>(
  means: Means,
  work: (store: StoreTransaction, tries: number) => Promise<T>,
): Promise<T> {
  return await lookThenTransact(
    means,
    async (tries) => async (transaction) => await work(transaction, tries),
  )
}

/**
 * The same for work that looks around first, outside of the transaction, where it is in nobody's way: `look`
 * gives back what is done in it, and is run again with that.
 */
export async function lookThenTransact<T>(
  { store, clock, random, fence }: Means,
  look: (tries: number) => Promise<(store: StoreTransaction) => Promise<T>>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const work = await look(tries)
    try {
      const began = store.transaction().setIsolationLevel('serializable')
      return await began.execute(async (transaction) => {
        if (fence !== null) await assertHeld(transaction, fence)
        return await work(transaction)
      })
    } catch (error) {
      const isInTheWay = error instanceof StoreError && error.failure === 'retry'
      if (!isInTheWay || tries >= limits.store_tries_max) throw error
    }
    const pause_ms_max = Math.min(limits.store_retry_ms_min * 2 ** tries, limits.store_retry_ms_max)
    await clock.sleep(random.next() * pause_ms_max)
  }
}

/** Tables whose rows are moved by more than one party: `gen` counts the moves. */
type Moved = {
  [T in keyof Tables]: Tables[T] extends { id: string; gen: number } ? T : never
}[keyof Tables]

/**
 * Changes a live row if it is still of the generation that the caller has seen, and counts that up.
 * False when somebody else was first: look again, decide again.
 */
export async function moveOn<T extends Moved>(
  store: Store | StoreTransaction,
  table: T,
  seen: { readonly id: string; readonly gen: number },
  change: Partial<Omit<Tables[T], 'id' | 'gen'>>,
): Promise<boolean> {
  const moved =
    await sql`update ${sql.table(table)} set ${assignments({ ...change, gen: seen.gen + 1 })}
    where id = ${seen.id} and gen = ${seen.gen} and time_deleted_ms is null`.execute(store)
  return moved.numAffectedRows === 1n
}

const assignments = (values: Readonly<Record<string, unknown>>) =>
  sql.join(Object.entries(values).map(([name, value]) => sql`${sql.ref(name)} = ${value}`))

/** The next generation of something that is sent out, durable before it is used. */
export async function nextGeneration(store: Store, what: string): Promise<number> {
  const { generation } = await store
    .insertInto('published')
    .values({ what, generation: 1 })
    .onConflict((conflict) =>
      conflict.column('what').doUpdateSet({ generation: sql`published.generation + 1` }),
    )
    .returning('generation')
    .executeTakeFirstOrThrow()
  return generation
}
