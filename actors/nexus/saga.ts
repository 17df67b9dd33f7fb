/**
 * Sagas: changes of several steps, each durable before the next begins, each with its undo.
 *
 *   running ──all nodes done──► succeeded
 *      │ a node fails
 *      ▼
 *   unwinding ──all undone──► failed
 *
 * A saga belongs to a session of one member (`Member`). All that is written for it, its progress as
 * well as what its nodes write, goes through transactions that commit only while that session's
 * lease is held; so when another member has taken the saga over, nothing of the first counts any
 * more, and sleds do nothing of what it still asks (fence.ts). Whoever owns a saga that was cut off goes
 * on with it: forward if nothing had failed, else backward.
 *
 * Nodes that only change the store are done together, in one transaction that also records how far the
 * saga has come; that of the first also begins it, and that of the last ends it. A node that asks a sled
 * may run twice, when the crash came between its work and the record of it; so every action and every undo
 * is idempotent. What an action changes last in the store, it changes in the transaction that records it
 * as done (`done`): between those two there is no crash.
 */
import { assertHeld, LeaseLost } from '#runtime/cluster/sql.ts'
import type { Log } from '#runtime/log.ts'
import { explain } from '#runtime/result.ts'
import type { Span } from '#runtime/trace.ts'
import type { Services } from './context.ts'
import { unavailable } from '#actors/http/errors.ts'
import type { Member, Ownership } from './member.ts'
import { SagaExecution, type CrashPoint } from './saga-execution.ts'
import { stepsOf, type AnySaga, type Saga } from './saga-nodes.ts'
import { unfinishedStates } from './saga-records.ts'
import { transact } from './store/transact.ts'

export interface SagasOptions {
  readonly log: Log
  readonly member: Member
  readonly known: readonly AnySaga[]
  readonly crash?: CrashPoint
}

export class Sagas {
  readonly #known: ReadonlyMap<string, AnySaga>
  readonly #log: Log
  readonly #member: Member
  readonly #crash: CrashPoint
  /** What this process works on now. */
  readonly #running = new Set<string>()
  #services: Services | null = null

  constructor({ log, member, known, crash = () => undefined }: SagasOptions) {
    this.#log = log
    this.#member = member
    this.#known = new Map(known.map((saga) => [saga.name, saga]))
    this.#crash = crash
  }

  /** Sagas need the services and are one of them: joined once both exist. */
  join(services: Services): void {
    this.#services = services
  }

  /**
   * Runs a saga to its end. Throws the failing node's error once everything is undone; 503 when this
   * member may own none now, or lost it on the way: then another member ends it.
   */
  async run<P>(
    saga: Saga<P>,
    params: P,
    span: Span | null = null,
  ): Promise<ReadonlyMap<string, unknown>> {
    const services = this.#joined()
    const ownership = this.#member.ownership()
    if (ownership === null) throw unavailable()
    const definition = this.#known.get(saga.name)
    if (definition === undefined) throw new Error(`saga ${saga.name} is not registered`)
    const row = {
      id: services.random.uuid(),
      name: saga.name,
      params: JSON.stringify(params),
      state: 'running',
      error_node_name: null,
      error: null,
      time_created_ms: services.clock.now(),
      time_ended_ms: null,
      owner: ownership.owner,
    } as const
    const given = { definition, params, ownership, span, outputs: new Map<string, unknown>() }
    const execution = new SagaExecution(this.#means(), { ...given, row, isBegun: false })
    return await this.#alone(row, async () => await execution.forward(0))
  }

  /**
   * Goes on with what this member owns and does not work on: what it gave up while a sled or the
   * store was away, and what it took over. Gives back how many there were.
   */
  async recover(): Promise<number> {
    const ownership = this.#member.ownership()
    if (ownership === null) return 0
    const unfinished = await this.#joined()
      .store.selectFrom('saga')
      .select('id')
      .where('state', 'in', unfinishedStates)
      .where('owner', '=', ownership.owner)
      .orderBy('time_created_ms')
      .execute()
    const idle = unfinished.filter(({ id }) => !this.#running.has(id))
    for (const { id } of idle) await this.#goOn(id, ownership)
    return idle.length
  }

  /** Takes over the unfinished sagas of sessions that are over. Gives back how many there were. */
  async adopt(): Promise<number> {
    const ownership = this.#member.ownership()
    if (ownership === null) return 0
    const owners = await this.#joined()
      .store.selectFrom('saga')
      .select('owner')
      .distinct()
      .where('state', 'in', unfinishedStates)
      .execute()
    let adopted = 0
    for (const { owner } of owners) {
      if (owner !== ownership.owner) adopted += await this.#adoptOf(owner, ownership)
    }
    return adopted
  }

  /** `owner` is null for sagas of before there were owners. */
  async #adoptOf(owner: string | null, ownership: Ownership): Promise<number> {
    const inherited = owner === null ? null : await this.#member.inherit(owner)
    if (owner !== null && inherited === null) return 0
    try {
      const { numUpdatedRows } = await transact(
        { ...this.#joined(), fence: ownership.lease },
        async (store) => {
          if (inherited !== null) await assertHeld(store, inherited)
          return await store
            .updateTable('saga')
            .set({ owner: ownership.owner })
            .where('state', 'in', unfinishedStates)
            .where('owner', owner === null ? 'is' : '=', owner)
            .executeTakeFirst()
        },
      )
      const count = Number(numUpdatedRows)
      if (count > 0) this.#log.info('sagas are taken over', { of: owner, count })
      return count
    } finally {
      if (inherited !== null) await this.#member.release(inherited)
    }
  }

  /** Nothing runs a saga twice at a time. Once it is another's, its caller cannot know its end. */
  async #alone<T>({ id }: { readonly id: string }, work: () => Promise<T>): Promise<T> {
    this.#running.add(id)
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof LeaseLost)) throw error
      this.#log.warn("a saga is no longer this member's", { saga: id, why: error.message })
      throw unavailable()
    } finally {
      this.#running.delete(id)
    }
  }

  async #goOn(id: string, ownership: Ownership): Promise<void> {
    if (this.#running.has(id)) return
    try {
      await this.#alone({ id }, async () => {
        await this.#resume(id, ownership)
      })
    } catch (error) {
      this.#log.warn('a recovered saga did not succeed', { saga: id, why: explain(error) })
    }
  }

  async #resume(id: string, ownership: Ownership): Promise<void> {
    const { store } = this.#joined()
    const row = await store
      .selectFrom('saga')
      .selectAll()
      .where('id', '=', id)
      .where('state', 'in', unfinishedStates)
      .executeTakeFirst()
    if (row?.owner !== ownership.owner) return
    const definition = this.#known.get(row.name)
    if (definition === undefined) {
      this.#log.error('a saga of an unknown kind is left alone', { saga: id, name: row.name })
      return
    }
    const nodes = await store
      .selectFrom('saga_node')
      .selectAll()
      .where('saga_id', '=', id)
      .orderBy('position')
      .execute()
    const done = nodes.filter(({ state }) => state === 'done')
    const undone = nodes.filter(({ state }) => state === 'undone')
    const outputs = new Map<string, unknown>(
      done.map(({ name, output }) => [name, JSON.parse(output ?? 'null') as unknown]),
    )
    const params: unknown = JSON.parse(row.params)
    const given = { row, isBegun: true, definition, params, outputs, ownership, span: null }
    const execution = new SagaExecution(this.#means(), given)
    this.#log.info('a saga goes on', { saga: id, name: row.name, state: row.state })
    if (row.state === 'running') {
      await execution.forward(Math.max(-1, ...done.map(({ position }) => position)) + 1)
    } else {
      const all = definition.nodes(params)
      const failed = all.findIndex(({ name }) => name === row.error_node_name)
      const step = stepsOf(all).find(({ first, last }) => first <= failed && failed <= last)
      const from = Math.min(step?.last ?? -1, ...undone.map(({ position }) => position - 1))
      await execution.backward(from)
    }
  }

  #means() {
    return { services: this.#joined(), log: this.#log, crash: this.#crash }
  }

  #joined(): Services {
    if (this.#services === null) throw new Error('sagas are used before they are joined')
    return this.#services
  }
}
