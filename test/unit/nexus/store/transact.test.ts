/** Transactions, what they rely on, and what values come back as, alike on both databases. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import { isConflict, StoreError } from '#actors/nexus/store/failure.ts'
import type { Store, StoreTransaction } from '#actors/nexus/store/schema.ts'
import { moveOn, nextGeneration, transact } from '#actors/nexus/store/transact.ts'
import { limits } from '#config/limits.ts'
import { systemClock, type Clock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import { dialects, emptyDatabase, readyStore } from './databases.ts'

const moment = { time_created_ms: 1, time_modified_ms: 1, time_deleted_ms: null }
const organization = (name: string, silo_id = 's') => ({
  id: systemRandom.uuid(),
  name,
  description: '',
  ...moment,
  silo_id,
})
const instance = (id: string) => ({
  id,
  name: id,
  description: '',
  ...moment,
  project_id: 'p',
  sled_id: 's',
  propolis_id: 'p',
  ncpus: 1,
  memory_bytes: Number.MAX_SAFE_INTEGER,
  hostname: 'h',
  user_data: '',
  public_keys: '[]',
  run_state: 'stopped' as const,
  time_run_state_updated_ms: 1,
  gen: 1,
  pending_target: null,
})
const failsAs = (failure: string) => (error: unknown) =>
  error instanceof StoreError && error.failure === failure

/** Looks whether there is one, and makes one when there is none: a write skew, by many at once. */
const makeFirst = async (tx: StoreTransaction) => {
  const found = await tx
    .selectFrom('organization')
    .select('id')
    .where('silo_id', '=', 'skew')
    .execute()
  if (found.length > 0) return 'found'
  await tx
    .insertInto('organization')
    .values(organization(`o${systemRandom.uuid()}`, 'skew'))
    .execute()
  return 'made'
}

const increment = async (tx: StoreTransaction) => {
  const { gen } = await tx
    .selectFrom('instance')
    .select('gen')
    .where('id', '=', 'counted')
    .executeTakeFirstOrThrow()
  assert.ok(await moveOn(tx, 'instance', { id: 'counted', gen }, { run_state: 'running' }))
}

const writeAndThrow = async (tx: StoreTransaction) => {
  await tx.insertInto('organization').values(organization('half', 'thrown')).execute()
  throw new RangeError('as asked')
}

const write = async (tx: StoreTransaction) => {
  await tx.insertInto('organization').values(organization('waited')).execute()
}

for (const dialect of dialects) {
  describe(`on ${dialect}`, () => {
    let url = ''
    let store: Store
    const means = () => ({ store, clock: systemClock, random: systemRandom, fence: null })
    const count = async (silo_id: string) =>
      (await store.selectFrom('organization').select('id').where('silo_id', '=', silo_id).execute())
        .length
    before(async () => {
      url = await emptyDatabase(dialect)
      store = await readyStore(url)
    })
    after(async () => {
      await store.destroy()
    })

    test('what a transaction has seen still holds when it commits', async () => {
      const all = await Promise.all(
        Array.from({ length: 12 }, async () => await transact(means(), makeFirst)),
      )
      assert.equal(all.filter((what) => what === 'made').length, 1)
      assert.equal(await count('skew'), 1)
    })

    test('counting up by many at once loses nothing', async () => {
      await store.insertInto('instance').values(instance('counted')).execute()
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          await transact(means(), increment)
        }),
      )
      const row = await store
        .selectFrom('instance')
        .selectAll()
        .where('id', '=', 'counted')
        .executeTakeFirstOrThrow()
      assert.equal(row.gen, 9)
      assert.equal(row.run_state, 'running')
    })

    test('a generation that somebody else has moved on is not moved again', async () => {
      await store.insertInto('instance').values(instance('moved')).execute()
      const seen = { id: 'moved', gen: 1 }
      const moves = await Promise.all(
        (['starting', 'stopping', 'failed'] as const).map(
          async (run_state) => await moveOn(store, 'instance', seen, { run_state }),
        ),
      )
      assert.equal(moves.filter(Boolean).length, 1)
      await store
        .updateTable('instance')
        .set({ time_deleted_ms: 2 })
        .where('id', '=', 'moved')
        .execute()
      assert.equal(await moveOn(store, 'instance', { id: 'moved', gen: 2 }, {}), false)
    })

    test('generations of what is sent out are never given twice', async () => {
      const given = await Promise.all(
        Array.from({ length: 20 }, async () => await nextGeneration(store, 'dns')),
      )
      assert.deepEqual(
        given.toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, index) => index + 1),
      )
    })

    test('what throws leaves nothing, whatever it had written', async () => {
      await assert.rejects(transact(means(), writeAndThrow), RangeError)
      assert.equal(await count('thrown'), 0)
    })

    test('when others are in the way every time, it ends after as many tries as allowed', async () => {
      let tries = 0
      let paused_ms = 0
      const clock: Clock = {
        ...systemClock,
        sleep: async (ms) => {
          paused_ms += ms
        },
      }
      const always = async () => {
        tries += 1
        throw new StoreError('retry', 'as asked', null)
      }
      await assert.rejects(transact({ ...means(), clock }, always), failsAs('retry'))
      assert.equal(tries, limits.store_tries_max)
      assert.ok(paused_ms <= limits.store_tries_max * limits.store_retry_ms_max)
    })

    test('a name is taken once among the live, and free again when its row is deleted', async () => {
      const first = organization('name', 'names')
      await store.insertInto('organization').values(first).execute()
      const again = async () => {
        await store.insertInto('organization').values(organization('name', 'names')).execute()
      }
      await assert.rejects(again, (error) => isConflict(error))
      await store
        .updateTable('organization')
        .set({ time_deleted_ms: 2 })
        .where('id', '=', first.id)
        .execute()
      await again()
      assert.equal(await count('names'), 2)
      const half = { ...organization('half', 'names'), description: sql<string>`null` }
      await assert.rejects(
        store.insertInto('organization').values(half).execute(),
        (error) => !isConflict(error),
      )
    })

    test('numbers to 2^53, booleans, text of any letters, and its order by bytes come back', async () => {
      await store.insertInto('instance').values(instance('values')).execute()
      const { memory_bytes } = await store
        .selectFrom('instance')
        .select('memory_bytes')
        .where('id', '=', 'values')
        .executeTakeFirstOrThrow()
      assert.equal(memory_bytes, Number.MAX_SAFE_INTEGER)
      const total = await store
        .selectFrom('instance')
        .select(({ fn }) => [fn.countAll<number>().as('rows'), fn.sum<number>('gen').as('gens')])
        .where('id', '=', 'values')
        .executeTakeFirstOrThrow()
      assert.deepEqual(total, { rows: 1, gens: 1 })
      const silo = { ...organization('silo'), identity_mode: 'local_only' as const }
      const { silo_id: _, ...row } = silo
      for (const discoverable of [true, false]) {
        await store
          .insertInto('silo')
          .values({ ...row, id: String(discoverable), name: String(discoverable), discoverable })
          .execute()
      }
      const hidden = await store
        .selectFrom('silo')
        .select(['id', 'discoverable'])
        .where('discoverable', '=', true)
        .execute()
      assert.deepEqual(hidden, [{ id: 'true', discoverable: true }])
      const names = ['b', 'a-b', 'ab', 'a0', 'Z', 'é', '🜁', '\uFF5E']
      for (const name of names) {
        await store.insertInto('organization').values(organization(name, 'order')).execute()
      }
      const ordered = await store
        .selectFrom('organization')
        .select('name')
        .where('silo_id', '=', 'order')
        .orderBy('name')
        .execute()
      assert.deepEqual(
        ordered.map(({ name }) => name),
        names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
      )
      await assert.rejects(
        store.insertInto('organization').values(organization('a\0b')).execute(),
        failsAs('unstorable'),
      )
    })
  })
}

test('a SQLite file that another process holds is waited for, and given up in the end', async () => {
  const url = await emptyDatabase('sqlite')
  const store = await readyStore(url)
  const other = new Database(url.slice('sqlite:'.length))
  let pauses = 0
  const clock: Clock = {
    ...systemClock,
    sleep: async () => {
      pauses += 1
      // Lets go at the second try.
      if (pauses === 2) other.exec('rollback')
    },
  }
  other.exec('begin immediate')
  await transact({ store, clock, random: systemRandom, fence: null }, write)
  assert.equal(pauses, 2)
  await store.destroy()
  other.close()
})
