/**
 * On whose behalf code runs, for what is too far below to be told: the store's driver knows statements,
 * not requests. One entry for a request or a saga's node; messages between actors don't pay for it.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Work } from './trace.ts'

type Doer = Pick<Work, 'what'>
const doers = new AsyncLocalStorage<Doer>()

/** Does something on behalf of a piece of work, or of the message that a handler's context is. */
export async function onBehalfOf<T>(doer: Doer, work: () => Promise<T>): Promise<T> {
  return await doers.run(doer, work)
}

/** Whose turn it is; null for nobody's in particular. */
export const doerNow = (): Doer | null => doers.getStore() ?? null
