/**
 * Whatever a saga asks of a sled, asked late: its member stands still right before it asks, another one
 * takes the saga over and ends it, forward or backward, and then the first goes on. Nothing changes by
 * that, be it that what the saga made is still there, or that it was taken away meanwhile.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { registeredSagas } from '#actors/nexus/sagas/registry.ts'
import { until } from '#test/kit/rack.ts'
import { leaksOf } from './extent.ts'
import { hold } from './hold.ts'
import { assertBecomes, cut, moving, scenarios, Stage, type Cut, type Scene } from './scenarios.ts'

/** What is asked for once it is decided in the store for good: late, it does nothing by itself. */
const decided = new Set(['disk.destroy', 'instance.destroy', 'instance.go_on', 'instance.leave'])

/** Takes away all that a scenario may have made, as a user would. */
async function clear({ nexus, url }: Scene): Promise<void> {
  const box = `${url}/instances/box`
  if ((await nexus.call('POST', `${box}/stop`)).status < 300) {
    await until('it is stopped', 5_000, async () =>
      (await nexus.ok('GET', box)).run_state === 'stopped' ? true : null,
    )
  }
  for (const what of [
    'instances/box',
    'snapshots/taken',
    'images/made',
    'disks/alpine',
    'disks/second',
  ]) {
    const { status, text } = await nexus.call('DELETE', `${url}/${what}`)
    assert.ok(status === 204 || status === 404, `${what}: ${status} ${text}`)
  }
}

/** Plays one case; gives back the message that was held back, null when there is no such turn. */
async function playLate(
  stage: Stage,
  saga: string,
  { cuts, turn, isCleared }: Case,
): Promise<string | null> {
  const scenario = scenarios[saga]
  assert.ok(scenario !== undefined)
  const { nexus } = stage
  const { scene, extent } = await stage.begin(scenario, cuts)
  const look = async () => [...(await extent()), ...(await leaksOf(nexus))]
  const { held, asking } = hold(turn, look)
  nexus.asking = asking
  const request = scenario.request(scene)
  const first = await Promise.race([held, request.then(() => null)])
  await stage.takeOver()
  if (first === null) {
    nexus.asking = null
    await nexus.retire()
    return null
  }
  const { message, release } = first
  const what = `${saga}: ${message}, late${isCleared ? ', when all is gone' : ''}`
  const atRest = async () =>
    await until(`${what}: it comes to rest`, 5_000, async () => {
      const seen = await look()
      return seen.some((line) => moving.test(line)) ? null : seen
    })
  await atRest()
  if (isCleared) await clear(scene)
  const before = await atRest()
  const { answer, seen } = await release()
  assert.deepEqual(seen, before, what)
  assert.equal(decided.has(message), answer.ok || answer.error === 'not_here', what)
  if (!decided.has(message)) assert.equal(answer.error, 'stale', what)
  assert.ok((await request).status >= 500, what)
  await assertBecomes(what, before, look)
  nexus.asking = null
  await nexus.retire()
  return message
}

/** Plays a case for each message of the saga, one after the other. */
async function playAll(stage: Stage, saga: string, which: Omit<Case, 'turn'>) {
  const messages: string[] = []
  for (let turn = 0; ; turn += 1) {
    const message = await playLate(stage, saga, { ...which, turn })
    if (message === null) return messages
    messages.push(message)
  }
}

interface Case {
  readonly cuts: readonly Cut[]
  readonly turn: number
  readonly isCleared: boolean
}

/** What each saga asks of sleds, on its way there and back. */
const asks: Readonly<Record<string, readonly string[]>> = {
  'disk-create': ['disk.ensure_fenced', 'disk.destroy'],
  'disk-delete': ['disk.destroy'],
  'image-create': ['disk.copy_fenced', 'disk.destroy'],
  'image-delete': ['disk.destroy'],
  'instance-create': [
    'disk.ensure_fenced',
    'instance.ensure_fenced',
    'instance.destroy',
    'disk.destroy',
  ],
  'instance-delete': ['instance.destroy'],
  'instance-migrate': [
    'instance.migrate_out_fenced',
    'instance.migrate_in_fenced',
    'vnic.adopt',
    'instance.go_on',
    'instance.leave',
  ],
  'instance-reboot': ['instance.ensure_fenced'],
  'instance-start': ['instance.ensure_fenced'],
  'instance-stop': ['instance.ensure_fenced'],
  'project-create': [],
  'snapshot-create': ['disk.copy_fenced', 'disk.destroy'],
  'snapshot-delete': ['disk.destroy'],
  'vpc-create': [],
}

for (const definition of registeredSagas) {
  const { name } = definition
  test(`${name}: what its member still asks once it is another's changes nothing`, async (t) => {
    const stage = await Stage.open(t, name === 'instance-migrate' ? 2 : 1)
    const scenario = scenarios[name]
    assert.ok(scenario !== undefined)
    await stage.play(scenario, [])
    const nodes = definition.nodes(await stage.paramsOf(name))
    const onward = nodes.findIndex(({ undo }) => undo === 'onward')
    const last = nodes[onward === -1 ? nodes.length - 1 : onward]
    assert.ok(last !== undefined, 'a saga has nodes')
    const failure = cut(last.name, onward === -1 ? 'after' : 'before', 'fail')
    const asked = new Set<string>()
    for (const cuts of [[], [failure]]) {
      for (const isCleared of [false, true]) {
        for (const message of await playAll(stage, name, { cuts, isCleared })) asked.add(message)
      }
    }
    assert.deepEqual([...asked], asks[name])
  })
}
