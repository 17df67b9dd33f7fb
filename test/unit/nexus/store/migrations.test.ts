/** A store comes to this program's version from every earlier one, once, and never from a later one. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { sql, type Kysely } from 'kysely'
import { checksumOf, migrate, type Migration } from '#actors/nexus/store/migrate.ts'
import { migrations } from '#actors/nexus/store/migrations.ts'
import { addColumn, boolean, bytes, createTable, text, uuid } from '#actors/nexus/store/table.ts'
import { readStoreUrl } from '#actors/nexus/store/url.ts'
import { limits } from '#config/limits.ts'
import { systemClock } from '#runtime/clock.ts'
import { explain } from '#runtime/result.ts'
import { repository } from '#test/kit/rack.ts'
import { TestNexus } from '../kit.ts'
import {
  dialects,
  emptyDatabase,
  postgres,
  rawDatabase,
  readyStore,
  runModule,
  type Dialect,
} from './databases.ts'

/** What each released migration does, as a hash of its SQL: a difference here breaks every store there is. */
const released: Readonly<Record<string, string>> = {
  '0001-guide': '5178805f84ae40ff8d843385ceac9ba2bc90b5abf4d2492501b7924bd2ee1d91',
  '0002-identities': 'aaa95af557e87b31cbbdef6233237b23f300b5ab97cc857123fa56a1244b41e6',
  '0003-networks': '801c0b1f90e37b907da4b11151d342b7c194b5a4d6a12aa06dc4035419931006',
  '0004-identity-providers': '305dc559faaabc98945f3934c84b9e9c7ade3d2cc8f6ff671236fb4d42a30704',
  '0005-storage': '2566354c667badd263d8e819e21cc96e22fb0b33f55e12ab7a4ece4f2c379af3',
  '0006-cluster': 'a3441517f613bf7308f8d6c03db3a14d7abf52178da3dfcbeb3381a4286f68d4',
  '0007-hardware': '101dc9c70efb998bee846041639f99e3df09836eca99a10f2ef7dbfbac71f927',
  '0008-migration': '95a00f9da2013999cd617264acd30fc2a0811934364ca5e83914b3cb646a69ce',
  '0009-saga-ends': 'd6fa497ea7c7dd572f74c86504ed4fbb7adae6919ad0e1663a9535df600a4ae5',
}

/** Opens the store, brings it to this version, and closes it. */
const member = `
  import { openStore } from '#actors/nexus/store/open.ts'
  import { systemClock } from '#runtime/clock.ts'
  import { memoryLog } from '#runtime/log.ts'
  const { store, ready } = openStore({ url: process.argv[1], clock: systemClock, log: memoryLog() })
  await ready
  await store.destroy()`

const versions = join(import.meta.dirname, 'versions')
const rowsOf = (version: number) => join(versions, `${String(version).padStart(4, '0')}.sql`)
const statementsOf = (path: string) =>
  readFileSync(path, 'utf8')
    .replaceAll(/^--.*$/gm, '')
    .split(/;$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '')

async function fill(db: Kysely<unknown>, version: number): Promise<void> {
  if (!existsSync(rowsOf(version))) return
  for (const statement of statementsOf(rowsOf(version))) await sql.raw(statement).execute(db)
}

/** Migrates to a version, with the rows of that version and of all before, as a store that grew old has them. */
async function storeOfVersion(dialect: Dialect, version: number): Promise<string> {
  const url = await emptyDatabase(dialect)
  const db = rawDatabase(url)
  for (let at = 1; at <= version; at += 1) {
    await migrate(db, migrations.slice(0, at), systemClock)
    await fill(db, at)
  }
  await db.destroy()
  return url
}

/** A database as it is, let go of when the test ends. */
function databaseDuring(t: TestContext, url: string): Kysely<unknown> {
  const db = rawDatabase(url)
  t.after(async () => {
    await db.destroy()
  })
  return db
}

const project = '/organizations/old-org/projects/old-proj'

/** A Nexus on this store shows and moves on what the old version left. */
async function assertUsable(url: string): Promise<void> {
  const nexus = await TestNexus.start(() => undefined, url)
  try {
    await assertGoesOn(nexus)
  } finally {
    await nexus.stop()
  }
}

async function assertGoesOn(nexus: TestNexus): Promise<void> {
  const organization = await nexus.ok('GET', '/organizations/old-org')
  assert.equal(organization.description, 'Überbleibsel')
  assert.equal(organization.time_created, '2022-11-11T00:00:00.000Z')
  const disk = await nexus.ok('GET', `${project}/disks/old-disk`)
  assert.equal(disk.size, Number.MAX_SAFE_INTEGER)
  const nics = await nexus.ok('GET', `${project}/instances/old-inst/network-interfaces`)
  assert.equal(nics.items[0].primary, true)
  const rules = await nexus.ok('GET', `${project}/vpcs/default/firewall/rules`)
  assert.deepEqual(rules.rules[0].filters.ports, ['22'])
  await nexus.ok('DELETE', `${project}/instances/old-inst`)
  const again = await nexus.call('POST', '/organizations', { name: 'old-org', description: '' })
  assert.equal(again.json.error_code, 'ObjectAlreadyExists')
}

test('migrations are numbered files, one each, in order, and what they do never changes', async () => {
  const names = readdirSync(join(repository, 'actors/nexus/store/migrations')).toSorted()
  assert.deepEqual(
    migrations.map(({ name }) => `${name}.ts`),
    names,
  )
  for (const [index, migration] of migrations.entries()) {
    assert.ok(migration.name.startsWith(String(index + 1).padStart(4, '0')), migration.name)
    const checksum = await checksumOf(migration)
    assert.equal(
      checksum,
      released[migration.name],
      `${migration.name}: a new one goes into released as '${checksum}'; an old one must not change`,
    )
  }
})

for (const dialect of dialects) {
  for (const version of migrations.keys()) {
    test(`a ${dialect} store of version ${version + 1} goes on with all it holds`, async () => {
      await assertUsable(await storeOfVersion(dialect, version + 1))
    })
  }

  test(`a ${dialect} store goes from version to version with its rows`, async (t) => {
    const db = databaseDuring(t, await storeOfVersion(dialect, migrations.length))
    const next: readonly Migration[] = [
      { name: '9001-column', up: async (tx) => await addColumn(tx, 'silo', 'is_new', boolean) },
      {
        name: '9002-rows',
        up: async (tx) => {
          await sql`update silo set is_new = ${true} where discoverable = ${true}`.execute(tx)
        },
      },
      {
        name: '9003-table',
        up: async (tx) => await createTable(tx, 'more', { id: uuid, a: text, b: bytes }),
      },
    ]
    await migrate(db, [...migrations, ...next], systemClock)
    const { rows } = await sql`select name, discoverable, is_new from silo`.execute(db)
    assert.deepEqual(rows, [{ name: 'silo', discoverable: true, is_new: true }])
    const b = Buffer.from([0, 255, 10])
    await sql`insert into more (id, a, b) values ('1', 'x', ${b})`.execute(db)
    assert.deepEqual((await sql`select * from more`.execute(db)).rows, [{ id: '1', a: 'x', b }])
  })

  test(`a migration that fails leaves a ${dialect} store as it was`, async (t) => {
    const db = databaseDuring(t, await storeOfVersion(dialect, migrations.length))
    const broken: Migration = {
      name: '9001-broken',
      up: async (tx) => {
        await createTable(tx, 'half', { id: uuid })
        await sql`insert into nowhere (id) values ('1')`.execute(tx)
      },
    }
    await assert.rejects(migrate(db, [...migrations, broken], systemClock), /nowhere/)
    await assert.rejects(sql`select * from half`.execute(db), /half/)
    await migrate(db, migrations, systemClock)
  })

  test(`a ${dialect} store of a later version, or of another history, is refused in a sentence`, async (t) => {
    const url = await emptyDatabase(dialect)
    const db = databaseDuring(t, url)
    const later: Migration = {
      name: '9001-later',
      up: async (tx) => await createTable(tx, 'later', { id: uuid }),
    }
    await migrate(db, [...migrations, later], systemClock)
    await assert.rejects(readyStore(url), (error) => {
      const known = migrations.length
      assert.match(
        explain(error),
        new RegExp(
          `cannot be used: it is of version ${known + 1}, this program knows ${known}: use the program`,
        ),
      )
      return true
    })
    const other: Migration = { ...later, name: '9001-other' }
    await assert.rejects(
      migrate(db, [...migrations, other], systemClock),
      /"9001-later", here "9001-other" differs/,
    )
    const changed: Migration = {
      ...later,
      up: async (tx) => await createTable(tx, 'later', { id: text, a: text }),
    }
    await assert.rejects(migrate(db, [...migrations, changed], systemClock), /differs/)
  })

  test(`members that start at once on an empty ${dialect} database migrate it once`, async (t) => {
    const url = await emptyDatabase(dialect)
    const members = await Promise.all(
      Array.from({ length: 4 }, async () => await runModule(member, [url])),
    )
    assert.deepEqual(
      members,
      members.map(() => ({ code: 0, said: '' })),
    )
    const db = databaseDuring(t, url)
    const { rows } = await sql<{ n: number }>`select count(*) as n from schema_migration`.execute(
      db,
    )
    assert.deepEqual(rows, [{ n: migrations.length }])
  })
}

test('a member that starts while another process holds its new SQLite file waits for it', async () => {
  const url = await emptyDatabase('sqlite')
  const other = new Database(url.slice('sqlite:'.length))
  other.exec('begin immediate')
  const started = runModule(member, [url])
  // Longer than a request would be kept.
  await setTimeout(3 * limits.store_busy_ms_max)
  other.exec('commit')
  other.close()
  assert.deepEqual(await started, { code: 0, said: '' })
})

test('a SQLite file of before there were numbered migrations goes on with all it holds', async () => {
  const url = await emptyDatabase('sqlite')
  const place = readStoreUrl(url)
  assert.equal(place.dialect, 'sqlite')
  const file = new Database(place.dialect === 'sqlite' ? place.path : '')
  for (const path of [join(versions, 'before.sql'), rowsOf(1)]) {
    file.exec(readFileSync(path, 'utf8'))
  }
  file.close()
  await assertUsable(url)
  await assertUsableAgain(url)
})

/** Opening it once more changes nothing. */
async function assertUsableAgain(url: string): Promise<void> {
  const store = await readyStore(url)
  const rows = await store
    .selectFrom('silo')
    .select(['name', 'discoverable'])
    .orderBy('name')
    .execute()
  assert.deepEqual(rows, [
    { name: 'default-silo', discoverable: false },
    { name: 'silo', discoverable: true },
  ])
  await store.destroy()
}

test("another program's SQLite file, and what is no database, are refused by name", async () => {
  const url = await emptyDatabase('sqlite')
  const place = readStoreUrl(url)
  assert.ok(place.dialect === 'sqlite')
  new Database(place.path).exec('create table mine (id)').close()
  assert.throws(() => rawDatabase(url), /it belongs to another program/)
  await assert.rejects(
    async () => await readyStore('sqlite:/nowhere/at/all'),
    /store \/nowhere\/at\/all cannot be used/,
  )
})

test('a PostgreSQL database that does not sort by bytes is refused, and told how it is made', async () => {
  const server = await postgres()
  const url = await server.newDatabase()
  await server.psql(
    url,
    `create database icu template template0 locale_provider icu icu_locale 'en-US' locale 'C'`,
  )
  await assert.rejects(readyStore(url.replace(/[^/]*$/, 'icu')), (error) => {
    assert.match(explain(error), /does not sort text by its bytes: make the database with TEMPLATE/)
    return true
  })
})
