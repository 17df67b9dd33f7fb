/**
 * A cluster on virtual time, from a seed: members with clocks of their own, which can be stopped,
 * cut off and killed, and a store behind a network that delays and loses. The world alone knows the
 * true time.
 */
import { setImmediate as settle } from 'node:timers/promises'
import { MemoryLeaseStore } from '#runtime/cluster/memory.ts'
import type { LeaseStore } from '#runtime/cluster/store.ts'
import type { Time } from '#runtime/cluster/timing.ts'
import { seededRandom, type Random } from '#runtime/random.ts'

export interface NetworkModel {
  /** One way to the store takes up to this long. */
  readonly delay_ms_max: number
  /** Of messages either way. */
  readonly lost_share: number
  /** Of requests: they reach the store long after everybody has given them up. */
  readonly late_share: number
  readonly late_ms_max: number
}

export const calmNetwork = (delay_ms_max: number): NetworkModel => ({
  delay_ms_max,
  lost_share: 0,
  late_share: 0,
  late_ms_max: 0,
})

interface Event {
  readonly at_ms: number
  readonly order: number
  readonly run: () => void
}

export class World {
  readonly store = new MemoryLeaseStore()
  readonly random: Random
  network: NetworkModel
  now_ms = 0
  #order = 0
  #events: Event[] = []

  constructor(seed: number, network: NetworkModel) {
    this.random = seededRandom(seed)
    this.network = network
  }

  between(low: number, high: number): number {
    return low + this.random.next() * (high - low)
  }

  /** Calls back at a true time; the returned function takes it back. */
  at(at_ms: number, run: () => void): () => void {
    const event = { at_ms: Math.max(at_ms, this.now_ms), order: this.#order, run }
    this.#order += 1
    this.#events.push(event)
    return () => {
      this.#events = this.#events.filter((other) => other !== event)
    }
  }

  /** Lets true time pass, one event after the other; `check` sees the world after each. */
  async run(for_ms: number, check: () => void = () => undefined): Promise<void> {
    const end_ms = this.now_ms + for_ms
    await settle()
    for (;;) {
      const next = this.#events.reduce<Event | null>(earlier, null)
      if (next === null || next.at_ms > end_ms) break
      this.#events.splice(this.#events.indexOf(next), 1)
      this.now_ms = next.at_ms
      next.run()
      await settle()
      check()
    }
    this.now_ms = end_ms
  }

  /** Lets time pass until the condition holds; false when it does not within `for_ms`. */
  async until(condition: () => boolean, for_ms: number): Promise<boolean> {
    const end_ms = this.now_ms + for_ms
    for (;;) {
      await settle()
      if (condition()) return true
      const next = this.#events.reduce<Event | null>(earlier, null)
      if (next === null || next.at_ms > end_ms) return false
      await this.run(next.at_ms - this.now_ms)
    }
  }
}

function earlier(best: Event | null, event: Event): Event {
  if (best === null || event.at_ms < best.at_ms) return event
  return event.at_ms === best.at_ms && event.order < best.order ? event : best
}

/** A process of the simulated cluster: what it knows of time and of the store. */
export class Process {
  readonly time: Time
  readonly store: LeaseStore
  isDead = false
  isCutOff = false
  /** Asked when the store has done something: whether the answer will arrive. */
  isHeard: () => boolean = () => true
  readonly #world: World
  readonly #rate: number
  #offset_ms: number
  #stopped_until = 0

  /** Its clock starts anywhere and runs faster or slower by up to `drift`, a share of one. */
  constructor(world: World, drift: number) {
    this.#world = world
    this.#rate = world.between(1 - drift, 1 + drift)
    this.#offset_ms = world.between(0, 1e9)
    this.time = {
      monotonic: () => this.#offset_ms + world.now_ms * this.#rate,
      after: (delay_ms, callback) => this.#deliver(world.now_ms + delay_ms / this.#rate, callback),
    }
    this.store = this.#remote(world.store)
  }

  /** Nothing of the process runs for a while, though its clock does: SIGSTOP, a long collection. */
  stop(for_ms: number): void {
    this.#stopped_until = Math.max(this.#stopped_until, this.#world.now_ms + for_ms)
  }

  /** Its monotonic clock leaps ahead, as none should. */
  leap(by_ms: number): void {
    this.#offset_ms += by_ms
  }

  /** Asks the store to do something in one step; rejects or never ends when a message is lost. */
  async ask<T>(step: () => T): Promise<T> {
    const world = this.#world
    const { network, random } = world
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const isLost = () => this.isCutOff || random.next() < network.lost_share
    if (isLost()) {
      // Half of what is lost is noticed: a connection that is refused or breaks.
      const isNoticed = random.next() < 0.5
      if (isNoticed) {
        this.#deliver(world.now_ms + world.between(0, network.delay_ms_max), () => {
          reject(new Error('connection lost'))
        })
      }
      return await promise
    }
    const isLate = random.next() < network.late_share
    const way_ms = world.between(0, isLate ? network.late_ms_max : network.delay_ms_max)
    world.at(world.now_ms + way_ms, () => {
      const reply = step()
      if (isLost() || !this.isHeard()) return
      this.#deliver(world.now_ms + world.between(0, network.delay_ms_max), () => {
        resolve(reply)
      })
    })
    return await promise
  }

  #deliver(at_ms: number, callback: () => void): () => void {
    let cancel: (() => void) | null = null
    const arrive = () => {
      if (this.isDead) return
      if (this.#world.now_ms < this.#stopped_until) {
        cancel = this.#world.at(this.#stopped_until, arrive)
      } else callback()
    }
    cancel = this.#world.at(at_ms, arrive)
    return () => {
      cancel?.()
    }
  }

  #remote(store: MemoryLeaseStore): LeaseStore {
    const over =
      <A, T>(operation: (argument: A) => Promise<T>) =>
      async (argument: A): Promise<T> =>
        await (
          await this.ask(() => ({ done: operation(argument) }))
        ).done
    return {
      join: over(store.join),
      renew: over(store.renew),
      members: async () => await over(async () => await store.members())(null),
      leave: over(store.leave),
      fence: over(store.fence),
      lease: over(store.lease),
      leases: over(store.leases),
      take: over(store.take),
      release: over(store.release),
    }
  }
}
