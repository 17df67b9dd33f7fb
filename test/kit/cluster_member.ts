/**
 * A member of a cluster in a process of its own. It waits for the lease `lamp` and writes deeds under
 * it, each in a guarded transaction, and tells what happens as lines of JSON. Fenced, it joins anew;
 * on SIGTERM it leaves.
 *
 *   node cluster_member.ts '{"url":…,"member_id":…,"timing":…}'
 *
 * A line `pause` on its input makes it stop itself with SIGSTOP right between looking whether it
 * holds the lease and writing: what a long collection does at the worst moment.
 */
import { createInterface } from 'node:readline'
import { sql } from 'kysely'
import { systemClock } from '#runtime/clock.ts'
import { joinCluster, type Cluster } from '#runtime/cluster/cluster.ts'
import { leaseConnections } from '#runtime/cluster/postgres.ts'
import { sqlLeaseStore, withLease } from '#runtime/cluster/sql.ts'
import type { Lease } from '#runtime/cluster/store.ts'
import type { Timing } from '#runtime/cluster/timing.ts'
import { explain } from '#runtime/result.ts'

export interface MemberGiven {
  readonly url: string
  readonly member_id: string
  readonly timing: Timing
}

/** What a member tells. */
export type Told =
  | { readonly told: 'joined'; readonly incarnation: number; readonly members: readonly string[] }
  | { readonly told: 'state'; readonly state: string; readonly members: readonly string[] }
  | { readonly told: 'acquired' | 'wrote' | 'pausing'; readonly generation: number }
  | { readonly told: 'refused'; readonly generation: number; readonly why: string }
  | { readonly told: 'failed'; readonly why: string }
  | { readonly told: 'left' }

const given = JSON.parse(process.argv[2] ?? '{}') as MemberGiven
const { member_id, timing } = given
const db = leaseConnections<unknown>(given.url, timing.heartbeat_ms, () => undefined)
const store = sqlLeaseStore(db)
const time = { monotonic: () => performance.now(), after: systemClock.after }
let isPauseWanted = false
let isLeaving = false

const tell = (what: Told): void => {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}

async function write(lease: Lease): Promise<void> {
  if (isPauseWanted) {
    isPauseWanted = false
    tell({ told: 'pausing', generation: lease.generation })
    process.kill(process.pid, 'SIGSTOP')
  }
  const { generation } = lease
  const author = `${lease.member_id}#${lease.incarnation}`
  const written = await withLease(db, lease, async (trx) => {
    await sql`INSERT INTO deed (id, name, generation, author)
      SELECT COALESCE(MAX(id), 0) + 1, 'lamp', ${generation}, ${author} FROM deed`.execute(trx)
  })
  if (written.ok) tell({ told: 'wrote', generation })
  else tell({ told: 'refused', generation, why: written.detail })
}

async function work({ leases, membership }: Cluster): Promise<void> {
  const lease = await leases.acquireWhenFree('lamp', new AbortController().signal)
  if (lease === null) return
  tell({ told: 'acquired', generation: lease.generation })
  while (!['fenced', 'left'].includes(membership.state())) {
    if (leases.isHeld(lease)) {
      await write(lease).catch((error: unknown) => {
        tell({ told: 'failed', why: explain(error) })
      })
    }
    await systemClock.sleep(20)
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  isPauseWanted ||= line === 'pause'
})
let current: Cluster | null = null
process.on('SIGTERM', () => {
  isLeaving = true
  void current?.membership.leave()
})
while (!isLeaving) {
  const joined = await joinCluster({
    store,
    time,
    timing,
    member_id,
    address: '',
    supersede: false,
  })
  if (!joined.ok) {
    await systemClock.sleep(timing.heartbeat_ms)
    continue
  }
  current = joined.value
  const { membership } = joined.value
  const others = () => membership.members().map((member) => member.member_id)
  tell({ told: 'joined', incarnation: membership.session.incarnation, members: others() })
  membership.onChange(() => {
    tell({ told: 'state', state: membership.state(), members: others() })
  })
  await work(joined.value)
}
tell({ told: 'left' })
process.exit(0)
