/**
 * A member's life in the cluster: it joins, renews its session, watches the others' progress, ends
 * the sessions of those who make none, and notices when its own is doubtful or over.
 *
 *     join ──▶ live ◀──▶ doubtful ──▶ fenced
 *                └──────────┴──leave──▶ left
 *
 * `live`: nobody else can have taken over; act. `doubtful`: no renewal was granted for
 * `trust_ms_max`; do not act, but keep everything, for the session may go on. `fenced` and `left` are
 * final: whatever was held is lost; join anew.
 */
import { ok, type Result } from '../result.ts'
import {
  isSameSession,
  sessionName,
  type JoinRequest,
  type LeaseStore,
  type MemberRow,
  type Session,
} from './store.ts'
import { ask, checkTiming, lookMsMax, type Time, type Timing } from './timing.ts'

export type MemberState = 'live' | 'doubtful' | 'fenced' | 'left'

export interface MembershipOptions extends JoinRequest {
  readonly store: LeaseStore
  readonly time: Time
  readonly timing: Timing
}

/** A session as this member sees it. */
export interface Seen extends MemberRow {
  /** For how long it was watched making no progress. */
  readonly silent_ms: number
}

export interface MembershipCounts {
  readonly renewed: number
  /** Renewals and looks that had no answer in time. */
  readonly unanswered: number
  /** Sessions of others that this member ended. */
  readonly fenced: number
}

export class Membership {
  readonly session: Session
  readonly #options: MembershipOptions
  readonly #listeners = new Set<() => void>()
  /** By this member's monotonic clock. */
  #trusted_until: number
  #end: 'fenced' | 'left' | null = null
  #seen: ReadonlyMap<string, Seen> = new Map()
  #looked_at: number
  #counts: MembershipCounts = { renewed: 0, unanswered: 0, fenced: 0 }
  #lastFailure: string | null = null
  #told = ''
  #cancelRound: () => void = () => undefined
  #cancelDoubt: () => void = () => undefined

  /**
   * Begins a session and looks at who else is there. After `store_unavailable` one may have begun
   * all the same; the others, or this member's next session, will end it.
   */
  static async join(options: MembershipOptions): Promise<Result<Membership, 'store_unavailable'>> {
    const { store, time, timing } = options
    checkTiming(timing)
    const sent_at = time.monotonic()
    const joined = await ask(
      time,
      timing.heartbeat_ms,
      `let ${options.member_id} join`,
      async () => await store.join(options),
    )
    if (!joined.ok) return joined
    const membership = new Membership(options, joined.value, sent_at)
    await membership.#look()
    membership.#tellOfChange()
    membership.#scheduleRound(sent_at)
    return ok(membership)
  }

  private constructor(options: MembershipOptions, session: Session, sent_at: number) {
    this.#options = options
    this.session = session
    this.#looked_at = sent_at
    this.#trusted_until = sent_at
    this.#trust(sent_at)
  }

  /** Asks the clock, not a timer: right also in a process that was stopped and goes on. */
  state(): MemberState {
    return this.#end ?? (this.trust_ms() > 0 ? 'live' : 'doubtful')
  }

  /** For how much longer nobody else can act in this member's place; 0 when it must not act. */
  trust_ms(): number {
    if (this.#end !== null) return 0
    return Math.max(0, this.#trusted_until - this.#options.time.monotonic())
  }

  /**
   * All members as of the last look, one session each (the newest), ordered. Those who died are among
   * them until somebody ended their session.
   */
  members(): readonly Seen[] {
    const newest = new Map<string, Seen>()
    for (const seen of this.#seen.values()) newest.set(seen.member_id, seen)
    return [...newest.values()]
  }

  /** Calls back after every change of `state()` or of who the members are; returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Stops acting at once, then ends the session. When the store is away, the others end it in time. */
  async leave(): Promise<Result<null, 'store_unavailable'>> {
    if (this.#end !== null) return ok(null)
    this.#finish('left')
    const left = await this.#ask(`let ${sessionName(this.session)} leave`, async (store) => {
      await store.leave(this.session)
    })
    return left.ok ? ok(null) : left
  }

  /** What there is to see, for people and gauges. */
  snapshot() {
    return {
      member_id: this.session.member_id,
      incarnation: this.session.incarnation,
      state: this.state(),
      trust_ms: this.trust_ms(),
      sessions: [...this.#seen.values()],
      counts: this.#counts,
      last_failure: this.#lastFailure,
    }
  }

  async #round(): Promise<void> {
    const began_at = this.#options.time.monotonic()
    const renewed = await this.#ask(
      `renew ${sessionName(this.session)}`,
      async (store) => await store.renew(this.session),
    )
    if (this.#end !== null) return
    if (renewed.ok && !renewed.value) {
      this.#finish('fenced')
      return
    }
    if (renewed.ok) {
      this.#counts = { ...this.#counts, renewed: this.#counts.renewed + 1 }
      this.#trust(began_at)
      await this.#look()
    }
    this.#tellOfChange()
    this.#scheduleRound(began_at)
  }

  #scheduleRound(began_at: number): void {
    if (this.#end !== null) return
    const { time, timing } = this.#options
    const delay_ms = Math.max(0, began_at + timing.heartbeat_ms - time.monotonic())
    this.#cancelRound = time.after(delay_ms, () => {
      void this.#round()
    })
  }

  #trust(sent_at: number): void {
    const { time, timing } = this.#options
    this.#trusted_until = sent_at + timing.trust_ms_max
    this.#cancelDoubt()
    const watch = () => {
      const left_ms = this.trust_ms()
      if (left_ms > 0) this.#cancelDoubt = time.after(left_ms, watch)
      else this.#tellOfChange()
    }
    watch()
  }

  /** Reads everybody's heartbeat and ends the sessions of those who were silent for too long. */
  async #look(): Promise<void> {
    const { time, timing } = this.#options
    const rows = await this.#ask('show the members', async (store) => await store.members())
    if (!rows.ok || this.#end !== null) return
    const now = time.monotonic()
    const step_ms = Math.min(now - this.#looked_at, lookMsMax(timing))
    this.#looked_at = now
    const seen = new Map<string, Seen>()
    for (const row of rows.value) {
      const before = this.#seen.get(sessionName(row))
      const isSilent = before !== undefined && before.heartbeat === row.heartbeat
      const silent_ms = isSilent ? before.silent_ms + step_ms : 0
      seen.set(sessionName(row), { ...row, silent_ms })
    }
    this.#seen = seen
    const silent = [...seen.values()].filter(
      (other) => other.silent_ms >= timing.silence_ms_min && !isSameSession(other, this.session),
    )
    await Promise.all(
      silent.map(async (other) => {
        await this.#fence(other)
      }),
    )
  }

  async #fence(other: Seen): Promise<void> {
    const fenced = await this.#ask(
      `end the session ${sessionName(other)}`,
      async (store) => await store.fence(other),
    )
    if (!fenced.ok || !fenced.value) return
    this.#counts = { ...this.#counts, fenced: this.#counts.fenced + 1 }
    const seen = new Map(this.#seen)
    seen.delete(sessionName(other))
    this.#seen = seen
  }

  async #ask<T>(what: string, question: (store: LeaseStore) => Promise<T>) {
    const { store, time, timing } = this.#options
    const answer = await ask(time, timing.heartbeat_ms, what, async () => await question(store))
    this.#lastFailure = answer.ok ? null : answer.detail
    if (!answer.ok) {
      this.#counts = { ...this.#counts, unanswered: this.#counts.unanswered + 1 }
    }
    return answer
  }

  #finish(end: 'fenced' | 'left'): void {
    this.#end = end
    this.#cancelRound()
    this.#cancelDoubt()
    this.#tellOfChange()
  }

  #tellOfChange(): void {
    const now = `${this.state()} ${[...this.#seen.keys()].join(' ')}`
    if (now === this.#told) return
    this.#told = now
    for (const listener of this.#listeners) listener()
  }
}
