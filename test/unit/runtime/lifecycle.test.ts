/** One actor: its turn, its crashes and restarts, its timers, its end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ChildSpec } from '#runtime/actor/actor.ts'
import { manualClock } from '#runtime/clock.ts'
import { ok } from '#runtime/result.ts'
import { runtime } from '#test/kit/joined.ts'
import { probe, probeProtocol } from '#test/kit/probe.ts'

const unit = probeProtocol('unit')
const soon = { timeout_ms: 5_000 }
const settle = async () => {
  for (let turn = 0; turn < 100; turn += 1) await Promise.resolve()
}
function world(child: Partial<ChildSpec> = {}) {
  const clock = manualClock()
  const made = runtime(
    { host: 'here', thread: 'main', kind: 'unit' },
    {},
    { child: { idle_ms: 1_000_000, ...child }, clock },
  )
  return { ...made, clock, ref: made.system.ref(unit, 'a') }
}
const code = (answer: { readonly ok: boolean; readonly error?: string }) =>
  answer.ok ? 'ok' : answer.error

test('a handler ends before the next message of the same actor begins', async () => {
  const { ref, seen } = world()
  const calls = ['one', 'two', 'three'].map((gate) => ref.call('wait', gate, soon))
  await settle()
  for (const gate of ['three', 'two', 'one']) seen.gate(gate).resolve()
  const answers = await Promise.all(calls)
  assert.deepEqual(answers.at(-1), ok(['one', 'two', 'three']))
  assert.equal(seen.running_max, 1)
})

test('different actors of a kind do not wait for each other', async () => {
  const { system, seen } = world()
  const held = system.ref(unit, 'a').call('wait', 'held', soon)
  assert.deepEqual(await system.ref(unit, 'b').call('add', 1, soon), ok(1))
  seen.gate('held').resolve()
  assert.ok((await held).ok)
})

test('messages of one caller are handled in the order in which they were sent', async () => {
  const { ref, seen } = world({ mailbox_max: 1_000 })
  const names = Array.from({ length: 500 }, (_, at) => String(at))
  for (const name of names) ref.cast('note', name)
  await ref.call('add', 0, soon)
  assert.deepEqual(seen.notes, names)
})

test('urgent messages keep their own order, and each overtakes what is normal', async () => {
  const { ref, seen } = world()
  const held = ref.call('wait', 'held', soon)
  await settle()
  ref.cast('note', 'normal')
  const stops = [ref.call('stop', null, soon), ref.call('stop', null, soon)]
  await settle()
  assert.deepEqual(seen.aborted, ['held'])
  seen.gate('held').resolve()
  seen.gate('end').resolve()
  await Promise.all([held, ...stops])
  assert.deepEqual(
    await ref.call('wait', 'end', soon),
    ok(['held', 'stop', 'stop', 'normal', 'end']),
  )
})

test('an answer may come late, and the actor goes on with other messages meanwhile', async () => {
  const { ref, seen } = world()
  const late = ref.call('late', 'slow', soon)
  assert.deepEqual(await ref.call('add', 2, soon), ok(2))
  seen.gate('slow').resolve()
  assert.deepEqual(await late, ok('slow'))
})

test('a child does what takes long, and its parent answers others meanwhile', async () => {
  const { ref, seen } = world()
  const long = ref.call('delegate', { id: 'child', gate: 'work' }, soon)
  assert.deepEqual(await ref.call('add', 3, soon), ok(3))
  seen.gate('work').resolve()
  assert.deepEqual(await long, ok(['work']))
})

test('a late answer that fails is a crash, and what runs then is told and never mixed in', async () => {
  const { ref, seen, system } = world()
  await ref.call('add', 5, soon)
  const late = ref.call('late', 'doomed', soon)
  const running = ref.call('wait', 'outlives', soon)
  await settle()
  seen.gate('doomed').reject(new Error('no luck'))
  assert.equal(code(await late), 'crashed')
  assert.equal(code(await running), 'crashed')
  assert.deepEqual(seen.aborted, ['outlives'])
  // The next life begins when the old handler is through, and knows nothing of it.
  const refused = await ref.call('add', 1, soon)
  assert.equal(code(refused), 'crashed')
  seen.gate('outlives').resolve()
  await settle()
  assert.deepEqual(await ref.call('add', 1, soon), ok(1))
  seen.gate('now').resolve()
  assert.deepEqual(await ref.call('wait', 'now', soon), ok(['now']))
  assert.equal(system.inspect()[0]?.restarts, 1)
})

test('several late answers that fail count as one crash', async () => {
  const { ref, seen, system, exhausted } = world()
  const calls = Array.from({ length: 6 }, () => ref.call('late', 'doomed', soon))
  await settle()
  seen.gate('doomed').reject(new Error('no luck'))
  for (const answer of await Promise.all(calls)) assert.equal(code(answer), 'crashed')
  await settle()
  assert.equal(system.inspect()[0]?.restarts, 1)
  assert.deepEqual(exhausted, [])
})

test('a crash answers its caller with the cause, and the queue as well', async () => {
  const { ref, seen } = world()
  const held = ref.call('wait', 'held', soon)
  await settle()
  const crash = ref.call('crash', 'as asked', soon)
  const queued = ref.call('add', 1, soon)
  seen.gate('held').resolve()
  assert.ok((await held).ok)
  for (const answer of await Promise.all([crash, queued])) {
    assert.ok(!answer.ok && answer.error === 'crashed' && /as asked/.test(answer.detail))
  }
  assert.deepEqual(seen.stops, ['unit/a'], 'what it held was released')
})

test('a message that crashes its actor is not handled again', async () => {
  const { ref, seen, system } = world()
  ref.cast('crash', 'poison')
  await settle()
  assert.deepEqual(seen.inits, ['unit/a', 'unit/a'])
  assert.equal(system.inspect()[0]?.restarts, 1)
  assert.deepEqual(await ref.call('add', 1, soon), ok(1))
  assert.match(system.deadLetters.last.at(-1) ?? '', /unit\/a crash: poison/)
})

test('an actor that cannot begin is tried within its budget only, and its callers hear why', async () => {
  const { ref, seen, exhausted, clock } = world()
  seen.isBroken = true
  const answer = await ref.call('add', 1, soon)
  assert.ok(!answer.ok && answer.error === 'crashed' && /the world is broken/.test(answer.detail))
  await settle()
  assert.equal(seen.inits.length, 3, 'the first time, and two restarts')
  assert.equal(exhausted.length, 1)
  assert.equal(code(await ref.call('add', 1, soon)), 'crashed')
  assert.equal(seen.inits.length, 3, 'callers do not make it try')
  seen.isBroken = false
  await clock.advance(1_001)
  assert.deepEqual(await ref.call('add', 1, soon), ok(1))
})

test('crashes further apart than the period never use the budget up', async () => {
  const { ref, exhausted, clock } = world()
  for (let turn = 0; turn < 10; turn += 1) {
    await ref.call('crash', 'again', soon)
    await clock.advance(600)
  }
  assert.deepEqual(exhausted, [])
  assert.deepEqual(await ref.call('add', 1, soon), ok(1))
})

test('a temporary actor is not restarted; the next message makes it anew', async () => {
  const { ref, system, seen } = world({ restart: 'temporary' })
  await ref.call('crash', 'once', soon)
  await settle()
  assert.deepEqual(system.inspect(), [])
  assert.deepEqual(await ref.call('add', 1, soon), ok(1))
  assert.equal(seen.inits.length, 2)
})

test('a handler that outlasts its stop is left behind, and its caller told', async () => {
  const { ref, seen, system, clock } = world()
  const stuck = ref.call('wait', 'stuck', { timeout_ms: 60_000 })
  await settle()
  const stopped = system.stop()
  await clock.advance(101)
  await stopped
  const answer = await stuck
  assert.ok(!answer.ok && answer.error === 'crashed' && /did not end in time/.test(answer.detail))
  assert.deepEqual(seen.aborted, ['stuck'])
  seen.gate('stuck').resolve()
  await settle()
  assert.deepEqual(system.inspect(), [])
})

test('a stop with drain handles what waits first', async () => {
  const { ref, seen, system, clock } = world()
  const held = ref.call('wait', 'held', soon)
  await settle()
  const queued = ref.call('add', 4, soon)
  const late = ref.call('late', 'promised', soon)
  const stopped = system.stop(true)
  await settle()
  seen.gate('held').resolve()
  await clock.advance(10)
  assert.ok((await held).ok)
  assert.deepEqual(await queued, ok(4))
  seen.gate('promised').resolve()
  assert.deepEqual(await late, ok('promised'))
  await clock.advance(10)
  await stopped
  assert.deepEqual(seen.stops, ['unit/a'])
})

test('an actor with nothing to do for its idle time ends, and one with work stays', async () => {
  const { system, seen, clock } = world({ idle_ms: 1_000 })
  await system.ref(unit, 'quiet').call('add', 1, soon)
  const busy = system.ref(unit, 'busy').call('wait', 'held', { timeout_ms: 60_000 })
  const owing = system.ref(unit, 'owing').call('late', 'promised', { timeout_ms: 60_000 })
  await settle()
  await clock.advance(900)
  assert.equal(system.inspect().length, 3, 'not before its time')
  await clock.advance(600)
  assert.deepEqual(
    system.inspect().map(({ name }) => name),
    ['unit/busy', 'unit/owing'],
  )
  assert.deepEqual(seen.stops, ['unit/quiet'])
  seen.gate('held').resolve()
  seen.gate('promised').resolve()
  assert.ok((await busy).ok)
  assert.ok((await owing).ok)
  assert.deepEqual(await system.ref(unit, 'quiet').call('add', 1, soon), ok(1), 'it is made anew')
  await clock.advance(5_000)
  assert.deepEqual(system.inspect(), [])
})

test('a kind with a short idle time does not end the actors of one with a long one', async () => {
  const { system, seen, clock } = world({ idle_ms: 10_000 })
  const quick = probeProtocol('quick')
  system.add(probe('quick', { idle_ms: 100 }), seen)
  await system.ref(unit, 'a').call('add', 1, soon)
  await system.ref(quick, 'a').call('add', 1, soon)
  await clock.advance(8_000)
  assert.deepEqual(
    system.inspect().map(({ name }) => name),
    ['unit/a'],
  )
})

test('a timer sends its message once, and one that was taken back or whose actor crashed never does', async () => {
  const { system, seen, clock } = world()
  const [a, b, c] = ['a', 'b', 'c'].map((id) => system.ref(unit, id))
  assert.ok(a && b && c)
  await a.call('remind', { delay_ms: 100, text: 'taken back' }, soon)
  await a.call('take_back', null, soon)
  await b.call('remind', { delay_ms: 100, text: 'crashed' }, soon)
  await b.call('crash', 'before it', soon)
  await c.call('remind', { delay_ms: 100, text: 'due' }, soon)
  await clock.advance(99)
  assert.deepEqual(seen.notes, [])
  await clock.advance(1_000)
  assert.deepEqual(seen.notes, ['due'])
})

test('an init that is overtaken by a restart leaves nothing behind', async () => {
  const { system, seen } = world()
  const gate = Promise.withResolvers<void>()
  seen.beforeInit = gate.promise
  const ref = system.ref(unit, 'slow')
  const waits = ref.call('add', 1, soon)
  await settle()
  assert.equal(system.inspect()[0]?.phase, 'starting')
  await system.stop()
  gate.resolve()
  await settle()
  assert.equal(code(await waits), 'crashed')
  assert.deepEqual(system.inspect(), [])
})
