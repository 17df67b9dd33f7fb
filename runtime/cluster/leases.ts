/**
 * The leases of one session. None is renewed by itself: the session's renewal renews them all, so
 * that a million leases cost no more than one. When the session is over, so are they.
 */
import assert from 'node:assert/strict'
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '../result.ts'
import type { Membership } from './membership.ts'
import {
  isSameSession,
  sessionName,
  type Lease,
  type LeaseQuery,
  type LeaseRow,
  type LeaseStore,
} from './store.ts'
import { ask, type Time, type Timing } from './timing.ts'

export interface LeasesOptions {
  readonly store: LeaseStore
  readonly time: Time
  readonly timing: Timing
  readonly membership: Membership
}

export type AcquireError = 'held' | 'not_live' | 'store_unavailable'

const page_max = 1_000

export class Leases {
  readonly #options: LeasesOptions
  readonly #held = new Map<string, Lease>()
  /** Names for which a question is on its way. */
  readonly #busy = new Set<string>()
  /** Takes that had no answer: each may still be carried out, at any time. */
  readonly #unanswered = new Map<string, Lease>()
  /** When a question was last left without an answer, by the monotonic clock. */
  #doubted_at: number | null = null

  constructor(options: LeasesOptions) {
    this.#options = options
  }

  /**
   * Takes a name that nobody holds, at a generation higher than all before. `held`: somebody has it
   * (also a part of this very process), or was faster. `not_live`: this member must not act now.
   * After `store_unavailable` it may have been taken; it is given back as soon as the store answers.
   */
  async acquire(name: string): Promise<Result<Lease, AcquireError>> {
    assert(name !== '' && !name.includes('\0'), 'a lease has a name, of text')
    assert(
      Buffer.byteLength(name) <= limits.cluster_name_bytes_max,
      `the name of a lease is longer than ${limits.cluster_name_bytes_max} bytes: ${name}`,
    )
    const { membership } = this.#options
    if (this.#held.has(name) || this.#busy.has(name)) {
      return err('held', `${name} is held by ${sessionName(membership.session)}, this member`)
    }
    if (membership.state() !== 'live') return this.#notLive(name)
    this.#busy.add(name)
    const taken = await this.#take(name)
    this.#busy.delete(name)
    if (!taken.ok) return taken
    this.#held.set(name, taken.value)
    // Nobody would use it, or give it back.
    if (membership.state() === 'live') return taken
    await this.release(taken.value)
    return this.#notLive(name)
  }

  /** `acquire`, again with every heartbeat until it succeeds or is no longer wanted: then null. */
  async acquireWhenFree(name: string, signal: AbortSignal): Promise<Lease | null> {
    const { time, timing, membership } = this.#options
    const isWanted = () => !signal.aborted && !['fenced', 'left'].includes(membership.state())
    while (isWanted()) {
      const acquired = await this.acquire(name)
      if (acquired.ok) {
        if (isWanted()) return acquired.value
        await this.release(acquired.value)
        return null
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      const onAbort = () => {
        resolve()
      }
      const cancel = time.after(timing.heartbeat_ms, resolve)
      signal.addEventListener('abort', onAbort, { once: true })
      await promise
      cancel()
      signal.removeEventListener('abort', onAbort)
    }
    return null
  }

  /**
   * Stops trusting the lease at once and gives it back; one that is lost already needs nothing. After
   * `store_unavailable` it is given back later.
   */
  async release(lease: Lease): Promise<Result<null, 'store_unavailable'>> {
    if (this.#held.get(lease.name)?.generation !== lease.generation) return ok(null)
    this.#held.delete(lease.name)
    if (this.#isOver()) return ok(null)
    const released = await this.#ask(
      `release ${lease.name}`,
      async (store) => await store.release(lease),
    )
    return released.ok ? ok(null) : released
  }

  /**
   * Whether its holder may act under this lease now; by the clock, without asking anybody. Bound what
   * you then do by `membership.trust_ms()`, and let the store check its part with `assertHeld`.
   */
  isHeld(lease: Lease): boolean {
    const { membership } = this.#options
    return (
      membership.state() === 'live' &&
      this.#held.get(lease.name)?.generation === lease.generation &&
      isSameSession(lease, membership.session)
    )
  }

  /** What this session holds, by the order of taking. Nothing once the session is over. */
  held(): readonly Lease[] {
    return this.#isOver() ? [] : [...this.#held.values()]
  }

  #isOver(): boolean {
    return ['fenced', 'left'].includes(this.#options.membership.state())
  }

  #notLive(name: string) {
    const { membership } = this.#options
    const who = sessionName(membership.session)
    return err(
      'not_live',
      `${name} cannot be held by ${who}, whose session is ${membership.state()}`,
    )
  }

  async #take(name: string): Promise<Result<Lease, 'held' | 'store_unavailable'>> {
    const { session } = this.#options.membership
    const row = await this.#ask(`show ${name}`, async (store) => await store.lease(name))
    if (!row.ok) return row
    const holder = row.value?.holder ?? null
    if (holder !== null && !isSameSession(holder, session)) {
      return err('held', `${name} is held by ${sessionName(holder)}`)
    }
    // Held by this session without our knowledge: taken under a question that had no answer. Taking it
    // anew makes whatever is still on its way stale.
    const lease = { ...session, name, generation: (row.value?.generation ?? 0) + 1 }
    const taken = await this.#ask(`give ${name} out`, async (store) => await store.take(lease))
    if (!taken.ok) {
      this.#unanswered.set(name, lease)
      return taken
    }
    // Its generation is used: an earlier take of the name does nothing any more.
    if (taken.value) this.#unanswered.delete(name)
    return taken.value ? ok(lease) : err('held', `${name} was taken by somebody faster`)
  }

  async #ask<T>(what: string, question: (store: LeaseStore) => Promise<T>) {
    const { store, time, timing } = this.#options
    const answer = await ask(time, timing.heartbeat_ms, what, async () => await question(store))
    if (!answer.ok) this.#doubt()
    return answer
  }

  /** From now on, until it is quiet again, look for leases that the store says we have and we do not. */
  #doubt(): void {
    const isLooking = this.#doubted_at !== null
    this.#doubted_at = this.#options.time.monotonic()
    if (!isLooking) this.#sweepLater()
  }

  #sweepLater(): void {
    const { time, timing } = this.#options
    time.after(timing.heartbeat_ms, () => {
      void this.#sweep()
    })
  }

  async #sweep(): Promise<void> {
    if (this.#isOver()) return
    const { time, timing } = this.#options
    await this.#giveBackUnknown()
    for (const lease of this.#unanswered.values()) await this.#settle(lease)
    const doubted_ms = time.monotonic() - (this.#doubted_at ?? 0)
    const isQuiet = doubted_ms >= timing.trust_ms_max && this.#unanswered.size === 0
    if (isQuiet) this.#doubted_at = null
    else this.#sweepLater()
  }

  /**
   * Uses up the generation of a take that had no answer, and gives it back: however late the store
   * carries it out, it does nothing then.
   */
  async #settle(lease: Lease): Promise<void> {
    const { name } = lease
    if (this.#busy.has(name) || this.#held.has(name)) return
    this.#busy.add(name)
    const taken = await this.#ask(`settle ${name}`, async (store) => await store.take(lease))
    const released = taken.ok
      ? await this.#ask(`release ${name}`, async (store) => await store.release(lease))
      : taken
    this.#busy.delete(name)
    if (released.ok) this.#unanswered.delete(name)
  }

  async #giveBackUnknown(): Promise<void> {
    const holder = this.#options.membership.session
    let after: string | null = null
    do {
      const query: LeaseQuery = { holder, after, limit: page_max }
      const page: Result<readonly LeaseRow[], 'store_unavailable'> = await this.#ask(
        'list leases',
        async (store) => await store.leases(query),
      )
      if (!page.ok) return
      for (const { name, generation } of page.value) {
        if (this.#held.get(name)?.generation === generation || this.#busy.has(name)) continue
        const lease = { ...holder, name, generation }
        await this.#ask(`release ${name}`, async (store) => await store.release(lease))
      }
      after = page.value.length === page_max ? (page.value.at(-1)?.name ?? null) : null
    } while (after !== null)
  }
}
