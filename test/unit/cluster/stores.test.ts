/** One suite against every lease store; and what only databases have: the guard of a transaction. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { sql, type Kysely } from 'kysely'
import { systemClock } from '#runtime/clock.ts'
import { joinCluster } from '#runtime/cluster/cluster.ts'
import { MemoryLeaseStore } from '#runtime/cluster/memory.ts'
import { leaseConnections } from '#runtime/cluster/postgres.ts'
import { assertHeld, createClusterTables, sqlLeaseStore, withLease } from '#runtime/cluster/sql.ts'
import type { Lease, Session } from '#runtime/cluster/store.ts'
import { postgresDatabase, sqliteDatabase, type Deeds } from '#test/kit/lease_databases.ts'
import { leaseStoreSuite } from '#test/kit/lease_store_suite.ts'
import { startPostgres } from '#test/kit/postgres.ts'
import { ok } from '#runtime/result.ts'

const postgres = await startPostgres()
after(postgres.stop)

leaseStoreSuite('memory', () => Promise.resolve(new MemoryLeaseStore()))
leaseStoreSuite('SQLite', async () => sqlLeaseStore(await sqliteDatabase()))
leaseStoreSuite('PostgreSQL', async () => sqlLeaseStore((await postgresDatabase(postgres)).db))

test('SQLite: one member lives on it, and writes under its lease through the same connection', async () => {
  const db = await sqliteDatabase()
  const joined = await joinCluster({
    store: sqlLeaseStore(db),
    time: { monotonic: () => performance.now(), after: systemClock.after },
    timing: { heartbeat_ms: 50, trust_ms_max: 10_000, silence_ms_min: 20_000 },
    member_id: 'a',
    address: '',
    supersede: false,
  })
  assert.ok(joined.ok)
  const { leases, membership } = joined.value
  const lease = await leases.acquire('lamp')
  assert.ok(lease.ok)
  const written = await withLease(db, lease.value, async (trx) => {
    await trx.insertInto('deed').values(deed(1, lease.value)).execute()
  })
  assert.ok(written.ok)
  while (membership.snapshot().counts.renewed < 2) await systemClock.sleep(10)
  assert.ok(leases.isHeld(lease.value))
  assert.ok((await membership.leave()).ok)
  assert.equal(leases.isHeld(lease.value), false)
  assert.deepEqual(await sqlLeaseStore(db).members(), [])
})

const databases: readonly (readonly [string, () => Promise<Kysely<Deeds>>])[] = [
  ['SQLite', sqliteDatabase],
  ['PostgreSQL', async () => (await postgresDatabase(postgres)).db],
]

async function holding(db: Kysely<Deeds>, name: string): Promise<readonly [Lease, Session]> {
  const store = sqlLeaseStore(db)
  const holder = await store.join({ member_id: 'a', address: 'a', supersede: false })
  const other = await store.join({ member_id: 'b', address: 'b', supersede: false })
  const lease = { ...holder, name, generation: 1 }
  assert.equal(await store.take(lease), true)
  return [lease, other]
}
const deedsOf = async (db: Kysely<Deeds>) =>
  (await db.selectFrom('deed').select('generation').orderBy('id').execute()).map(
    ({ generation }) => generation,
  )
const deed = (id: number, lease: Lease) => ({
  id,
  name: lease.name,
  generation: lease.generation,
  author: lease.member_id,
})

for (const [kind, open] of databases) {
  test(`${kind}: a write under a lease is kept, one under a lost lease is rolled back whole`, async () => {
    const db = await open()
    const store = sqlLeaseStore(db)
    const [lease, other] = await holding(db, 'lamp')
    const write = async (id: number, under: Lease) =>
      await withLease(db, under, async (trx) => {
        await trx.insertInto('deed').values(deed(id, under)).execute()
        return id
      })
    assert.deepEqual(await write(1, lease), ok(1))
    await store.release(lease)
    const next = { ...other, name: 'lamp', generation: 2 }
    await store.take(next)
    const stale = await write(2, lease)
    assert.equal(stale.ok ? '' : stale.error, 'lease_lost')
    assert.match(stale.ok ? '' : stale.detail, /generation 1 of lamp is no longer a#1's/)
    assert.equal((await write(3, next)).ok, true)
    assert.deepEqual(await deedsOf(db), [1, 2])
    // Also when the guard comes last.
    const late = db.transaction().execute(async (trx) => {
      await trx.insertInto('deed').values(deed(4, lease)).execute()
      await assertHeld(trx, lease)
    })
    await assert.rejects(late, { name: 'LeaseLost' })
    assert.deepEqual(await deedsOf(db), [1, 2])
  })

  test(`${kind}: another failure within the guarded work is not mistaken for a lost lease`, async () => {
    const db = await open()
    const [lease] = await holding(db, 'lamp')
    await assert.rejects(
      withLease(db, lease, () => Promise.reject(new Error('the bulb broke'))),
      /the bulb broke/,
    )
  })
}

test('PostgreSQL: a takeover waits for the guarded transaction that came first, then sees its writes', async () => {
  const { db } = await postgresDatabase(postgres)
  const store = sqlLeaseStore(db)
  const [lease, other] = await holding(db, 'lamp')
  await store.leave(lease)
  const guarded = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const written = withLease(db, lease, async (trx) => {
    guarded.resolve()
    await goOn.promise
    await trx.insertInto('deed').values(deed(1, lease)).execute()
  })
  await guarded.promise
  let taken: boolean | null = null
  const taking = (async () => {
    taken = await store.take({ ...other, name: 'lamp', generation: 2 })
    return await deedsOf(db)
  })()
  await untilBlocked(db)
  assert.equal(taken, null, 'nobody takes it while the transaction runs')
  goOn.resolve()
  assert.equal((await written).ok, true)
  assert.deepEqual(await taking, [1])
  assert.equal(taken, true)
})

/** Until the server itself says that a statement waits for a lock. */
async function untilBlocked(db: Kysely<Deeds>): Promise<void> {
  const waiting = sql`SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'`
  while ((await waiting.execute(db)).rows.length === 0) continue
}

test('PostgreSQL: members that start at once make the tables together', async () => {
  const url = await postgres.newDatabase()
  const connections = Array.from({ length: 6 }, () =>
    leaseConnections(url, 10_000, () => undefined),
  )
  await Promise.all(
    connections.map(async (db) => {
      await createClusterTables(db)
    }),
  )
  for (const db of connections) await db.destroy()
  assert.equal(await postgres.psql(url, 'SELECT count(*) FROM cluster_lease'), '0')
})
