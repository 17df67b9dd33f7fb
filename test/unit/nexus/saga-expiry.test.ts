/** Sagas that ended long ago are removed; what has not ended never is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Services } from '#actors/nexus/context.ts'
import type { Tables } from '#actors/nexus/store/schema.ts'
import { tasks } from '#actors/nexus/tasks.ts'
import { limits } from '#config/limits.ts'
import { systemClock } from '#runtime/clock.ts'
import { TestNexus } from './kit.ts'

type Saga = Tables['saga']
const states = ['running', 'unwinding', 'succeeded', 'failed'] as const
const began_ms = 1_000_000

const gone = (count: number) => `${count} sagas that ended long ago are gone`
const sagaId = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`
/** One that ended at once, where it has ended and that is known. */
const row = (
  index: number,
  state: Saga['state'],
  time_created_ms: number,
  isEndKnown = true,
): Saga => ({
  id: sagaId(index),
  name: 'of-no-known-kind',
  params: 'null',
  state,
  error_node_name: state === 'failed' || state === 'unwinding' ? 'first' : null,
  error: null,
  time_created_ms,
  time_ended_ms:
    isEndKnown && (state === 'succeeded' || state === 'failed') ? time_created_ms : null,
  owner: null,
})

/** Sagas with a node each. */
async function insert({ store }: TestNexus, rows: readonly Saga[]): Promise<void> {
  await store.insertInto('saga').values(rows).execute()
  const nodes = rows.map(({ id }) => {
    return { saga_id: id, position: 0, name: 'first', state: 'done', output: 'null' } as const
  })
  await store.insertInto('saga_node').values(nodes).execute()
}

/** A run of the task at a moment. */
async function runAt({ services }: TestNexus, now_ms: number): Promise<string | null> {
  const task = tasks.find(({ name }) => name === 'saga-expiry')
  assert.ok(task !== undefined)
  const then: Services = { ...services, clock: { ...systemClock, now: () => now_ms } }
  return await task.run(then, false)
}

const listed = async ({ store }: TestNexus) => ({
  sagas: (await store.selectFrom('saga').select('id').orderBy('id').execute()).map(({ id }) => id),
  nodes: (
    await store.selectFrom('saga_node').select('saga_id as id').orderBy('saga_id').execute()
  ).map(({ id }) => id),
})

test('a saga goes a week after its end, with its nodes, and none goes that has not ended', async (t) => {
  const nexus = await TestNexus.during(t)
  const old = states.map((state, index) => row(index, state, began_ms))
  const young = states.map((state, index) => row(10 + index, state, began_ms + 1))
  // Members of the version before still end some.
  const before = states.map((state, index) => row(20 + index, state, began_ms, false))
  const long: Saga = { ...row(30, 'succeeded', began_ms), time_ended_ms: began_ms + 1 }
  const rows = [...old, ...young, ...before, long]
  await insert(nexus, rows)
  const all = rows.map(({ id }) => id)
  const week_ms = limits.saga_kept_ms

  assert.equal(await runAt(nexus, began_ms + week_ms), null, 'not before its time')
  assert.deepEqual(await listed(nexus), { sagas: all, nodes: all })

  assert.equal(await runAt(nexus, began_ms + week_ms + 1), gone(4))
  const left = all.filter((id) => ![2, 3, 22, 23].map(sagaId).includes(id))
  assert.deepEqual(await listed(nexus), { sagas: left, nodes: left })
  assert.equal((await nexus.call('GET', `/system/sagas/${sagaId(2)}`)).status, 404)

  assert.equal(await runAt(nexus, began_ms + 100 * week_ms), gone(3))
  const unfinished = [0, 1, 10, 11, 20, 21].map(sagaId)
  assert.deepEqual(await listed(nexus), { sagas: unfinished, nodes: unfinished })
  assert.equal(await runAt(nexus, began_ms + 100 * week_ms), null, 'however old they are')
})

test('when a saga ends is written down, however it ends', async (t) => {
  let isBroken = false
  const nexus = await TestNexus.during(t, (node, when) => {
    if (isBroken && node === 'project' && when === 'before') throw new Error('it fails')
  })
  await nexus.guide()
  await nexus.store.deleteFrom('saga').execute()
  const post = async (name: string) =>
    (await nexus.call('POST', '/organizations/myorg/projects', { name, description: 'x' })).status
  // The first begins with what fails, the second has something to undo.
  const statuses = [await post('myproj')]
  isBroken = true
  statuses.push(await post('second'))
  isBroken = false
  statuses.push(await post('second'))
  assert.deepEqual(statuses, [400, 500, 201])
  const sagas = await nexus.store
    .selectFrom('saga')
    .selectAll()
    .orderBy('time_created_ms')
    .execute()
  assert.deepEqual(
    sagas.map(({ state, time_created_ms, time_ended_ms }) => [
      state,
      time_ended_ms !== null && time_ended_ms >= time_created_ms,
    ]),
    [
      ['failed', true],
      ['failed', true],
      ['succeeded', true],
    ],
  )
})

test('a run removes a bounded number, and pages go on behind rows that are gone', async (t) => {
  const nexus = await TestNexus.during(t)
  const bound = limits.sweep_rows_max * limits.sweep_batches_max
  const extra = 3
  for (let from = 0; from < bound + extra; from += limits.sweep_rows_max) {
    const count = Math.min(limits.sweep_rows_max, bound + extra - from)
    const rows = Array.from({ length: count }, (_, index) =>
      row(from + index, 'succeeded', began_ms + from + index),
    )
    await insert(nexus, rows)
  }
  const young = [0, 1, 2].map((index) => row(bound + 10 + index, 'failed', 2 * began_ms))
  await insert(nexus, young)
  const first = await nexus.ok('GET', '/system/sagas?limit=2')
  assert.deepEqual(
    first.items.map(({ id }: { id: string }) => id),
    [sagaId(0), sagaId(1)],
  )

  const now_ms = 2 * began_ms + limits.saga_kept_ms
  assert.equal(await runAt(nexus, now_ms), `${bound} sagas that ended long ago are gone`)
  // The oldest went, the row that the token names among them.
  const seen: string[] = []
  let token: string | null = first.next_page
  while (token !== null) {
    const page = await nexus.ok('GET', `/system/sagas?limit=2&page_token=${token}`)
    seen.push(...page.items.map(({ id }: { id: string }) => id))
    token = page.next_page
    if (seen.length === 2) {
      assert.equal(await runAt(nexus, now_ms), `${extra} sagas that ended long ago are gone`)
    }
  }
  assert.deepEqual(seen, [sagaId(bound), sagaId(bound + 1), ...young.map(({ id }) => id)])
})
