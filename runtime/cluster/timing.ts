/**
 * Why two members never act at once, without comparing two clocks.
 *
 * A member M renews its session in the store. A renewal leaves M at time `s`, is committed at `c`,
 * and so `s ≤ c`. M trusts its session until `s + trust_ms_max`, counted by its own monotonic clock
 * from before it sent: whatever the way took is lost to M, never to others.
 *
 * An observer O reads all heartbeats. It counts M's silence, by its own monotonic clock, from the
 * moment when it had the answer that first showed this heartbeat: `o ≥ c`. Once the silence is
 * `silence_ms_min` or more, O asks the store to end M's session *if its heartbeat is still the one
 * seen*. If the store does so, at `f`, then no renewal was committed between `c` and `f`, and
 *
 *     f ≥ o + silence_ms_min ≥ c + silence_ms_min ≥ s + silence_ms_min > s + trust_ms_max
 *
 * So M had stopped before anybody could take over. What is compared are two *durations*, measured by
 * two clocks; where they start from and how wall clocks are set plays no part. The margin between the
 * two durations, a quarter at least (`checkTiming`), pays for clocks that run at different rates and
 * for the last action, begun just before the trust ended: bound such an action by `trust_ms()`.
 *
 * A renewal that M gave up waiting for may be committed later. That only makes `c` later.
 *
 * What the argument cannot cover: a process that was stopped (a collection, SIGSTOP, a hypervisor)
 * between looking at its trust and acting, and a machine whose monotonic clock stood still while it
 * slept. For these there are fencing generations: the store refuses what comes under an old one
 * (`assertHeld`), however late and however convinced.
 */
import assert from 'node:assert/strict'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '../result.ts'

/** What a cluster takes of a clock. */
export interface Time {
  /** Milliseconds from some start of its own; never goes back, whatever is done to the wall clock. */
  readonly monotonic: () => number
  /** Calls back once after `delay_ms`; the returned function takes it back. */
  readonly after: (delay_ms: number, callback: () => void) => () => void
}

export interface Timing {
  /** Between two renewals, and between two looks at the others; no answer is awaited for longer. */
  readonly heartbeat_ms: number
  readonly trust_ms_max: number
  readonly silence_ms_min: number
}

export const defaultTiming: Timing = {
  heartbeat_ms: limits.cluster_heartbeat_ms,
  trust_ms_max: limits.cluster_trust_ms_max,
  silence_ms_min: limits.cluster_silence_ms_min,
}

/** Throws when these times do not keep the argument above. */
export function checkTiming({ heartbeat_ms, trust_ms_max, silence_ms_min }: Timing): void {
  assert(heartbeat_ms > 0, 'a heartbeat takes time')
  assert(trust_ms_max >= 3 * heartbeat_ms, 'trust_ms_max must be at least 3 heartbeats')
  assert(silence_ms_min >= 1.25 * trust_ms_max, 'silence_ms_min must be at least 1.25 trust_ms_max')
}

/** What one look adds to a silence at most: time in which nobody looked proves nothing. */
export const lookMsMax = (timing: Timing): number => 3 * timing.heartbeat_ms

/**
 * From a member's death to the moment when its leases can be taken, at most, provided that a member
 * that lives reaches the store and has its answers within half a heartbeat. Usual is
 * `silence_ms_min` and two heartbeats.
 */
export const takeoverMsMax = (timing: Timing): number =>
  timing.silence_ms_min + 5 * timing.heartbeat_ms

/**
 * Asks the store and waits for `answer_ms_max` at most. What ends with `store_unavailable` may have
 * been done, and may even be done later.
 */
export async function ask<T>(
  time: Time,
  answer_ms_max: number,
  what: string,
  question: () => Promise<T>,
): Promise<Result<T, 'store_unavailable'>> {
  const failed = (why: string) =>
    err('store_unavailable', `the cluster's store cannot ${what}: ${why}`)
  const late = Promise.withResolvers<Result<T, 'store_unavailable'>>()
  const cancel = time.after(answer_ms_max, () => {
    late.resolve(failed(`no answer within ${answer_ms_max} ms`))
  })
  const answer = question().then(ok, (error: unknown) => failed(explain(error)))
  const result = await Promise.race([answer, late.promise])
  cancel()
  return result
}
