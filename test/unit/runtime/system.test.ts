import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { behaviour, type ChildSpec, type Context } from '#runtime/actor/actor.ts'
import { manualClock, systemClock, type Clock } from '#runtime/clock.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'
import { aloneSystem } from '#test/kit/alone.ts'

const counterProtocol = protocol('counter', 1, {
  add: call(1, {
    request: Type.Object({ by: Type.Integer() }),
    reply: Type.Integer(),
    errors: [],
    idempotent: false,
  }),
  wait: call(2, { request: Type.String(), reply: Type.Array(Type.String()), errors: [] }),
  stop: call(3, { request: nothing, reply: nothing, errors: [], lane: 'urgent' }),
  crash: call(4, { request: nothing, reply: nothing, errors: [] }),
  end: call(5, { request: nothing, reply: nothing, errors: [] }),
  wrong: call(6, { request: nothing, reply: Type.Integer(), errors: [] }),
})
interface State {
  readonly total: number
  readonly order: readonly string[]
}
interface Deps {
  readonly gates: Map<string, PromiseWithResolvers<void>>
  inits: number
  readonly aborted: string[]
}
type CounterContext = Context<Deps, typeof counterProtocol>

const spec: ChildSpec = {
  restart: 'permanent',
  restarts_max: 2,
  restarts_period_ms: 1_000,
  shutdown_ms: 100,
  mailbox_max: 3,
  thread: 'main',
  activation: 'by_id',
}
const counter = behaviour({
  protocol: counterProtocol,
  child: spec,
  init: (context: CounterContext): State => {
    context.deps.inits += 1
    return { total: 0, order: [] }
  },
  invariant: (state) => {
    assert(state.total < 100, 'the total stays below 100')
  },
  handlers: {
    add: (_context, state, { by }) => {
      const total = state.total + by
      return { state: { ...state, total }, result: ok(total) }
    },
    wait: async (context, state, name) => {
      const gate = context.deps.gates.get(name)
      context.signal.addEventListener('abort', () => {
        context.deps.aborted.push(name)
        gate?.resolve()
      })
      await gate?.promise
      const order = [...state.order, name]
      return { state: { ...state, order }, result: ok([...order]) }
    },
    stop: (_context, state) => ({
      state: { ...state, order: [...state.order, 'stop'] },
      result: ok(null),
    }),
    crash: () => {
      throw new Error('as asked')
    },
    end: (_context, state) => ({ state, result: ok(null), stop: true }),
    wrong: (_context, state) => ({ state, result: ok(0.5) }),
  },
})

function world(clock: Clock = systemClock) {
  const deps: Deps = { gates: new Map(), inits: 0, aborted: [] }
  const exhausted: string[] = []
  const system = aloneSystem({ clock, onExhausted: (actor) => exhausted.push(actor) })
  system.add(counter, deps)
  const gate = (name: string) => {
    const made = Promise.withResolvers<void>()
    deps.gates.set(name, made)
    return made
  }
  return { system, deps, gate, exhausted, ref: system.ref(counterProtocol, 'a') }
}
const soon = { timeout_ms: 2_000 }
const settle = async () => {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve()
}

test('an actor is made by its first message and keeps its state', async () => {
  const { ref, deps } = world()
  assert.deepEqual(await ref.call('add', { by: 2 }, soon), ok(2))
  assert.deepEqual(await ref.call('add', { by: 3 }, soon), ok(5))
  assert.equal(deps.inits, 1)
})

test('a request that breaks its schema is refused by name and never delivered', async () => {
  const { ref, deps } = world()
  const answer = await ref.call('add', { by: 1.5 }, soon)
  assert.ok(!answer.ok && answer.error === 'invalid')
  assert.match(answer.detail, /counter\/a add.*\/by/)
  assert.equal(deps.inits, 0)
})

test('an urgent message overtakes the queue and aborts the running handler', async () => {
  const { ref, gate, deps } = world()
  gate('first')
  const first = ref.call('wait', 'first', soon)
  const second = ref.call('wait', 'second', soon)
  await settle()
  const stop = ref.call('stop', null, soon)
  assert.deepEqual(await first, ok(['first']))
  assert.deepEqual(await stop, ok(null))
  assert.deepEqual(await second, ok(['first', 'stop', 'second']))
  assert.deepEqual(deps.aborted, ['first'])
})

test('a full mailbox refuses the newest with busy', async () => {
  const { ref, gate } = world()
  const opened = gate('slow')
  const slow = ref.call('wait', 'slow', soon)
  await settle()
  const waiting = [1, 2, 3].map(async () => await ref.call('add', { by: 1 }, soon))
  await settle()
  const refused = await ref.call('add', { by: 1 }, soon)
  assert.ok(!refused.ok && refused.error === 'busy')
  opened.resolve()
  assert.ok((await slow).ok)
  assert.deepEqual(await Promise.all(waiting), [ok(1), ok(2), ok(3)])
})

test('a message that expires in the mailbox is answered deadline and never handled', async () => {
  const clock = manualClock()
  const { ref, gate } = world(clock)
  const opened = gate('slow')
  const slow = ref.call('wait', 'slow', { timeout_ms: 60_000 })
  const late = ref.call('add', { by: 7 }, { timeout_ms: 100 })
  await clock.advance(200)
  const answer = await late
  assert.ok(!answer.ok && answer.error === 'deadline')
  opened.resolve()
  assert.ok((await slow).ok)
  assert.deepEqual(await ref.call('add', { by: 1 }, soon), ok(1))
})

test('a caller that gives up is answered cancelled and the handler hears of it', async () => {
  const { ref, gate, deps } = world()
  gate('long')
  const abort = new AbortController()
  const long = ref.call('wait', 'long', { ...soon, signal: abort.signal })
  await settle()
  abort.abort()
  const answer = await long
  assert.ok(!answer.ok && answer.error === 'cancelled')
  await settle()
  assert.deepEqual(deps.aborted, ['long'])
})

test('a crash answers the caller and the queue, and init rebuilds the state', async () => {
  const { ref, deps, gate } = world()
  await ref.call('add', { by: 5 }, soon)
  const opened = gate('held')
  const held = ref.call('wait', 'held', soon)
  const crashed = ref.call('crash', null, soon)
  const queued = ref.call('add', { by: 1 }, soon)
  await settle()
  opened.resolve()
  assert.ok((await held).ok)
  const [first, second] = await Promise.all([crashed, queued])
  assert.ok(!first.ok && first.error === 'crashed' && /as asked/.test(first.detail))
  assert.ok(!second.ok && second.error === 'crashed')
  assert.deepEqual(await ref.call('add', { by: 1 }, soon), ok(1))
  assert.equal(deps.inits, 2)
})

test('an actor that keeps crashing is down for its period and says why', async () => {
  const clock = manualClock()
  const { ref, exhausted } = world(clock)
  for (let turn = 0; turn < 3; turn += 1) await ref.call('crash', null, soon)
  assert.deepEqual(exhausted, ['counter/a'])
  const answer = await ref.call('add', { by: 1 }, soon)
  assert.ok(!answer.ok && answer.error === 'crashed' && /as asked/.test(answer.detail))
  await clock.advance(1_001)
  assert.deepEqual(await ref.call('add', { by: 1 }, soon), ok(1))
})

test('a broken invariant and a reply that breaks its schema are crashes', async () => {
  const { ref } = world()
  const broken = await ref.call('add', { by: 100 }, soon)
  assert.ok(!broken.ok && /below 100/.test(broken.detail))
  const wrong = await ref.call('wrong', null, soon)
  assert.ok(!wrong.ok && wrong.error === 'crashed' && /reply to wrong/.test(wrong.detail))
})

test('an actor that ends itself is made anew by the next message', async () => {
  const { ref, deps, system } = world()
  await ref.call('add', { by: 5 }, soon)
  await ref.call('end', null, soon)
  await settle()
  assert.deepEqual(system.inspect(), [])
  assert.deepEqual(await ref.call('add', { by: 1 }, soon), ok(1))
  assert.equal(deps.inits, 2)
})

test('a host or kind that is not there is unreachable', async () => {
  const { system } = world()
  const far = await system.ref(counterProtocol, 'a', 'elsewhere').call('end', null, soon)
  assert.ok(!far.ok && far.error === 'unreachable')
})

test('stop ends every actor and answers what waits', async () => {
  const { system, ref, gate } = world()
  gate('held')
  const held = ref.call('wait', 'held', soon)
  const queued = ref.call('add', { by: 1 }, soon)
  await settle()
  await system.stop()
  assert.ok((await held).ok, 'the running handler was aborted and ended')
  const answer = await queued
  assert.ok(!answer.ok && answer.error === 'crashed')
})
