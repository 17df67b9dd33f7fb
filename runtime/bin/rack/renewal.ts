/** Keeps a rack's certificates from ending while somebody is there to renew them. */
import type { Clock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import { ensureCertificates } from './certificates.ts'
import { withLock } from './lock.ts'
import type { RackPlan } from './plan.ts'

const renew_ms = 24 * 60 * 60 * 1000
const retry_ms = 60 * 1000

export interface RenewalOptions {
  readonly clock: Clock
  /** Ends it. */
  readonly signal: AbortSignal
  /** Is told a sentence for each time that it fails. */
  readonly onFailure: (why: string) => void
}

/**
 * Looks at the certificates daily, the first time in a day: `luge rack up` has looked just now. What
 * fails is tried again after a minute. Never rejects; ends with the signal.
 */
export async function keepCertificates(
  state: string,
  plan: RackPlan,
  { clock, signal, onFailure }: RenewalOptions,
): Promise<void> {
  await clock.sleep(renew_ms, signal)
  while (!signal.aborted) {
    const renewed = await withLock(
      { state, verb: 'up', random: systemRandom },
      async () => await ensureCertificates(state, plan, clock.now()),
    )
    if (!renewed.ok) onFailure(renewed.detail)
    await clock.sleep(renewed.ok ? renew_ms : retry_ms, signal)
  }
}
