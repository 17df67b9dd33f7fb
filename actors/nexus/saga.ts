/**
 * Sagas: changes of several steps, each durable before the next begins, each with its undo. A saga
 * that a crash cut off goes on where it was: forward if nothing had failed, else backward.
 *
 *   running ──all nodes done──► succeeded
 *      │ a node fails
 *      ▼
 *   unwinding ──all undone──► failed
 *
 * A node may run twice, when the crash came between its work and the record of it; so every action
 * and every undo is idempotent.
 */
import type { Insertable } from 'kysely'
import type { Log } from '#runtime/log.ts'
import { explain } from '#runtime/result.ts'
import type { Span } from '#runtime/trace.ts'
import type { Services } from './context.ts'
import { recordError, restoreError } from './errors.ts'
import type { Tables } from './store/schema.ts'
import { doPiece } from './work.ts'

export interface SagaRun<P> {
  readonly services: Services
  readonly params: P
  /** Outputs of the nodes before, by name. */
  readonly outputs: ReadonlyMap<string, unknown>
}
export interface SagaNode<P> {
  readonly name: string
  /** Does the step; what it returns is kept as JSON. A throw unwinds the saga. */
  readonly action: (run: SagaRun<P>) => Promise<unknown>
  /** Takes the step back, whether it was done, half done, or not at all. */
  readonly undo: ((run: SagaRun<P>) => Promise<void>) | null
}
export interface Saga<P> {
  readonly name: string
  /** The nodes for these params, the same at every run. */
  readonly nodes: (params: P) => ReadonlyArray<SagaNode<P>>
}
type AnySaga = Saga<unknown>

interface Progress {
  readonly id: string
  readonly definition: AnySaga
  readonly params: unknown
  readonly outputs: Map<string, unknown>
  /** What its nodes are a part of; null while nobody traces. */
  readonly span: Span | null
}

/**
 * Where tests cut a saga off: `SagaCrash` stops it as a crash would, anything else thrown before a
 * node is that node's failure. In production nothing happens here.
 */
export type CrashPoint = (node: string, when: 'before' | 'after') => void

const unfinishedStates = ['running', 'unwinding'] as const
const undo_retry_ms = 500
const undo_tries_max = 6

export class Sagas {
  readonly #known = new Map<string, AnySaga>()
  readonly #log: Log
  readonly #crash: CrashPoint
  /** What this process works on now. */
  readonly #running = new Set<string>()
  #services: Services | null = null

  constructor(log: Log, crash: CrashPoint = () => undefined) {
    this.#log = log
    this.#crash = crash
  }

  /** Sagas need the services and are one of them: joined once both exist. */
  join(services: Services): void {
    this.#services = services
  }

  /** Makes a saga known, so that it can be recovered by its name. */
  register<P>(saga: Saga<P>): void {
    // Params are read back as the JSON that this very saga was given.
    this.#known.set(saga.name, saga as AnySaga)
  }

  /** Runs a saga to its end. Throws the failing node's error once everything is undone. */
  async run<P>(
    saga: Saga<P>,
    params: P,
    span: Span | null = null,
  ): Promise<ReadonlyMap<string, unknown>> {
    const services = this.#joined()
    const id = services.random.uuid()
    await services.store
      .insertInto('saga')
      .values({
        id,
        name: saga.name,
        params: JSON.stringify(params),
        state: 'running',
        error_node_name: null,
        error: null,
        time_created_ms: services.clock.now(),
      })
      .execute()
    const definition = this.#known.get(saga.name)
    if (definition === undefined) throw new Error(`saga ${saga.name} is not registered`)
    const progress = { id, definition, params, outputs: new Map<string, unknown>(), span }
    return await this.#alone(id, async () => await this.#forward(progress, 0))
  }

  /**
   * Goes on with what an earlier process left, and with what this one gave up while a sled was away:
   * to be called whenever a sled comes up.
   */
  async recover(): Promise<void> {
    const unfinished = await this.#joined()
      .store.selectFrom('saga')
      .select('id')
      .where('state', 'in', unfinishedStates)
      .orderBy('time_created_ms')
      .execute()
    for (const { id } of unfinished) {
      if (this.#running.has(id)) continue
      await this.#alone(id, async () => {
        await this.#goOn(id)
      })
    }
  }

  /** Nothing runs a saga twice at a time. */
  async #alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#running.add(id)
    try {
      return await work()
    } finally {
      this.#running.delete(id)
    }
  }

  async #goOn(id: string): Promise<void> {
    const { store } = this.#joined()
    const row = await store
      .selectFrom('saga')
      .selectAll()
      .where('id', '=', id)
      .where('state', 'in', unfinishedStates)
      .executeTakeFirst()
    if (row === undefined) return
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
    const outputs = new Map<string, unknown>(
      done.map(({ name, output }) => [name, JSON.parse(output ?? 'null') as unknown]),
    )
    const params: unknown = JSON.parse(row.params)
    const progress = { id, definition, params, outputs, span: null }
    this.#log.info('a saga goes on', { saga: id, name: row.name, state: row.state })
    try {
      if (row.state === 'running') await this.#forward(progress, done.length)
      else await this.#backward(progress, highest(nodes))
    } catch (error) {
      this.#log.warn('a recovered saga did not succeed', { saga: id, why: explain(error) })
    }
  }

  async #forward(progress: Progress, from: number): Promise<ReadonlyMap<string, unknown>> {
    const { store } = this.#joined()
    const nodes = progress.definition.nodes(progress.params)
    for (const [position, node] of nodes.entries()) {
      if (position < from) continue
      const at = { saga_id: progress.id, position, name: node.name }
      await this.#record({ ...at, state: 'started', output: null })
      let output: unknown
      try {
        this.#crash(node.name, 'before')
        output = await this.#do(progress, node.name, node.action)
      } catch (error) {
        if (error instanceof SagaCrash) throw error
        const recorded = recordError(error)
        if (recorded.status >= 500) {
          this.#log.error('a saga node failed', {
            saga: progress.id,
            node: node.name,
            why: explain(error),
          })
        }
        await store
          .updateTable('saga')
          .set({
            state: 'unwinding',
            error_node_name: node.name,
            error: JSON.stringify(recorded),
          })
          .where('id', '=', progress.id)
          .execute()
        await this.#giveBack(progress, position)
        throw restoreError(recorded)
      }
      this.#crash(node.name, 'after')
      progress.outputs.set(node.name, output ?? null)
      await this.#record({ ...at, state: 'done', output: JSON.stringify(output ?? null) })
    }
    await store
      .updateTable('saga')
      .set({ state: 'succeeded' })
      .where('id', '=', progress.id)
      .execute()
    return progress.outputs
  }

  /** The caller need not wait for a sled that is away: what is not undone now is when it is back. */
  async #giveBack(progress: Progress, from: number): Promise<void> {
    try {
      await this.#backward(progress, from)
    } catch (error) {
      if (error instanceof SagaCrash) throw error
      this.#log.error('a saga is not undone yet', { saga: progress.id, why: explain(error) })
    }
  }

  async #backward(progress: Progress, from: number): Promise<void> {
    const { store } = this.#joined()
    const nodes = progress.definition.nodes(progress.params)
    for (let position = from; position >= 0; position -= 1) {
      const node = nodes[position]
      if (node === undefined) continue
      await this.#undo(progress, node)
      await this.#record({
        saga_id: progress.id,
        position,
        name: node.name,
        state: 'undone',
        output: null,
      })
    }
    await store.updateTable('saga').set({ state: 'failed' }).where('id', '=', progress.id).execute()
  }

  /** An undo that fails is tried again; one that never succeeds is left to the next recovery. */
  async #undo(progress: Progress, node: SagaNode<unknown>): Promise<void> {
    const { clock } = this.#joined()
    for (let tries = 1; node.undo !== null; tries += 1) {
      try {
        await this.#do(progress, `undo ${node.name}`, node.undo)
        return
      } catch (error) {
        if (error instanceof SagaCrash || tries >= undo_tries_max) throw error
        this.#log.warn('an undo is tried again', {
          saga: progress.id,
          node: node.name,
          why: explain(error),
        })
        await clock.sleep(undo_retry_ms)
      }
    }
  }

  async #record(row: Insertable<Tables['saga_node']>): Promise<void> {
    const { state, output } = row
    await this.#joined()
      .store.insertInto('saga_node')
      .values(row)
      .onConflict((conflict) =>
        conflict.columns(['saga_id', 'position']).doUpdateSet({ state, output }),
      )
      .execute()
  }

  /** Does or undoes a node, as a piece of work of its own. */
  async #do<T>(
    { id, definition, params, outputs, span }: Progress,
    name: string,
    work: (run: SagaRun<unknown>) => Promise<T>,
  ): Promise<T> {
    const services = this.#joined()
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

/** Thrown by a test's crash point: the saga stops where it is, as after kill -9. */
export class SagaCrash extends Error {}

const highest = (nodes: ReadonlyArray<{ readonly position: number }>) =>
  Math.max(-1, ...nodes.map(({ position }) => position))
