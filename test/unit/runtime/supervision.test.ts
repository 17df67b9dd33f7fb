/** Groups of actors that fail together: who is restarted, in which order, and who decides when. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ChildSpec, Down } from '#runtime/actor/actor.ts'
import { manualClock } from '#runtime/clock.ts'
import { ok } from '#runtime/result.ts'
import type { Strategy } from '#runtime/actor/supervisor.ts'
import { runtime } from '#test/kit/joined.ts'
import { probe, probeProtocol } from '#test/kit/probe.ts'

const soon = { timeout_ms: 5_000 }
const settle = async () => {
  for (let turn = 0; turn < 200; turn += 1) await Promise.resolve()
}

/** Members `a`, `b`, `c` in a group; a crash beyond `restarts_max` goes to the group. */
function world(
  strategy: Strategy,
  budgets: { readonly member: number; readonly group: number } = { member: 1, group: 1 },
  child: Partial<ChildSpec> = {},
) {
  const clock = manualClock()
  const made = runtime(
    { host: 'here', thread: 'main', kind: 'loose' },
    {},
    { clock, child: { idle_ms: 1_000_000 } },
  )
  const { system, seen } = made
  const spec = { restarts_max: budgets.group, restarts_period_ms: 10_000 }
  const outer = system.group({ name: 'outer', strategy: 'one_for_one', ...spec })
  const group = system.group({ name: 'inner', strategy, ...spec }, outer)
  const started: Partial<ChildSpec> = {
    activation: 'start',
    restarts_max: budgets.member,
    restarts_period_ms: 10_000,
    ...child,
  }
  const names = ['a', 'b', 'c'] as const
  for (const name of names) system.add(probe(name, started), seen, 'x', group)
  // A neighbour of the group, in the group outside.
  system.add(probe('beside', started), seen, 'x', outer)
  const ref = (name: string) => system.ref(probeProtocol(name), 'x')
  const crash = async (name: string) => {
    await ref(name).call('crash', 'as asked', soon)
    await settle()
  }
  const since = () => {
    const all = [...seen.inits]
    seen.inits.length = 0
    return all.map((name) => name.replace('/x', ''))
  }
  since()
  return { ...made, clock, ref, crash, since }
}

test('one_for_one restarts the one that crashed', async () => {
  const { crash, since } = world('one_for_one')
  await crash('b')
  assert.deepEqual(since(), ['b'])
})

test('rest_for_one restarts the one that crashed and those after it, in order', async () => {
  const { crash, since, seen } = world('rest_for_one')
  await crash('b')
  assert.deepEqual(since(), ['b', 'c'])
  assert.deepEqual(seen.stops, ['b/x', 'c/x'], 'what was held is released before')
})

test('one_for_all restarts all, stopped in reverse and started in order', async () => {
  const { crash, since, seen } = world('one_for_all')
  await crash('b')
  assert.deepEqual(since(), ['a', 'b', 'c'])
  assert.deepEqual(seen.stops, ['b/x', 'c/x', 'a/x'])
})

test('a member beyond its budget fails its group, which is restarted with whole budgets', async () => {
  const { crash, since, ref } = world('one_for_one')
  await crash('b')
  assert.deepEqual(since(), ['b'])
  await crash('b')
  assert.deepEqual(since(), ['a', 'b', 'c'], 'the group as a whole')
  await crash('b')
  assert.deepEqual(since(), ['b'], 'its budget is whole again')
  assert.deepEqual(await ref('beside').call('add', 1, soon), ok(1))
})

test('a group beyond its budget fails the group outside, and that one at last the process', async () => {
  const { crash, since, exhausted, ref } = world('one_for_one', { member: 0, group: 1 })
  await crash('a')
  assert.deepEqual(since(), ['a', 'b', 'c'], 'the inner group')
  await crash('a')
  assert.deepEqual(since(), ['a', 'b', 'c', 'beside'], 'the outer one and all that is in it')
  await crash('a')
  assert.deepEqual(since(), ['a', 'b', 'c'], 'the inner one has a whole budget again')
  await crash('a')
  assert.deepEqual(since(), [])
  assert.equal(exhausted.length, 1, 'whoever started the process decides')
  const answer = await ref('beside').call('add', 1, soon)
  assert.ok(!answer.ok && answer.error === 'crashed')
})

test('crashes further apart than the period never reach the group', async () => {
  const { crash, since, clock } = world('one_for_one')
  for (let turn = 0; turn < 5; turn += 1) {
    await crash('b')
    await clock.advance(10_001)
    assert.deepEqual(since(), ['b'])
  }
})

test('a permanent actor that ends by itself is started again, a transient one is not', async () => {
  const permanent = world('one_for_one')
  await permanent.ref('b').call('end', null, soon)
  await settle()
  assert.deepEqual(permanent.since(), ['b'])
  const transient = world('one_for_one', { member: 1, group: 1 }, { restart: 'transient' })
  await transient.ref('b').call('end', null, soon)
  await settle()
  assert.deepEqual(transient.since(), [])
  const answer = await transient.ref('b').call('add', 1, soon)
  assert.ok(!answer.ok && answer.error === 'unreachable')
  await transient.crash('c')
  assert.deepEqual(transient.since(), ['c'])
})

test('a stop goes in reverse of the start, and lets the running handler end', async () => {
  const { system, seen, ref } = world('one_for_one')
  const held = ref('b').call('wait', 'held', soon)
  await settle()
  const stopped = system.stop()
  await settle()
  assert.deepEqual(seen.stops, ['beside/x', 'c/x'])
  assert.deepEqual(seen.aborted, ['held'])
  seen.gate('held').resolve()
  assert.ok((await held).ok)
  await stopped
  assert.deepEqual(seen.stops, ['beside/x', 'c/x', 'b/x', 'a/x'])
})

test('a stop in the middle of a restart wins', async () => {
  const { system, seen, ref, since } = world('one_for_all')
  const held = ref('a').call('wait', 'held', soon)
  await settle()
  await ref('b').call('crash', 'as asked', soon)
  await settle()
  // The restart waits for the handler of `a` now.
  const stopped = system.stop()
  seen.gate('held').resolve()
  await stopped
  await settle()
  assert.ok((await held).ok)
  assert.deepEqual(since(), [])
  assert.deepEqual(system.inspect(), [])
})

test('what waits for a member that is restarted with its group is answered, and its watchers told', async () => {
  const { seen, ref, system, crash } = world('one_for_all')
  const held = ref('a').call('wait', 'held', soon)
  await settle()
  const queued = ref('a').call('add', 1, soon)
  const downs: Down[] = []
  system.monitor(ref('a'), (down) => downs.push(down))
  await crash('b')
  seen.gate('held').resolve()
  assert.ok((await held).ok)
  await settle()
  const answer = await queued
  assert.ok(!answer.ok && answer.error === 'crashed')
  assert.deepEqual(
    downs.map(({ reason }) => reason),
    ['stopped'],
  )
  assert.deepEqual(await ref('a').call('add', 1, soon), ok(1))
})
