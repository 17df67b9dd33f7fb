/**
 * Every saga that is registered, cut off in every place that it has: a crash before and after each
 * action, a failure of each, a crash before and after each undo, and a takeover while an action or an
 * undo is about to begin. Afterwards all is there or nothing: records, volumes, guests, ports.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stepsOf, type SagaNode } from '#actors/nexus/saga-nodes.ts'
import { registeredSagas } from '#actors/nexus/sagas/registry.ts'
import { until } from '#test/kit/rack.ts'
import { leaksOf } from './extent.ts'
import { assertBecomes, cut, moving, nameOf, scenarios, Stage, type Cut } from './scenarios.ts'

const sagaOf = (name: string) => name.split(',', 1)[0] ?? ''
test('every registered saga has a scenario, and every scenario a saga', () => {
  assert.deepEqual(
    registeredSagas.map(({ name }) => name).toSorted(),
    [...new Set(Object.keys(scenarios).map(sagaOf))].toSorted(),
  )
})

for (const [name, scenario] of Object.entries(scenarios)) {
  const definition = registeredSagas.find((saga) => saga.name === sagaOf(name))
  if (definition === undefined) continue
  test(`${name}: wherever it is cut off, all is there or nothing`, async (t) => {
    const stage = await Stage.open(t, scenario.sleds ?? 1)
    const whole = await stage.play(scenario, [])
    assert.ok(whole.status < 300, `${name}: ${whole.status}`)
    const all = await until(`${name} comes to rest`, 5_000, async () => {
      const extent = await whole.extent()
      return extent.some((line) => moving.test(line)) ? null : extent
    })
    for (const { cuts, end } of casesOf(definition.nodes(await stage.paramsOf(definition.name)))) {
      const played = await stage.play(scenario, cuts)
      const what = `${name}: ${cuts.map(nameOf).join(', ')}`
      assert.ok(played.status >= 500, `${what}: ${played.status}`)
      await assertBecomes(what, end === 'all' ? all : played.before, played.extent)
      await assertBecomes(`${what}: nothing leaks`, [], async () => await leaksOf(stage.nexus))
    }
  })
}

interface Case {
  readonly cuts: readonly Cut[]
  readonly end: 'all' | 'nothing'
}

/** Every place where a saga of these nodes can be cut off, and what must be there in the end. */
function casesOf(nodes: ReadonlyArray<SagaNode<unknown>>): readonly Case[] {
  // Writes that come first begin the saga: before them there is none to go on with or to take over.
  const [first] = stepsOf(nodes)
  const begun = first?.kind === 'write' ? first.last + 1 : 0
  const cases = nodes.flatMap(({ name }, position): Case[] => {
    const after = { cuts: [cut(name, 'after', 'crash')], end: 'all' } as const
    const crashed = [cut(name, 'before', 'crash')]
    if (position < begun) return [{ cuts: crashed, end: 'nothing' }, after]
    return [
      { cuts: crashed, end: 'all' },
      after,
      { cuts: [cut(name, 'before', 'take over')], end: 'all' },
    ]
  })
  // A node from which there is no way back fails for good only where it begins.
  const onward = nodes.findIndex(({ undo }) => undo === 'onward')
  const failing = onward === -1 ? nodes : nodes.slice(0, onward + 1)
  for (const { name, undo } of failing) {
    cases.push({ cuts: [cut(name, 'before', 'fail')], end: 'nothing' })
    if (undo !== 'onward') cases.push({ cuts: [cut(name, 'after', 'fail')], end: 'nothing' })
  }
  const last = failing.at(-1)
  assert.ok(last !== undefined, 'a saga has nodes')
  const failure = cut(last.name, last.undo === 'onward' ? 'before' : 'after', 'fail')
  for (const { name, undo } of failing.toReversed()) {
    if (undo === null || undo === 'onward') continue
    for (const [when, does] of undoCuts) {
      cases.push({ cuts: [failure, cut(`undo ${name}`, when, does)], end: 'nothing' })
    }
  }
  return cases
}

const undoCuts = [
  ['before', 'crash'],
  ['after', 'crash'],
  ['before', 'take over'],
] as const
