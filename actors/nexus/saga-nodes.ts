/** What a saga is made of: its nodes, and the steps that these are done in. */
import type { Services } from './context.ts'
import type { StoreTransaction } from './store/schema.ts'

export interface SagaRun<P> {
  /** Their `transact` commits only while this member owns the saga: nodes write with nothing else. */
  readonly services: Services
  readonly params: P
  /** Outputs of the nodes before, by name. */
  readonly outputs: ReadonlyMap<string, unknown>
  /** Records this node as done, with its output: for the action's last transaction. */
  readonly done: (store: StoreTransaction, output?: unknown) => Promise<void>
}
interface WriteRun<P> extends Omit<SagaRun<P>, 'done'> {
  /** Which run this is, from 1: others were in the way of those before. */
  readonly tries: number
}
/** Writes, and gives back what is to be done once that is committed; null for nothing. */
export type Write = (store: StoreTransaction) => Promise<(() => void) | null>

interface AnyNode<P> {
  readonly name: string
  /**
   * Takes the node back, whether it was done, half done, or not at all; null when there is nothing to
   * take back. `onward`: there is no way back. A failure of such a node is told to the caller and
   * unwinds nothing; the node is tried again until it succeeds, or says itself that it never will, with
   * an `ApiError` other than 503. `owed`: the same at a saga's end, where all that its caller asked for has
   * happened: a failure is not told.
   */
  readonly undo: ((run: Omit<SagaRun<P>, 'done'>) => Promise<void>) | null | 'onward' | 'owed'
}
/** A node that asks a sled for something, or whose output others need. */
export interface ActionNode<P> extends AnyNode<P> {
  /** Does it; what it returns is kept as JSON, unless it was `done`. A throw unwinds the saga. */
  readonly action: (run: SagaRun<P>) => Promise<unknown>
}
/** A node that changes the store and nothing else. */
export interface WriteNode<P> extends AnyNode<P> {
  /**
   * Looks at what is better not read in a transaction, and gives back what is done in one. A throw, in
   * either, unwinds the saga.
   */
  readonly writes: (run: WriteRun<P>) => Write | Promise<Write>
}
export type SagaNode<P> = ActionNode<P> | WriteNode<P>

export interface Saga<P> {
  readonly name: string
  /** The nodes for these params, the same at every run. */
  readonly nodes: (params: P) => ReadonlyArray<SagaNode<P>>
}
export type AnySaga = Saga<unknown>

/** A saga among others: its params are read back as the JSON that this very saga was given. */
export const anySaga = <P>(saga: Saga<P>): AnySaga => saga as AnySaga

/** What is done and recorded at once: an action, or all writes up to the next action, in one transaction. */
export type Step<P> = {
  /** Where its nodes are in the saga. */
  readonly first: number
  readonly last: number
} & (
  | { readonly kind: 'act'; readonly node: ActionNode<P> }
  | { readonly kind: 'write'; readonly nodes: ReadonlyArray<WriteNode<P>> }
)

/** The steps of these nodes, from one position on. */
export function stepsOf<P>(nodes: ReadonlyArray<SagaNode<P>>, from = 0): ReadonlyArray<Step<P>> {
  const steps: Array<Step<P>> = []
  let writes: Array<WriteNode<P>> = []
  const endWrites = (end: number) => {
    if (writes.length === 0) return
    steps.push({ kind: 'write', first: end - writes.length, last: end - 1, nodes: writes })
    writes = []
  }
  for (let at = from; at < nodes.length; at += 1) {
    const node = nodes[at]
    if (node === undefined) break
    if ('writes' in node) writes.push(node)
    else {
      endWrites(at)
      steps.push({ kind: 'act', first: at, last: at, node })
    }
  }
  endWrites(nodes.length)
  return steps
}
