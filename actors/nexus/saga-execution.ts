/** How one saga goes forward from step to step, and back from node to node. */
import { LeaseLost } from '#runtime/cluster/sql.ts'
import type { Log } from '#runtime/log.ts'
import { explain } from '#runtime/result.ts'
import type { Span } from '#runtime/trace.ts'
import { ApiError } from '#actors/http/errors.ts'
import type { Services } from './context.ts'
import { recordError, restoreError } from './errors.ts'
import type { Ownership } from './member.ts'
import { stepsOf } from './saga-nodes.ts'
import type { AnySaga, SagaNode, SagaRun, Step, Write, WriteNode } from './saga-nodes.ts'
import { beginSaga, endSaga, noteFailure, noteNode } from './saga-records.ts'
import { StoreError } from './store/failure.ts'
import type { StoreTransaction, Tables } from './store/schema.ts'
import { lookThenTransact, transact } from './store/transact.ts'
import { doPiece } from './work.ts'

/**
 * Where tests cut a saga off: `SagaCrash` stops it as a crash would, anything else thrown is that
 * node's failure. Nodes that are done together are all about to begin, then have all ended. An undo is
 * the node `undo NAME`. In production nothing happens here.
 */
export type CrashPoint = (node: string, when: 'before' | 'after') => void | Promise<void>

/** Thrown by a test's crash point: the saga stops where it is, as after kill -9. */
export class SagaCrash extends Error {}

const undo_retry_ms = 500
const undo_tries_max = 6

interface Means {
  readonly services: Services
  readonly log: Log
  readonly crash: CrashPoint
}
interface Given {
  /** As the saga was begun, or will be. */
  readonly row: Tables['saga']
  /** Whether the store has that row. */
  readonly isBegun: boolean
  readonly definition: AnySaga
  readonly params: unknown
  /** Of the nodes that are done, by name. */
  readonly outputs: Map<string, unknown>
  readonly ownership: Ownership
  /** What its nodes are a part of; null while nobody traces. */
  readonly span: Span | null
}
type Nodes = ReadonlyArray<SagaNode<unknown>>
type Run = Omit<SagaRun<unknown>, 'done'>

/** How far a step has come, for whoever takes it back. */
interface Place {
  /** The node that is being done. */
  position: number
  /** The last node of which something may be there. */
  undo_from: number
}

export class SagaExecution {
  readonly #means: Means
  readonly #given: Given
  readonly #nodes: Nodes
  #isBegun: boolean

  constructor(means: Means, given: Given) {
    this.#means = means
    this.#given = given
    this.#nodes = given.definition.nodes(given.params)
    this.#isBegun = given.isBegun
  }

  /**
   * Does the nodes from this position on. Throws a failing node's error once all is undone; what is owed is
   * left to the next recovery.
   */
  async forward(from: number): Promise<ReadonlyMap<string, unknown>> {
    const steps = stepsOf(this.#nodes, from)
    for (const [index, step] of steps.entries()) {
      const place = { position: step.first, undo_from: step.first }
      if (step.kind === 'act') await this.#begin()
      try {
        await this.#pass(step, place, 'before')
        if (step.kind === 'write') await this.#write(step, place)
        else await this.#act(step, steps[index + 1]?.kind === 'write')
        await this.#pass(step, place, 'after')
      } catch (error) {
        if (this.#isOwed(place, error)) return this.#given.outputs
        throw await this.#failed(place, error)
      }
    }
    // The last step's record says it too, unless the crash of an earlier version came in between.
    if (steps.length === 0) {
      await this.#transact(async (store) => {
        await this.#end(store, 'succeeded')
      })
    }
    return this.#given.outputs
  }

  /** Takes the nodes back, from this position to the first. */
  async backward(from: number): Promise<void> {
    const { id } = this.#given.row
    for (let position = from; position >= 0; position -= 1) {
      const node = this.#nodes[position]
      if (node === undefined || typeof node.undo !== 'function') continue
      await this.#undo(node.name, node.undo)
      const undone = { position, name: node.name, state: 'undone', output: null } as const
      await this.#transact(async (store) => {
        await noteNode(store, id, undone)
      })
    }
    await this.#transact(async (store) => {
      await this.#end(store, 'failed')
    })
  }

  /** Nothing outside of the store is done for a saga that a crash would have forgotten. */
  async #begin(): Promise<void> {
    if (this.#isBegun) return
    await this.#transact(async (store) => {
      await beginSaga(store, this.#given.row)
    })
    this.#isBegun = true
  }

  async #pass({ first, last }: Step<unknown>, place: Place, when: 'before' | 'after') {
    for (let position = first; position <= last; position += 1) {
      place.position = position
      await this.#means.crash(this.#nodes[position]?.name ?? '', when)
    }
  }

  /** Does an action, and records it unless the writes that come next do. */
  async #act({ first, node }: ActStep, isRecordedWithNext: boolean): Promise<void> {
    let recorded: { readonly output: unknown } | null = null
    const done: SagaRun<unknown>['done'] = async (store, output = null) => {
      await this.#record(store, first, output)
      recorded = { output }
    }
    const output = await this.#do(node.name, async (run) => {
      const returned = await node.action({ ...run, done })
      return recorded === null ? (returned ?? null) : recorded.output
    })
    if (recorded === null && (output !== null || !isRecordedWithNext)) {
      await this.#transact(async (store) => {
        await done(store, output)
      })
    }
    this.#given.outputs.set(node.name, output)
  }

  /** Does writes that follow each other, and records them, in one transaction. */
  async #write({ first, last, nodes }: WriteStep, place: Place): Promise<void> {
    const perform = async (store: StoreTransaction, writes: readonly Write[]) => {
      if (!this.#isBegun) await beginSaga(store, this.#given.row)
      const later: Array<Awaited<ReturnType<Write>>> = []
      for (const [index, write] of writes.entries()) {
        place.position = first + index
        later.push(await write(store))
      }
      await this.#record(store, last, null)
      return later
    }
    const names = nodes.map(({ name }) => name)
    const what = names.length === 1 ? names.join('') : `${names[0]} … ${names.at(-1)}`
    try {
      const later = await this.#do(
        what,
        async (run) =>
          await lookThenTransact(run.services, async (tries) => {
            const writes = await looked(nodes, { ...run, tries })
            return async (store) => await perform(store, writes)
          }),
      )
      this.#isBegun = true
      place.undo_from = last
      for (const act of later) act?.()
    } catch (error) {
      // What is rolled back is not there; what was being committed may be, or what was done before a crash.
      const isAway = error instanceof StoreError && error.failure === 'away'
      place.undo_from = isAway || this.#given.isBegun ? last : first - 1
      throw error
    }
  }

  /** The nodes up to this one are done; the record of the last ends the saga. */
  async #record(store: StoreTransaction, position: number, output: unknown): Promise<void> {
    const { id } = this.#given.row
    if (position === this.#nodes.length - 1) {
      await this.#end(store, 'succeeded')
    } else {
      const name = this.#nodes[position]?.name ?? ''
      await noteNode(store, id, { position, name, state: 'done', output })
    }
  }

  async #end(store: StoreTransaction, state: 'succeeded' | 'failed'): Promise<void> {
    const { services } = this.#means
    await endSaga(store, { id: this.#given.row.id, state, time_ended_ms: services.clock.now() })
  }

  /** Whether the saga has done what it was asked for, and the rest can wait. */
  #isOwed({ position }: Place, error: unknown): boolean {
    const node = this.#nodes[position]
    if (node?.undo !== 'owed' || isStop(error) || isFinal(error)) return false
    const what = { saga: this.#given.row.id, node: node.name, why: explain(error) }
    this.#means.log.warn('a saga still owes a node', what)
    return true
  }

  /** What becomes of a saga whose node has failed. Gives back what its caller is told. */
  async #failed({ position, undo_from }: Place, error: unknown): Promise<unknown> {
    if (isStop(error)) return error
    const { row } = this.#given
    const node = this.#nodes[position]
    if (node === undefined) throw new Error(`saga ${row.id} has no node ${position}`)
    const recorded = recordError(error)
    if (recorded.status >= 500) {
      const what = { saga: row.id, node: node.name, why: explain(error) }
      this.#means.log.error('a saga node failed', what)
    }
    const told = restoreError(recorded)
    if (node.undo === 'onward' && !isFinal(error)) return told
    // With nothing to take back this is the end.
    const state = undo_from < 0 ? 'failed' : 'unwinding'
    await this.#transact(async (store) => {
      await noteFailure(store, {
        ...row,
        state,
        time_ended_ms: state === 'failed' ? this.#means.services.clock.now() : null,
        error_node_name: node.name,
        error: JSON.stringify(recorded),
      })
    })
    return state === 'failed' ? told : await this.#giveBack(undo_from, told)
  }

  /** The caller need not wait for a sled that is away: what is not undone now is when it is back. */
  async #giveBack(from: number, told: ApiError): Promise<unknown> {
    try {
      await this.backward(from)
    } catch (error) {
      if (error instanceof SagaCrash) return error
      const what = { saga: this.#given.row.id, why: explain(error) }
      this.#means.log.error('a saga is not undone yet', what)
    }
    return told
  }

  /** An undo that fails is tried again; one that never succeeds is left to the next recovery. */
  async #undo(node: string, undo: (run: Run) => Promise<void>): Promise<void> {
    const { services, log, crash } = this.#means
    const name = `undo ${node}`
    for (let tries = 1; ; tries += 1) {
      try {
        await crash(name, 'before')
        await this.#do(name, undo)
        await crash(name, 'after')
        return
      } catch (error) {
        if (isStop(error) || tries >= undo_tries_max) throw error
        const saga = this.#given.row.id
        log.warn('an undo is tried again', { saga, node, why: explain(error) })
        await services.clock.sleep(undo_retry_ms)
      }
    }
  }

  /** Writes the saga's progress: only as its owner. Throws `LeaseLost`. */
  async #transact(work: (store: StoreTransaction) => Promise<void>): Promise<void> {
    await transact(this.#owned(), work)
  }

  /** Does or undoes something, as a piece of work of its own. */
  async #do<T>(name: string, work: (run: Run) => Promise<T>): Promise<T> {
    const { row, definition, params, outputs, span } = this.#given
    const services = this.#owned()
    const begun = {
      name: `${definition.name} ${name}`,
      kind: 'internal',
      attributes: { 'luge.saga': row.id },
    } as const
    const piece = {
      what: `saga ${row.id}: ${begun.name}`,
      span: span === null ? null : (services.tracer?.begin(span, begun) ?? null),
    }
    return await doPiece(
      services,
      piece,
      async (own) => await work({ services: own, params, outputs }),
    )
  }

  /** Services whose transactions commit only while the saga is this member's. Throws `LeaseLost`. */
  #owned(): Services {
    const { ownership, row } = this.#given
    if (!ownership.isHeld()) throw new LeaseLost(ownership.lease)
    return { ...this.#means.services, fence: ownership.lease, saga: row.id }
  }
}

type ActStep = Extract<Step<unknown>, { kind: 'act' }>
type WriteStep = Extract<Step<unknown>, { kind: 'write' }>

/** All look before one writes; what a look fails with is said when it is that node's turn. */
async function looked(
  nodes: ReadonlyArray<WriteNode<unknown>>,
  run: Parameters<WriteNode<unknown>['writes']>[0],
): Promise<readonly Write[]> {
  return await Promise.all(
    nodes.map(async (node) => {
      try {
        return await node.writes(run)
      } catch (error) {
        return async () => await Promise.reject(error)
      }
    }),
  )
}

/** Of a node without a way back: that it never will succeed. */
const isFinal = (error: unknown): boolean => error instanceof ApiError && error.status !== 503

/** What ends the work here and is no failure of the saga's. */
const isStop = (error: unknown): boolean => error instanceof SagaCrash || error instanceof LeaseLost
