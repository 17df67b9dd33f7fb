/** When a message is handled: at once if it may be, never within another, and not before timers for ever. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'
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
