/** The store that a rack is given: what `--store` says, and whether Nexus can get there. */
import { statSync } from 'node:fs'
import { readStoreUrl, shownUrl } from '#actors/nexus/store/url.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { RackPlan } from './plan.ts'

/** The URL of a store that is not SQLite's file; null for that. */
export function storeOf(given: string | null): Result<string | null, 'invalid_option'> {
  if (given === null || given === 'sqlite') return ok(null)
  try {
    if (readStoreUrl(given).dialect === 'postgres') return ok(given)
    return err('invalid_option', '--store: SQLite is always in the state directory: say sqlite')
  } catch (error) {
    return err('invalid_option', `--store: ${explain(error)}`)
  }
}

/** The same for people: without password and options. */
export const shownStore = (store: string | null) =>
  store === null ? 'sqlite' : shownUrl(readStoreUrl(store))

/** The directory of the unix socket that the store is behind; null when it is reached otherwise. */
export function storeSocketOf({ store = null }: RackPlan): string | null {
  const url = store === null ? null : readStoreUrl(store)
  return url?.dialect === 'postgres' ? url.socket : null
}

/**
 * Whether the zones of Nexus may enter the directory of the store's socket. They are given it as it is,
 * and root has no capabilities in them: for it a mode counts as for everybody.
 */
export function checkStore(plan: RackPlan): Result<null, 'invalid_option'> {
  const directory = plan.platform === 'linux' ? storeSocketOf(plan) : null
  if (directory === null) return ok(null)
  try {
    const { mode, uid, gid } = statSync(directory)
    const enter = uid === 0 ? 0o100 : gid === 0 ? 0o010 : 0o001
    if ((mode & enter) !== 0) return ok(null)
  } catch (cause) {
    return err('invalid_option', `--store: the directory of its socket: ${explain(cause)}`)
  }
  return err(
    'invalid_option',
    `--store: the zones of Nexus may not enter ${directory}, where its socket is: chmod o+x ${directory}`,
  )
}
