/** What a member wants of an instance late, while others have wanted something else since. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Instance } from '#actors/nexus/compute/instances.ts'
import { reconcileSled } from '#actors/nexus/reconcile.ts'
import { err } from '#runtime/result.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'
import { leaksOf } from './extent.ts'
import { hold } from './hold.ts'

const box = `${project}/instances/box`

async function open(t: TestContext) {
  const nexus = await TestNexus.during(t, () => undefined, null, 2)
  return { nexus, ...(await nexus.guide()) }
}
const becomes = async (nexus: TestNexus, run_state: string) => {
  await until(`it is ${run_state}`, 5_000, async () =>
    (await nexus.ok('GET', box)).run_state === run_state ? true : null,
  )
}
const rowOf = async ({ store }: TestNexus, id: string) =>
  await store
    .selectFrom('instance')
    .select(['sled_id', 'propolis_id', 'pending_target'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
const stateOf = async ({ store }: TestNexus, id: string) =>
  await store
    .selectFrom('instance')
    .select(['run_state', 'pending_target'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
const machinesOf = async ({ sleds }: TestNexus, id: string) => {
  const found = await Promise.all(sleds.map(async ({ vmm }) => await vmm.find(id)))
  return found.flatMap((machine) => (machine.ok && machine.value !== null ? [machine.value] : []))
}

/** Another member takes over the requests while a start of the first is on its way to the sled. */
async function beginStart(t: TestContext) {
  const { nexus } = await open(t)
  const made = { ...instanceBody('box'), disks: [], external_ips: [], start: false }
  const { id } = await nexus.ok('POST', `${project}/instances`, made)
  const { held, asking } = hold(0, async () => await leaksOf(nexus))
  nexus.asking = asking
  const started = nexus.call('POST', `${box}/start`)
  const { message, release } = await held
  assert.equal(message, 'instance.ensure_fenced')
  await nexus.join('another-member')
  return { nexus, id: String(id), started, release }
}

/** The start is over, and nothing is left to be done. */
async function assertEnded(
  { store }: TestNexus,
  started: ReturnType<TestNexus['call']>,
): Promise<void> {
  assert.equal((await started).status, 202)
  const states = await store.selectFrom('saga').select('state').distinct().execute()
  assert.deepEqual(states, [{ state: 'succeeded' }])
}

test('it is not done when the instance was stopped and deleted, and its saga ends', async (t) => {
  const { nexus, id, started, release } = await beginStart(t)
  await nexus.ok('POST', `${box}/stop`)
  await becomes(nexus, 'stopped')
  await nexus.ok('DELETE', box)
  const { answer, seen } = await release()
  assert.equal(answer.error, 'stale')
  assert.deepEqual(seen, [])
  await assertEnded(nexus, started)
  assert.deepEqual(await machinesOf(nexus, id), [])
  assert.deepEqual(await leaksOf(nexus), [])
})

test('it is not done when the instance was stopped and started anew: the newer propolis runs on', async (t) => {
  const { nexus, id, started, release } = await beginStart(t)
  const before = await rowOf(nexus, id)
  await nexus.ok('POST', `${box}/stop`)
  await becomes(nexus, 'stopped')
  await nexus.ok('POST', `${box}/start`)
  await becomes(nexus, 'running')
  const { answer } = await release()
  assert.equal(answer.error, 'stale')
  await assertEnded(nexus, started)
  const { propolis_id, pending_target } = await rowOf(nexus, id)
  assert.notEqual(propolis_id, before.propolis_id)
  assert.equal(pending_target, null)
  assert.deepEqual(await machinesOf(nexus, id), [{ propolis_id, state: 'running' }])
})

test('it is done after all when what came between has come to nothing', async (t) => {
  const { nexus, id, started, release } = await beginStart(t)
  // Another wish replaces the mark, and the same one is marked again, as another propolis.
  await nexus.ok('POST', `${box}/stop`)
  await becomes(nexus, 'stopped')
  const propolis_id = '77777777-7777-4777-8777-777777777777'
  const marked = { pending_target: 'running', propolis_id }
  await nexus.store.updateTable('instance').set(marked).where('id', '=', id).execute()
  assert.equal((await release()).answer.error, 'stale')
  await assertEnded(nexus, started)
  await becomes(nexus, 'running')
  assert.deepEqual(await machinesOf(nexus, id), [{ propolis_id, state: 'running' }])
})

test('a sled of before there were fences is asked without, and does everything', async (t) => {
  const { nexus, image_id } = await open(t)
  const refused = new Set<string>()
  nexus.asking = async (message, ask) => {
    if (!message.endsWith('_fenced')) return await ask()
    refused.add(message)
    return err('unsupported', 'the other end has version 3') as Awaited<ReturnType<typeof ask>>
  }
  const [here, there] = nexus.sleds
  assert.ok(here !== undefined && there !== undefined)
  nexus.connected = [here.id]
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  const snapshot = { name: 'taken', description: 'x', disk: 'alpine' }
  await nexus.ok('POST', `${project}/snapshots`, snapshot)
  await nexus.ok('POST', `${project}/instances`, instanceBody('box'))
  await becomes(nexus, 'running')
  nexus.connected = [here.id, there.id]
  await nexus.ok('POST', `${box}/migrate`, { dst_sled_id: there.id })
  await becomes(nexus, 'running')
  await nexus.ok('POST', `${box}/stop`)
  await becomes(nexus, 'stopped')
  assert.deepEqual([...refused].toSorted(), [
    'disk.copy_fenced',
    'disk.ensure_fenced',
    'instance.ensure_fenced',
    'instance.migrate_in_fenced',
    'instance.migrate_out_fenced',
  ])
  for (const url of ['instances/box', 'snapshots/taken', 'disks/alpine']) {
    await nexus.ok('DELETE', `${project}/${url}`)
  }
  assert.deepEqual(await leaksOf(nexus), [])
})

/** A reconciliation that has looked at the instance on the sled and stands still, until it is let go on. */
async function beginReconcile(nexus: TestNexus, id: string) {
  const looked = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  nexus.asking = async (message, ask) => {
    const answer = await ask()
    if (message === 'instance.get') {
      looked.resolve()
      await gate.promise
    }
    return answer
  }
  const { sled_id } = await rowOf(nexus, id)
  const told = reconcileSled(nexus.services, sled_id)
  await looked.promise
  nexus.asking = null
  return async () => {
    gate.resolve()
    await told
  }
}
/** A box that was never started, or with what a member wrote that ended then. */
async function openBox(
  t: TestContext,
  written: Partial<Pick<Instance, 'pending_target' | 'run_state'>>,
) {
  const { nexus } = await open(t)
  const made = { ...instanceBody('box'), disks: [], external_ips: [], start: false }
  const { id } = await nexus.ok('POST', `${project}/instances`, made)
  await nexus.store.updateTable('instance').set(written).where('id', '=', id).execute()
  return { nexus, id: String(id) }
}

for (const { what, written, since, at_last } of [
  {
    what: 'a start that was pending',
    written: { pending_target: 'running' },
    since: ['start', 'stop'],
    at_last: 'stopped',
  },
  {
    what: 'a stop that was pending',
    written: { pending_target: 'stopped' },
    since: ['stop', 'start'],
    at_last: 'running',
  },
  {
    what: 'a guest that was lost',
    written: { run_state: 'running' },
    since: ['stop'],
    at_last: 'stopped',
  },
] as const) {
  test(`${what} when a sled was looked at undoes nothing: ${since.join(' and ')} came since`, async (t) => {
    const { nexus, id } = await openBox(t, written)
    const goOn = await beginReconcile(nexus, id)
    for (const verb of since) {
      await nexus.ok('POST', `${box}/${verb}`)
      await becomes(nexus, verb === 'start' ? 'running' : 'stopped')
    }
    await goOn()
    assert.deepEqual(await stateOf(nexus, id), { run_state: at_last, pending_target: null })
  })
}
