/** Short reads share a connection to PostgreSQL, and are answered also when that is lost. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { sql } from 'kysely'
import { limits } from '#config/limits.ts'
import { prepare } from '#actors/nexus/store/prepare.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { until } from '#test/kit/rack.ts'
import { emptyDatabase, postgres, readyStore } from './databases.ts'

const url = await emptyDatabase('postgres')
const store: Store = await readyStore(url)
after(async () => {
  await store.destroy()
})

/** A silo of this name, and which process of the database has read it. */
const siloNamed = prepare((from: Store, { name }: { readonly name: string }) =>
  from
    .selectFrom('silo')
    .select(['name', sql<number>`pg_backend_pid()`.as('pid')])
    .where('name', '=', name),
)
const publishedOf = prepare((from: Store, { what }: { readonly what: string }) =>
  from.selectFrom('published').select('generation').where('what', '=', what),
)
const many = 100
const readMany = async () =>
  await Promise.all(
    Array.from({ length: many }, async (_, at) => {
      const name = at % 3 === 0 ? 'nobody' : 'default-silo'
      const rows = await siloNamed(store, { name })
      assert.deepEqual(
        rows.map((row) => row.name),
        name === 'nobody' ? [] : [name],
      )
      return rows.map(({ pid }) => pid)
    }),
  )

/** The one process that reads for all; null while there are others. */
async function lookForLane(): Promise<number | null> {
  const [pid = null, ...others] = new Set((await readMany()).flat())
  return others.length === 0 ? pid : null
}
const lane = async () =>
  await until('many reads are one connection’s', 2 * limits.store_lane_ms_max, lookForLane)

test('many reads at once are one connection’s, and each gets its own answer', async () => {
  assert.equal(await lane(), await lane())
})

test('whoever reads while that connection is lost is answered all the same', async () => {
  const server = await postgres()
  for (let turn = 0; turn < 5; turn += 1) {
    const lost = await lane()
    let isLost = false
    const kill = server.psql(url, `select pg_terminate_backend(${lost})`).then(() => {
      isLost = true
    })
    while (!isLost) await Promise.all([readMany(), readMany()])
    await kill
    assert.notEqual(await lane(), lost)
  }
})

test('a read that waits for a lock holds up none that come later', async () => {
  const server = await postgres()
  await lane()
  const lock = 'begin; lock table published in access exclusive mode; select pg_sleep(60)'
  const held = server.psql(url, lock).catch(() => 'ended')
  const among = 'from pg_stat_activity where datname = current_database()'
  const count = async (which: string) =>
    Number(await server.psql(url, `select count(*) ${among} and ${which}`))
  const oneIs = async (which: string) => {
    await until(which, 2 * limits.store_lane_ms_max, async () =>
      (await count(which)) === 1 ? true : null,
    )
  }
  const waitsInPool = "wait_event_type = 'Lock' and application_name = 'nexus'"
  let slow: ReturnType<typeof publishedOf> | null = null
  try {
    await oneIs("wait_event = 'PgSleep'")
    slow = publishedOf(store, { what: 'nothing' })
    await oneIs("wait_event_type = 'Lock' and application_name = 'nexus short reads'")
    await setTimeout(limits.store_lane_slow_ms_max)
    await readMany()
    // The slow one was not given up yet: nobody had to wait for that.
    assert.equal(await count(waitsInPool), 0)
    // Then it is asked for elsewhere, and for a while nothing is where it was slow.
    await oneIs(waitsInPool)
    await readMany()
    assert.equal(
      await count("application_name = 'nexus short reads' and wait_event_type <> 'Lock'"),
      0,
    )
  } finally {
    await server.psql(url, `select pg_terminate_backend(pid) ${among} and wait_event = 'PgSleep'`)
    await held
  }
  assert.deepEqual(await slow, [])
  await lane()
})

test('a read sees what was committed before it, over whichever connection', async () => {
  await store.insertInto('published').values({ what: 'x', generation: 0 }).execute()
  for (let generation = 1; generation <= 100; generation += 1) {
    await store.updateTable('published').set({ generation }).where('what', '=', 'x').execute()
    assert.deepEqual(await publishedOf(store, { what: 'x' }), [{ generation }])
  }
})
