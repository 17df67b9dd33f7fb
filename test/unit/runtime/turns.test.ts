/** When a message is handled: at once if it may be, never within another, and not before timers for ever. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok, type Result } from '#runtime/result.ts'
import { aloneSystem } from '#test/kit/alone.ts'

const walkerProtocol = protocol('walker', 1, {
  /** Sends `left - 1` to the next walker; between `in` and `out` it works. */
  walk: call(1, { request: Type.Integer({ minimum: 0 }), reply: nothing, errors: [] }),
})
type Seen = string[]

const walker = behaviour({
  protocol: walkerProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 8,
    thread: 'main',
    activation: 'by_id',
  },
  init: () => null,
  invariant: () => undefined,
  handlers: {
    walk: (context: Context<Seen, typeof walkerProtocol>, state, left) => {
      const { deps, id } = context
      deps.push(`${id} in`)
      if (left > 0) context.ref(walkerProtocol, `${Number(id) + 1}`).cast('walk', left - 1)
      deps.push(`${id} out`)
      return { state, result: ok(null) }
    },
  },
})

function walkers() {
  const seen: Seen = []
  const system = aloneSystem()
  system.add(walker, seen)
  return { seen, first: system.ref(walkerProtocol, '0') }
}

test('an idle actor handles a message before its sender goes on', async () => {
  const { seen, first } = walkers()
  first.cast('walk', 0)
  assert.deepEqual(seen, ['0 in', '0 out'])
  const answer = first.call('walk', 0, { timeout_ms: 1_000 })
  assert.equal(seen.length, 4)
  assert.deepEqual(await answer, ok(null))
})

test('what a handler sends is handled when it is through, however long the chain', () => {
  const { seen, first } = walkers()
  first.cast('walk', 1_000)
  assert.deepEqual(seen.slice(0, 4), ['0 in', '0 out', '1 in', '1 out'])
  assert.equal(seen.length, 2 * 1_001)
})

test('a sender that goes on and on has to wait for timers and sockets', async () => {
  const { seen, first } = walkers()
  for (let sent = 0; sent < 4_096; sent += 1) first.cast('walk', 0)
  assert.equal(seen.length, 2 * 4_096)
  first.cast('walk', 0)
  assert.equal(seen.length, 2 * 4_096, 'one more waits')
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(seen.length, 2 * 4_097, 'until the loop had its turn')
})

const errandProtocol = protocol('errand', 1, {
  /** Is answered when `held` is. */
  hold: call(1, { request: nothing, reply: nothing, errors: [] }),
  /** Asks a third one to hold. */
  ask: call(2, { request: nothing, reply: nothing, errors: [] }),
  /** Has another one ask, when this one is through, and is answered. */
  send: call(3, { request: nothing, reply: Type.String(), errors: [] }),
})
interface Errands {
  readonly held: Promise<Result<null, never>>
  readonly asked: Array<Promise<unknown>>
}
const errand = behaviour({
  protocol: errandProtocol,
  child: { ...walker.child, mailbox_max: 1 },
  init: () => null,
  invariant: () => undefined,
  handlers: {
    hold: async ({ deps }: Context<Errands, typeof errandProtocol>, state) => ({
      state,
      result: await deps.held,
    }),
    ask: (context: Context<Errands, typeof errandProtocol>, state) => {
      const third = context.ref(errandProtocol, 'third')
      context.deps.asked.push(third.call('hold', null, { timeout_ms: 1_000 }))
      return { state, result: ok(null) }
    },
    send: (context: Context<Errands, typeof errandProtocol>, state) => {
      context.ref(errandProtocol, 'second').cast('ask', null)
      return { state, result: ok('sent') }
    },
  },
})

test('who is answered gets that answer, whatever others are told at once before it is taken', async () => {
  const system = aloneSystem()
  const asked: Errands['asked'] = []
  const { promise: held, resolve: release } = Promise.withResolvers<Result<null, never>>()
  system.add(errand, { held, asked })
  const third = system.ref(errandProtocol, 'third')
  const waiting = [1, 2].map(async () => await third.call('hold', null, { timeout_ms: 1_000 }))
  const answer = system.ref(errandProtocol, 'first').call('send', null, { timeout_ms: 1_000 })
  assert.equal(asked.length, 1, 'the second has asked before the first is told of')
  assert.deepEqual(await answer, ok('sent'))
  assert.match(JSON.stringify(await asked[0]), /"busy".*errand\/third has 1 messages waiting/)
  release(ok(null))
  assert.deepEqual(await Promise.all(waiting), [ok(null), ok(null)])
})
