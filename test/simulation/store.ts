/**
 * The store that the members of the cluster share: leases and some data beside them, each request one
 * atomic step, behind a network that delays, loses, and delivers long after everybody has given up.
 */
import { MemoryLeaseStore } from '#runtime/cluster/memory.ts'
import { isCurrent, sessionName, type Lease, type LeaseStore } from '#runtime/cluster/store.ts'
import type { Random } from '#runtime/random.ts'
import type { Truth } from './truth.ts'
import type { Life, World } from './world.ts'

export interface StoreTrouble {
  /** One way takes up to this long. */
  delay_ms_max: number
  /** Of messages either way. */
  lost_share: number
  /** Of requests: they are carried out up to this much later. */
  late_share: number
}
const late_ms_max = 12_000
export const calmStore = (): StoreTrouble => ({ delay_ms_max: 5, lost_share: 0, late_share: 0 })

export class SimStore {
  readonly leases = new MemoryLeaseStore()
  readonly trouble: StoreTrouble = calmStore()
  readonly #world: World
  readonly #random: Random
  readonly #truth: Truth
  readonly #lists = new Map<string, readonly string[]>()
  /** Members that the store cannot be reached from. */
  readonly cut = new Set<string>()

  constructor(world: World, truth: Truth) {
    this.#world = world
    this.#random = world.fork()
    this.#truth = truth
  }

  /** The store as a process reaches it. */
  connect(host: string, life: Life): StoreConnection {
    const ask = <T>(step: () => T) => this.#ask(host, life, step)
    const over =
      <A, T>(operation: (argument: A) => Promise<T>) =>
      async (argument: A): Promise<T> =>
        await (
          await ask(() => ({ done: operation(argument) }))
        ).done
    const { leases } = this
    const remote: LeaseStore = {
      join: over(leases.join),
      renew: over(leases.renew),
      members: async () => await over(async () => await leases.members())(null),
      leave: over(leases.leave),
      fence: over(leases.fence),
      lease: over(leases.lease),
      leases: over(leases.leases),
      take: over(leases.take),
      release: over(leases.release),
    }
    return {
      leases: remote,
      read: (name) => ask(() => this.#lists.get(name) ?? []),
      append: (lease, op) => ask(() => this.#append(lease, op)),
    }
  }

  /** Check and write in one step, as `withLease` does in a transaction. */
  #append(lease: Lease, op: string | null): boolean {
    const { name, generation } = lease
    if (!isCurrent(lease, this.leases.look(name))) {
      this.#truth.counts.stale += 1
      return false
    }
    this.#truth.deed(`store ${name}`, { generation, author: sessionName(lease) })
    if (op === null) return true
    const list = [...(this.#lists.get(name) ?? []), op]
    this.#lists.set(name, list)
    this.#truth.keeps(name, list)
    return true
  }

  async #ask<T>(host: string, life: Life, step: () => T): Promise<T> {
    const { trouble } = this
    const random = this.#random
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const isLost = () => this.cut.has(host) || random.next() < trouble.lost_share
    const way_ms = () => random.next() * trouble.delay_ms_max
    if (isLost()) {
      // Half of what is lost is noticed: a connection that is refused or breaks.
      if (random.next() < 0.5) {
        life.after(way_ms(), () => {
          reject(new Error('connection lost'))
        })
      }
      return await promise
    }
    const late_ms = random.next() < trouble.late_share ? random.next() * late_ms_max : 0
    this.#world.after(way_ms() + late_ms, () => {
      const reply = step()
      if (isLost()) return
      life.after(way_ms(), () => {
        resolve(reply)
      })
    })
    return await promise
  }
}

export interface StoreConnection {
  readonly leases: LeaseStore
  /** What was written under a name. */
  readonly read: (name: string) => Promise<readonly string[]>
  /** Writes under a lease, if it is the newest; `op` null only says so. */
  readonly append: (lease: Lease, op: string | null) => Promise<boolean>
}
