/**
 * The actors of a simulated rack. They do what the product's do (keep what they were asked for in the
 * journal before they acknowledge it, take a lease before they act, compare generations) and tell
 * `Truth` whatever must not be.
 */
import { Type } from 'typebox'
import { behaviour, type ChildSpec, type Context } from '#runtime/actor/actor.ts'
import { call, nothing, protocol, type Protocol } from '#runtime/actor/protocol.ts'
import { err, ok } from '#runtime/result.ts'
import type { SimJournal } from './disk.ts'
import type { Truth } from './truth.ts'

const text = Type.String({ maxLength: 100_000 })
const op = Type.Object({ op: text })
const done = Type.Object({ op: text, count: Type.Integer({ minimum: 0 }) })

export const journalProtocol = protocol('journal', 1, {
  get: call(1, {
    request: Type.Object({ key: text }),
    reply: Type.Union([text, Type.Null()]),
    errors: [],
    idempotent: true,
  }),
  put: call(2, {
    request: Type.Object({ key: text, text }),
    reply: nothing,
    errors: ['refused'],
    idempotent: true,
  }),
})
/** A list of operations that is durable before any of them is acknowledged. */
export const ledgerProtocol = protocol('ledger', 1, {
  /** Done once, however often it is sent. */
  add: call(1, { request: op, reply: done, errors: ['refused'], idempotent: true }),
  /** Done as often as it is sent. */
  bump: call(2, { request: op, reply: done, errors: ['refused'] }),
  read: call(3, { request: nothing, reply: Type.Array(text), errors: [], idempotent: true }),
  echo: call(4, { request: op, reply: op, errors: [], idempotent: true }),
  crash: call(5, { request: nothing, reply: nothing, errors: [] }),
})
/** Acts for whoever has the newest lease. */
export const guardProtocol = protocol('guard', 1, {
  ensure: call(1, {
    request: Type.Object({ generation: Type.Integer({ minimum: 1 }), author: text }),
    reply: nothing,
    errors: ['stale', 'refused'],
    idempotent: true,
  }),
})
export const sinkProtocol = protocol('sink', 1, {
  note: call(1, {
    request: Type.Object({ from: text, n: Type.Integer({ minimum: 1 }) }),
    reply: nothing,
    errors: [],
  }),
})
export const sleeperProtocol = protocol('sleeper', 1, {
  sleep: call(1, {
    request: Type.Object({ op: text, ms: Type.Number({ minimum: 0 }) }),
    reply: op,
    errors: [],
  }),
  wake: call(2, { request: nothing, reply: nothing, errors: [], lane: 'urgent' }),
})
const pillarOf = (id: string) =>
  protocol(`pillar-${id}`, 1, {
    crash: call(1, { request: nothing, reply: nothing, errors: [] }),
    /** Takes its time, and does not hear that it should stop. */
    hold: call(2, { request: Type.Number({ minimum: 0 }), reply: nothing, errors: [] }),
  })
/** Actors of one group, in the order in which they start. */
export const pillarProtocols = ['a', 'b', 'c'].map(pillarOf)

const child: ChildSpec = {
  restart: 'permanent',
  restarts_max: 3,
  restarts_period_ms: 2_000,
  shutdown_ms: 500,
  mailbox_max: 32,
  thread: 'work',
  activation: 'by_id',
}
export interface Deps {
  readonly truth: Truth
  readonly host: string
}
type Of<P extends Protocol> = Context<Deps, P>

export const journal = behaviour({
  protocol: journalProtocol,
  child: { ...child, thread: 'journal', activation: 'start', mailbox_max: 1_024 },
  init: (_context: Context<{ journal: SimJournal; truth: Truth }, typeof journalProtocol>) => null,
  invariant: () => undefined,
  handlers: {
    get: (context, state, { key }) => {
      context.deps.truth.begins(context, 'journal get')
      return { state, result: context.deps.journal.get(key).then(ok) }
    },
    put: (context, state, request) => {
      context.deps.truth.begins(context, 'journal put')
      return { state, result: context.deps.journal.put(request.key, request.text) }
    },
  },
})

/** Reads an entry of this sled's journal; throws when it cannot be read. */
async function recall(context: Context<Deps>, key: string): Promise<string | null> {
  const entry = await context
    .ref(journalProtocol, 'sled')
    .call('get', { key }, { timeout_ms: 2_000 })
  if (!entry.ok) throw new Error(`${key} cannot be read: ${entry.error}`)
  return entry.value
}

/** Writes one; throws when nobody knows whether it was written: a restart reads what is there. */
async function remember(context: Context<Deps>, key: string, value: unknown) {
  const put = await context
    .ref(journalProtocol, 'sled')
    .call('put', { key, text: JSON.stringify(value) }, { timeout_ms: 1_000 })
  if (put.ok || put.error === 'refused') return put.ok
  throw new Error(`whether ${key} was written is not known: ${put.error}`)
}

async function append(context: Of<typeof ledgerProtocol>, state: readonly string[], name: string) {
  const next = [...state, name]
  if (!(await remember(context, `ledger/${context.id}`, next))) {
    return { state, result: err('refused', 'the disk refused it') }
  }
  return { state: next, result: ok({ op: name, count: next.length }) }
}

export const ledger = behaviour({
  protocol: ledgerProtocol,
  child: { ...child, idle_ms: 3_000 },
  init: async (context: Of<typeof ledgerProtocol>) =>
    JSON.parse((await recall(context, `ledger/${context.id}`)) ?? '[]') as readonly string[],
  invariant: () => undefined,
  handlers: {
    add: async (context, state, { op: name }) => {
      context.deps.truth.begins(context, `ledger add ${name}`)
      if (!state.includes(name)) return await append(context, state, name)
      return { state, result: ok({ op: name, count: state.length }) }
    },
    bump: async (context, state, { op: name }) => {
      context.deps.truth.begins(context, `ledger bump ${name}`)
      return await append(context, state, name)
    },
    read: (context, state) => {
      context.deps.truth.begins(context, 'ledger read')
      return { state, result: ok([...state]) }
    },
    echo: (_context, state, request) => ({ state, result: ok(request) }),
    crash: () => {
      throw new Error('as asked')
    },
  },
})

interface Guarded {
  readonly generation: number
  readonly author: string
}
export const guard = behaviour({
  protocol: guardProtocol,
  child,
  init: async (context: Of<typeof guardProtocol>) =>
    JSON.parse(
      (await recall(context, `guard/${context.id}`)) ?? '{"generation":0,"author":""}',
    ) as Guarded,
  invariant: () => undefined,
  handlers: {
    ensure: async (context, state, request) => {
      const { truth, host } = context.deps
      truth.begins(context, 'guard ensure')
      if (request.generation < state.generation) {
        return { state, result: err('stale', `generation ${state.generation} was here`) }
      }
      if (request.generation > state.generation) {
        const isKept = await remember(context, `guard/${context.id}`, request)
        if (!isKept) return { state, result: err('refused', 'the disk refused it') }
      }
      truth.deed(`${host} ${context.id}`, request)
      return { state: request, result: ok(null) }
    },
  },
})

export const sink = behaviour({
  protocol: sinkProtocol,
  child: { ...child, mailbox_max: 256 },
  init: (_context: Of<typeof sinkProtocol>) => null,
  invariant: () => undefined,
  handlers: {
    note: (context, state, { from, n }) => {
      const { truth, host } = context.deps
      truth.noted(`${from} at ${host} ${context.id}`, n)
      return { state, result: ok(null) }
    },
  },
})

export const sleeper = behaviour({
  protocol: sleeperProtocol,
  child: { ...child, mailbox_max: 8 },
  init: (_context: Of<typeof sleeperProtocol>) => null,
  invariant: () => undefined,
  handlers: {
    sleep: async (context, state, request) => {
      context.deps.truth.begins(context, `sleeper sleep ${request.op}`)
      await context.clock.sleep(request.ms, context.signal)
      return { state, result: ok({ op: request.op }) }
    },
    wake: (_context, state) => ({ state, result: ok(null) }),
  },
})

interface PillarDeps {
  readonly truth: Truth
  readonly begun: Map<string, number>
}
/** Counts how often it began. */
export const pillarFor = (pillarProtocol: ReturnType<typeof pillarOf>) =>
  behaviour({
    protocol: pillarProtocol,
    child: { ...child, activation: 'start', restarts_max: 20 },
    init: (context: Context<PillarDeps, typeof pillarProtocol>) => {
      const { begun } = context.deps
      const life = (begun.get(context.id) ?? 0) + 1
      begun.set(context.id, life)
      return life
    },
    invariant: () => undefined,
    handlers: {
      crash: (context, life) => {
        ofNow(context, life)
        throw new Error('as asked')
      },
      hold: async (context, life, ms) => {
        ofNow(context, life)
        await context.clock.sleep(ms)
        return { state: life, result: ok(null) }
      },
    },
  })

/** What an actor believes is what its latest life began with. */
function ofNow({ id, deps }: { readonly id: string; readonly deps: PillarDeps }, life: number) {
  const now = deps.begun.get(id)
  deps.truth.hold(life === now, `${id} in its life ${now} has the state of its life ${life}`)
}
