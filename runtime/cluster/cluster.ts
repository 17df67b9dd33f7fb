/** One member's part in a cluster, put together: its membership, its leases, the directory. */
import { ok, type Result } from '../result.ts'
import { Directory } from './directory.ts'
import { Leases } from './leases.ts'
import { Membership, type MembershipOptions } from './membership.ts'
import { takeoverMsMax } from './timing.ts'

export interface Cluster {
  readonly membership: Membership
  readonly leases: Leases
  readonly directory: Directory
  /** Everything there is to see of this member's part, as plain data. */
  readonly snapshot: () => ClusterSnapshot
}

export type ClusterSnapshot = ReturnType<Membership['snapshot']> & {
  readonly takeover_ms_max: number
  readonly leases: readonly { readonly name: string; readonly generation: number }[]
  /** Of the leases, those whose actors belong elsewhere by now. */
  readonly misplaced: readonly string[]
}

/**
 * Joins the cluster that `store` holds together. Once `membership.state()` is `fenced`, what this
 * returned is of no more use: drop all that ran under its leases, and join again.
 */
export async function joinCluster(
  options: MembershipOptions,
): Promise<Result<Cluster, 'store_unavailable'>> {
  const joined = await Membership.join(options)
  if (!joined.ok) return joined
  const membership = joined.value
  const parts = { store: options.store, time: options.time, timing: options.timing, membership }
  const leases = new Leases(parts)
  const directory = new Directory({ ...parts, leases })
  const snapshot = (): ClusterSnapshot => ({
    ...membership.snapshot(),
    takeover_ms_max: takeoverMsMax(options.timing),
    leases: leases.held().map(({ name, generation }) => ({ name, generation })),
    misplaced: directory.misplaced().map(({ name }) => name),
  })
  return ok({ membership, leases, directory, snapshot })
}
