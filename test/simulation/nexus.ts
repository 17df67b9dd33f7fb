/**
 * What a member of the cluster does in a simulated rack: it joins, holds tasks' leases and acts under
 * them, and runs virtual actors, each on one member at a time.
 */
import { Type } from 'typebox'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { actorName } from '#runtime/cluster/directory.ts'
import { joinCluster, type Cluster } from '#runtime/cluster/cluster.ts'
import { sessionName, type Lease, type Session } from '#runtime/cluster/store.ts'
import { clusterHomes } from '#runtime/cluster/homes.ts'
import { defaultTiming } from '#runtime/cluster/timing.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { err, ok } from '#runtime/result.ts'
import { guardProtocol } from './actors.ts'
import type { SimThread } from './process.ts'
import type { StoreConnection } from './store.ts'
import type { Truth } from './truth.ts'

const text = Type.String({ maxLength: 1_000 })

/** A list in the store, written by whoever runs it under a lease. */
export const shardProtocol = protocol('shard', 1, {
  add: call(1, {
    request: Type.Object({ op: text }),
    reply: Type.Object({ op: text }),
    errors: ['stale'],
    idempotent: true,
  }),
  read: call(2, { request: nothing, reply: Type.Array(text), errors: [], idempotent: true }),
})

export interface ShardDeps {
  readonly member: Member
  readonly truth: Truth
}
type ShardContext = Context<ShardDeps, typeof shardProtocol>

/** A virtual actor: one activation in the cluster, on the member where it belongs. */
export const shard = behaviour({
  protocol: shardProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 2_000,
    shutdown_ms: 500,
    mailbox_max: 32,
    thread: 'main',
    activation: 'virtual',
    idle_ms: 4_000,
  },
  init: async ({ id, deps }: ShardContext) =>
    await deps.member.within(deps.member.store.read(shardName(id))),
  invariant: () => undefined,
  handlers: {
    add: async (context, list, { op }) => {
      const { id, generation } = context
      const { member, truth } = context.deps
      truth.begins(context, `shard add ${op}`)
      member.mustHold(shardName(id), generation)
      if (list.includes(op)) return { state: list, result: ok({ op }) }
      const lease = { ...member.session, name: shardName(id), generation }
      // An answer that does not come crashes the actor: it reads again what is there.
      if (await member.within(member.store.append(lease, op))) {
        return { state: [...list, op], result: ok({ op }) }
      }
      return { state: list, result: err('stale', 'another member has it'), stop: true }
    },
    read: (context, list) => {
      context.deps.truth.begins(context, 'shard read')
      context.deps.member.mustHold(shardName(context.id), context.generation)
      return { state: list, result: ok([...list]) }
    },
  },
})

export const tasks = ['task/one', 'task/two'] as const

/** A process's part in the cluster. */
export class Member {
  cluster: Cluster | null = null
  readonly store: StoreConnection
  readonly #thread: SimThread
  readonly #truth: Truth
  readonly #sleds: readonly string[]
  readonly #end = new AbortController()

  constructor(thread: SimThread, truth: Truth, store: StoreConnection, sleds: readonly string[]) {
    this.#thread = thread
    this.#truth = truth
    this.store = store
    this.#sleds = sleds
    void this.#live()
  }

  /** Of all sessions that this process had, the one that counts. */
  get session(): Session {
    return this.cluster?.membership.session ?? { member_id: '', incarnation: 0 }
  }
  get isLive(): boolean {
    return this.cluster?.membership.state() === 'live'
  }

  /** Whoever acts under a lease is sure of it at that moment. */
  mustHold(name: string, generation: number): void {
    const isHeld = this.isHeld({ ...this.session, name, generation })
    this.#truth.hold(isHeld, `${name} was acted for without its lease ${generation}`)
  }

  /** Takes on nothing new. */
  rest(): void {
    this.#end.abort()
  }

  isHeld(lease: Lease): boolean {
    return this.cluster?.leases.isHeld(lease) === true
  }
  /** What it acts under now. */
  held(): readonly Lease[] {
    return this.cluster?.leases.held().filter((lease) => this.isHeld(lease)) ?? []
  }

  /** Rejects when the store does not answer in time: then nobody knows. */
  within<T>(answer: Promise<T>): Promise<T> {
    const { clock } = this.#thread
    return new Promise((resolve, reject) => {
      const cancel = clock.after(defaultTiming.heartbeat_ms, () => {
        reject(new Error('the store does not answer'))
      })
      answer.then(resolve, reject).finally(cancel)
    })
  }

  async #live(): Promise<void> {
    const { clock, process } = this.#thread
    for (;;) {
      const joined = await joinCluster({
        store: this.store.leases,
        time: clock,
        timing: defaultTiming,
        member_id: process.host,
        address: process.host,
        supersede: false,
      })
      if (!joined.ok) {
        await clock.sleep(defaultTiming.heartbeat_ms)
        continue
      }
      const { membership } = joined.value
      this.cluster = joined.value
      this.#thread.homes.enter(clusterHomes(joined.value))
      this.#thread.life.world.note(process.host, `joined as ${sessionName(membership.session)}`)
      const over = Promise.withResolvers<void>()
      membership.onChange(() => {
        if (membership.state() === 'fenced') over.resolve()
      })
      for (const task of tasks) void this.#want(joined.value, task)
      await over.promise
      this.#thread.life.world.note(process.host, 'was fenced')
    }
  }

  /** Holds a task again and again for a while, and acts under it. */
  async #want({ leases, membership }: Cluster, name: string): Promise<void> {
    const { clock, random } = this.#thread
    const isOver = () => this.#end.signal.aborted || ['fenced', 'left'].includes(membership.state())
    while (!isOver()) {
      const lease = await leases.acquireWhenFree(name, this.#end.signal)
      if (lease === null) return
      const sled = this.#sleds[Math.floor(random.next() * this.#sleds.length)] ?? ''
      for (let deeds = 1 + Math.floor(random.next() * 8); deeds > 0; deeds -= 1) {
        if (!leases.isHeld(lease) || this.#end.signal.aborted) break
        void this.store.append(lease, null).catch(() => undefined)
        // What was sent last is on its way when the next holder begins.
        this.#ensure(lease, sled, Math.max(1, membership.trust_ms()))
        await clock.sleep(random.next() * 1_000)
      }
      await leases.release(lease)
      await clock.sleep(random.next() * 1_000)
    }
  }

  #ensure(lease: Lease, sled: string, timeout_ms: number): void {
    const { life, system, title, process } = this.#thread
    const { name, generation } = lease
    const what = `${title} ${name} ensure at ${sled}`
    const request = { generation, author: sessionName(lease) }
    void this.#truth.follow(life, what, { timeout_ms, rate: process.around.time.rate }, () =>
      system.ref(guardProtocol, name, sled).call('ensure', request, { timeout_ms }),
    )
  }
}

export const shardIds = ['s0', 's1', 's2'] as const
export const shardName = (id: string): string => actorName('shard', id)
