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
 * more, and sleds do nothing of what it still asks (fence.ts). Whoever owns a saga that was cut off goes on with it: forward if nothing had failed, else
 * backward.
 *
 * A node may run twice, when the crash came between its work and the record of it; so every action
 * and every undo is idempotent. What a node changes last in the store, it changes in the transaction
 * that records it as done (`done`): between those two there is no crash.
 */
import { assertHeld, LeaseLost } from '#runtime/cluster/sql.ts'
import type { Log } from '#runtime/log.ts'
import { explain } from '#runtime/result.ts'
import type { Span } from '#runtime/trace.ts'
import type { Services } from './context.ts'
import { ApiError, unavailable } from '#actors/http/errors.ts'
import { recordError, restoreError } from './errors.ts'
import type { Member, Ownership } from './member.ts'
import { beginSaga, endSaga, noteNode, unfinishedStates } from './saga-records.ts'
import type { StoreTransaction } from './store/schema.ts'
import { transact } from './store/transact.ts'
import { doPiece } from './work.ts'

export interface SagaRun<P> {
  /** Their `transact` commits only while this member owns the saga: nodes write with nothing else. */
  readonly services: Services
  readonly params: P
  /** Outputs of the nodes before, by name. */
  readonly outputs: ReadonlyMap<string, unknown>
  /** Records this node as done, with its output: for the action's last transaction. */
  readonly done: (store: StoreTransaction, output?: unknown) => Promise<void>
}
export interface SagaNode<P> {
  readonly name: string
  /** Does the step; what it returns is kept as JSON, unless it was `done`. A throw unwinds the saga. */
  readonly action: (run: SagaRun<P>) => Promise<unknown>
  /**
   * Takes the step back, whether it was done, half done, or not at all; null when there is nothing to
   * take back. `onward`: there is no way back. A failure of such a node is told to the caller and
   * unwinds nothing; the node is tried again until it succeeds, or says itself that it never will, with
   * an `ApiError` other than 503.
   */
  readonly undo: ((run: Omit<SagaRun<P>, 'done'>) => Promise<void>) | null | 'onward'
}
export interface Saga<P> {
  readonly name: string
  /** The nodes for these params, the same at every run. */
  readonly nodes: (params: P) => ReadonlyArray<SagaNode<P>>
}
export type AnySaga = Saga<unknown>

/** A saga among others: its params are read back as the JSON that this very saga was given. */
export const anySaga = <P>(saga: Saga<P>): AnySaga => saga as AnySaga

interface Progress {
  readonly id: string
  readonly definition: AnySaga
  readonly params: unknown
  readonly outputs: Map<string, unknown>
  readonly ownership: Ownership
  /** What its nodes are a part of; null while nobody traces. */
  readonly span: Span | null
}

/**
 * Where tests cut a saga off: `SagaCrash` stops it as a crash would, anything else thrown is that
 * node's failure. An undo is the node `undo NAME`. In production nothing happens here.
 */
export type CrashPoint = (node: string, when: 'before' | 'after') => void | Promise<void>

const undo_retry_ms = 500
const undo_tries_max = 6

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
    const id = services.random.uuid()
    const progress = { id, definition, params, outputs: new Map(), ownership, span }
    return await this.#alone(progress, async () => {
      await this.#write(progress, async (store) => {
        await beginSaga(store, {
          id,
          name: saga.name,
          params: JSON.stringify(params),
          state: 'running',
          error_node_name: null,
          error: null,
          time_created_ms: services.clock.now(),
          owner: ownership.owner,
        })
      })
      return await this.#forward(progress, 0)
    })
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
  async #alone<T>({ id }: Pick<Progress, 'id'>, work: () => Promise<T>): Promise<T> {
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
    const progress = { id, definition, params, outputs, ownership, span: null }
    this.#log.info('a saga goes on', { saga: id, name: row.name, state: row.state })
    if (row.state === 'running') await this.#forward(progress, done.length)
    else {
      const failed = definition.nodes(params).findIndex(({ name }) => name === row.error_node_name)
      await this.#backward(
        progress,
        Math.min(failed, ...undone.map(({ position }) => position - 1)),
      )
    }
  }

  async #forward(progress: Progress, from: number): Promise<ReadonlyMap<string, unknown>> {
    const nodes = progress.definition.nodes(progress.params)
    for (const [position, node] of nodes.entries()) {
      if (position < from) continue
      try {
        await this.#crash(node.name, 'before')
        await this.#act(progress, position, node)
        await this.#crash(node.name, 'after')
      } catch (error) {
        throw await this.#failed(progress, { position, node, error })
      }
    }
    // The last node's record says it too, unless the crash of an earlier version came in between.
    if (from >= nodes.length) {
      await this.#write(progress, async (store) => {
        await endSaga(store, progress.id, 'succeeded')
      })
    }
    return progress.outputs
  }

  /** Does a node and records it; that of the last ends the saga. */
  async #act(progress: Progress, position: number, node: SagaNode<unknown>): Promise<void> {
    const isLast = position === progress.definition.nodes(progress.params).length - 1
    let recorded: { readonly output: unknown } | null = null
    const done: SagaRun<unknown>['done'] = async (store, output = null) => {
      await noteNode(store, progress.id, { position, name: node.name, state: 'done', output })
      if (isLast) await endSaga(store, progress.id, 'succeeded')
      recorded = { output }
    }
    const output = await this.#do(progress, node.name, async (run) => {
      const returned = await node.action({ ...run, done })
      return recorded === null ? (returned ?? null) : recorded.output
    })
    if (recorded === null) {
      await this.#write(progress, async (store) => {
        await done(store, output)
      })
    }
    progress.outputs.set(node.name, output)
  }

  /** What becomes of a saga whose node has failed. Gives back what its caller is told. */
  async #failed(progress: Progress, { position, node, error }: Failure): Promise<unknown> {
    if (isStop(error)) return error
    const recorded = recordError(error)
    if (recorded.status >= 500) {
      const { id } = progress
      this.#log.error('a saga node failed', { saga: id, node: node.name, why: explain(error) })
    }
    const told = restoreError(recorded)
    const isFinal = error instanceof ApiError && error.status !== 503
    if (node.undo === 'onward' && !isFinal) return told
    await this.#write(progress, async (store) => {
      await store
        .updateTable('saga')
        .set({
          state: 'unwinding',
          error_node_name: node.name,
          error: JSON.stringify(recorded),
        })
        .where('id', '=', progress.id)
        .execute()
    })
    return await this.#giveBack(progress, position, told)
  }

  /** The caller need not wait for a sled that is away: what is not undone now is when it is back. */
  async #giveBack(progress: Progress, from: number, told: ApiError): Promise<unknown> {
    try {
      await this.#backward(progress, from)
    } catch (error) {
      if (error instanceof SagaCrash) return error
      this.#log.error('a saga is not undone yet', { saga: progress.id, why: explain(error) })
    }
    return told
  }

  async #backward(progress: Progress, from: number): Promise<void> {
    const nodes = progress.definition.nodes(progress.params)
    for (let position = from; position >= 0; position -= 1) {
      const node = nodes[position]
      if (node === undefined) continue
      await this.#undo(progress, node)
      await this.#write(progress, async (store) => {
        await noteNode(store, progress.id, {
          position,
          name: node.name,
          state: 'undone',
          output: null,
        })
      })
    }
    await this.#write(progress, async (store) => {
      await endSaga(store, progress.id, 'failed')
    })
  }

  /** An undo that fails is tried again; one that never succeeds is left to the next recovery. */
  async #undo(progress: Progress, node: SagaNode<unknown>): Promise<void> {
    const { clock } = this.#joined()
    const name = `undo ${node.name}`
    if (node.undo === null || node.undo === 'onward') return
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#crash(name, 'before')
        await this.#do(progress, name, node.undo)
        await this.#crash(name, 'after')
        return
      } catch (error) {
        if (isStop(error) || tries >= undo_tries_max) throw error
        const { id } = progress
        this.#log.warn('an undo is tried again', { saga: id, node: node.name, why: explain(error) })
        await clock.sleep(undo_retry_ms)
      }
    }
  }

  /** Writes a saga's progress: only as its owner. Throws `LeaseLost`. */
  async #write(
    { ownership }: Progress,
    work: (store: StoreTransaction) => Promise<void>,
  ): Promise<void> {
    if (!ownership.isHeld()) throw new LeaseLost(ownership.lease)
    await transact({ ...this.#joined(), fence: ownership.lease }, work)
  }

  /** Does or undoes a node, as a piece of work of its own. */
  async #do<T>(
    progress: Progress,
    name: string,
    work: (run: Omit<SagaRun<unknown>, 'done'>) => Promise<T>,
  ): Promise<T> {
    const { id, definition, params, outputs, ownership, span } = progress
    if (!ownership.isHeld()) throw new LeaseLost(ownership.lease)
    const services = { ...this.#joined(), fence: ownership.lease, saga: id }
    const begun = {
      name: `${definition.name} ${name}`,
      kind: 'internal',
      attributes: { 'luge.saga': id },
    } as const
    const piece = {
      what: `saga ${id}: ${begun.name}`,
      span: span === null ? null : (services.tracer?.begin(span, begun) ?? null),
    }
    return await doPiece(
      services,
      piece,
      async (own) => await work({ services: own, params, outputs }),
    )
  }

  #joined(): Services {
    if (this.#services === null) throw new Error('sagas are used before they are joined')
    return this.#services
  }
}

interface Failure {
  readonly position: number
  readonly node: SagaNode<unknown>
  readonly error: unknown
}

/** Thrown by a test's crash point: the saga stops where it is, as after kill -9. */
export class SagaCrash extends Error {}

/** What ends the work here and is no failure of the saga's. */
const isStop = (error: unknown): boolean => error instanceof SagaCrash || error instanceof LeaseLost
