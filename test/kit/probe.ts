/** An actor for tests of the runtime: it does what a test tells it, and tells what it saw. */
import assert from 'node:assert/strict'
import { Type } from 'typebox'
import { behaviour, type ChildSpec, type Context, type Down } from '#runtime/actor/actor.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { err, ok } from '#runtime/result.ts'

const text = Type.String()
const words = Type.Array(Type.String())
const target = Type.Object({ kind: text, id: text, host: Type.Union([text, Type.Null()]) })
const downSchema = Type.Object({ reason: text, detail: text })

/** One protocol for several kinds of actors: they differ in name only. */
export const probeProtocol = (name: string) =>
  protocol(name, 1, {
    add: call(1, { request: Type.Integer(), reply: Type.Integer(), errors: ['refused'] }),
    /** Waits at the gate of that name, then gives back what it handled so far. */
    wait: call(2, { request: text, reply: words, errors: [] }),
    stop: call(3, { request: nothing, reply: nothing, errors: [], lane: 'urgent' }),
    crash: call(4, { request: text, reply: nothing, errors: [] }),
    end: call(5, { request: nothing, reply: nothing, errors: [] }),
    /** Answers when the gate opens; the actor goes on meanwhile. */
    late: call(6, { request: text, reply: text, errors: [] }),
    note: call(7, { request: text, reply: nothing, errors: [] }),
    watch: call(8, { request: target, reply: nothing, errors: [] }),
    down: call(9, { request: downSchema, reply: nothing, errors: [] }),
    /** Takes back every watch and reminder of this kind. */
    take_back: call(10, { request: nothing, reply: nothing, errors: [] }),
    /** Notes `text` after a while. */
    remind: call(11, {
      request: Type.Object({ delay_ms: Type.Integer(), text }),
      reply: nothing,
      errors: [],
    }),
    /** Lets the child `id` of the same kind wait at a gate, and answers when it is through. */
    delegate: call(12, {
      request: Type.Object({ id: text, gate: text }),
      reply: words,
      errors: [],
    }),
  })
export type ProbeProtocol = ReturnType<typeof probeProtocol>

interface State {
  readonly total: number
  readonly order: readonly string[]
}
/** What a probe sees, and what holds it up; one for all probes of a kind. */
export class Probed {
  readonly gates = new Map<string, PromiseWithResolvers<void>>()
  inits: string[] = []
  readonly stops: string[] = []
  readonly aborted: string[] = []
  readonly notes: string[] = []
  readonly downs: Down[] = []
  readonly deadlines: number[] = []
  readonly takeBack: Array<() => void> = []
  /** How many handlers of one actor run now, and the most there ever were. */
  running = 0
  running_max = 0
  /** Whether `init` fails. */
  isBroken = false
  /** Waited for by `init`. */
  beforeInit: Promise<void> | null = null

  gate(name: string): PromiseWithResolvers<void> {
    const found = this.gates.get(name)
    if (found !== undefined) return found
    const made = Promise.withResolvers<void>()
    this.gates.set(name, made)
    return made
  }
}

export const probeChild: ChildSpec = {
  restart: 'permanent',
  restarts_max: 2,
  restarts_period_ms: 1_000,
  shutdown_ms: 100,
  mailbox_max: 8,
  thread: 'main',
  activation: 'by_id',
}

const handled = (state: State, what: string): State => ({
  ...state,
  order: [...state.order, what],
})

export function probe(name: string, child: Partial<ChildSpec> = {}) {
  type Given = Context<Probed, ProbeProtocol>
  return behaviour<ProbeProtocol, State, Probed>({
    protocol: probeProtocol(name),
    child: { ...probeChild, ...child },
    init: async (context): Promise<State> => {
      const { deps } = context
      deps.inits.push(`${name}/${context.id}`)
      await deps.beforeInit
      if (deps.isBroken) throw new Error('the world is broken')
      return { total: 0, order: [] }
    },
    invariant: (state) => {
      assert(state.total < 100, 'the total stays below 100')
    },
    handlers: {
      add: (_context, state, by) => {
        if (by < 0) return { state, result: err('refused', `${by} is less than nothing`) }
        const total = state.total + by
        return { state: { ...state, total }, result: ok(total) }
      },
      wait: async (context: Given, state, gate) => {
        const { deps } = context
        deps.running += 1
        deps.running_max = Math.max(deps.running_max, deps.running)
        deps.deadlines.push(context.deadline_ms)
        context.signal.addEventListener('abort', () => {
          deps.aborted.push(gate)
        })
        await deps.gate(gate).promise
        deps.running -= 1
        const next = handled(state, gate)
        return { state: next, result: ok([...next.order]) }
      },
      stop: (_context, state) => ({ state: handled(state, 'stop'), result: ok(null) }),
      crash: (_context, _state, why) => {
        throw new Error(why)
      },
      end: (_context, state) => ({ state, result: ok(null), stop: true }),
      late: (context, state, gate) => ({
        state: handled(state, `late ${gate}`),
        result: context.deps.gate(gate).promise.then(() => ok(gate)),
      }),
      note: (context, state, what) => {
        context.deps.notes.push(what)
        return { state: handled(state, what), result: ok(null) }
      },
      watch: (context, state, { kind, id, host }) => {
        const watched = context.ref(probeProtocol(kind), id, host)
        context.deps.takeBack.push(context.monitor(watched, 'down', (down) => down))
        return { state, result: ok(null) }
      },
      down: (context, state, down) => {
        context.deps.downs.push(down as Down)
        return { state, result: ok(null) }
      },
      remind: (context, state, { delay_ms, text: what }) => {
        context.deps.takeBack.push(context.after(delay_ms, 'note', what))
        return { state, result: ok(null) }
      },
      take_back: (context, state) => {
        for (const takeBack of context.deps.takeBack.splice(0)) takeBack()
        return { state, result: ok(null) }
      },
      delegate: (context, state, { id, gate }) => ({
        state,
        result: context
          .ref(probeProtocol(name), id)
          .call('wait', gate, { timeout_ms: 5_000, signal: context.signal })
          .then((answer) => {
            if (answer.ok) return answer
            throw new Error(`the child failed: ${answer.detail}`)
          }),
      }),
    },
    stop: (context) => {
      context.deps.stops.push(`${name}/${context.id}`)
    },
  })
}
