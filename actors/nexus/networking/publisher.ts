/** Sends what sleds are owed of guests' networks: rules, and where guests are. */
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import { settle, type OwedOfNetworks } from '../propagation.ts'
import { sendRules } from './firewall.ts'
import { sendNat, sendV2p } from './mappings.ts'

const keyOf = ({ kind, id }: OwedOfNetworks): string => `${kind} ${id}`

/**
 * One round at a time of each: requests that come while a round is on its way share the next one. Who
 * misses a round gets it with the next.
 */
export class Publisher {
  /** Of what a round will begin in a moment. */
  readonly #gathering = new Set<string>()
  readonly #running = new Map<string, Promise<boolean>>()
  readonly #next = new Map<string, Promise<boolean>>()

  /**
   * Sends what is owed, a moment later: instances come in bursts, and each changes the rules of all. What
   * fails is sent again in the background.
   */
  sendSoon(services: Services, all: readonly OwedOfNetworks[]): void {
    for (const owed of all) {
      const key = keyOf(owed)
      if (this.#gathering.has(key)) continue
      this.#gathering.add(key)
      this.#sendLater(services, owed).catch((error: unknown) => {
        services.log.warn('what sleds are owed was not sent', { ...owed, error })
      })
    }
  }

  async #sendLater(services: Services, owed: OwedOfNetworks): Promise<void> {
    await services.clock.sleep(limits.firewall_gather_ms)
    this.#gathering.delete(keyOf(owed))
    await this.publish(services, owed)
  }

  /** Ends when a round that began after this call has been sent; false when a sled missed it. */
  async publish(services: Services, owed: OwedOfNetworks): Promise<boolean> {
    const key = keyOf(owed)
    const waiting = this.#next.get(key)
    if (waiting !== undefined) return await waiting
    const running = this.#running.get(key) ?? Promise.resolve(true)
    const begin = async () => {
      this.#next.delete(key)
      this.#running.set(key, round)
      return await settle(services, owed, async (generation) =>
        owed.kind === 'nat'
          ? await sendNat(services, generation)
          : await sendVpc(services, owed.id),
      )
    }
    // A round that failed has told those who waited for it.
    const round: Promise<boolean> = running.then(begin, begin)
    this.#next.set(key, round)
    try {
      return await round
    } finally {
      if (this.#running.get(key) === round) this.#running.delete(key)
    }
  }
}

async function sendVpc(services: Services, vpc_id: string): Promise<boolean> {
  const taken = await Promise.all([sendRules(services, vpc_id), sendV2p(services, vpc_id)])
  return taken.every(Boolean)
}
