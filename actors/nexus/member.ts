/**
 * This Nexus as a member of the cluster (runtime/cluster): one session after another, each with a
 * lease named after it under which the session owns its sagas. When a session is over, that lease is
 * free: whoever takes it takes the sagas over, and nothing of the old session is written any more.
 */
import type { Clock } from '#runtime/clock.ts'
import { joinCluster, type Cluster } from '#runtime/cluster/cluster.ts'
import { sessionName, type Lease, type LeaseStore } from '#runtime/cluster/store.ts'
import type { Timing } from '#runtime/cluster/timing.ts'
import type { Log } from '#runtime/log.ts'

export interface MemberOptions {
  readonly store: LeaseStore
  readonly timing: Timing
  readonly member_id: string
  readonly address: string
  /** Whether whoever starts this process saw the earlier one of this member end. */
  readonly supersede: boolean
  readonly clock: Clock
  readonly log: Log
}

/** The right to run sagas: of one session, for as long as it is surely this process's. */
export interface Ownership {
  /** What a saga's row calls its owner. */
  readonly owner: string
  readonly lease: Lease
  /** Asks the clock, nobody else. */
  readonly isHeld: () => boolean
}

interface Standing {
  readonly cluster: Cluster
  readonly ownership: Ownership
}

const prefix = 'sagas/'

export class Member {
  readonly #options: MemberOptions
  readonly #stop = new AbortController()
  #ended: Promise<void> = Promise.resolve()
  #standing: Standing | null = null
  #ready = Promise.withResolvers<void>()

  constructor(options: MemberOptions) {
    this.#options = options
  }

  /** Begins to join; goes on joining until it is stopped, however often it is fenced. */
  start(): void {
    this.#ended = this.#live()
  }

  /** Ends once this member stands in the cluster. */
  async ready(): Promise<void> {
    await this.#ready.promise
  }

  /** The cluster as of this member's present session; null while it has none. */
  get cluster(): Cluster | null {
    return this.#standing?.cluster ?? null
  }

  /** Under what this member may run sagas now; null while it must not. */
  ownership(): Ownership | null {
    const ownership = this.#standing?.ownership ?? null
    return ownership?.isHeld() === true ? ownership : null
  }

  /** Takes what a session owned that is over. Null while it is not, or while nobody can say. */
  async inherit(owner: string): Promise<Lease | null> {
    const acquired = await this.#standing?.cluster.leases.acquire(`${prefix}${owner}`)
    return acquired?.ok === true ? acquired.value : null
  }

  async release(lease: Lease): Promise<void> {
    await this.#standing?.cluster.leases.release(lease)
  }

  /** Leaves, so that others need not wait to take over. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#standing?.cluster.membership.leave()
    await this.#ended
  }

  async #live(): Promise<void> {
    const { clock, timing, log } = this.#options
    let supersede = this.#options.supersede
    while (!this.#stop.signal.aborted) {
      const standing = await this.#join(supersede)
      if (standing === null) {
        await clock.sleep(timing.heartbeat_ms, this.#stop.signal)
        continue
      }
      supersede = false
      this.#standing = standing
      this.#ready.resolve()
      log.info('joined the cluster', { session: standing.ownership.owner })
      await sessionEnd(standing.cluster)
      this.#standing = null
      this.#ready = Promise.withResolvers()
      if (!this.#stop.signal.aborted) {
        log.warn('the session is over: joining anew', { session: standing.ownership.owner })
      }
    }
  }

  async #join(supersede: boolean): Promise<Standing | null> {
    const { store, timing, clock, member_id, address, log } = this.#options
    const joined = await joinCluster({ store, timing, time: clock, member_id, address, supersede })
    if (!joined.ok) {
      log.warn('the cluster cannot be joined yet', { why: joined.detail })
      return null
    }
    const { membership, leases } = joined.value
    if (this.#stop.signal.aborted) {
      await membership.leave()
      return null
    }
    const owner = sessionName(membership.session)
    const lease = await leases.acquireWhenFree(`${prefix}${owner}`, this.#stop.signal)
    if (lease === null) {
      await membership.leave()
      return null
    }
    const isHeld = () => leases.isHeld(lease)
    return { cluster: joined.value, ownership: { owner, lease, isHeld } }
  }
}

async function sessionEnd({ membership }: Cluster): Promise<void> {
  const isOver = () => ['fenced', 'left'].includes(membership.state())
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = membership.onChange(() => {
    if (isOver()) resolve()
  })
  if (isOver()) resolve()
  await promise
  stop()
}
