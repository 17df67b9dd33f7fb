/** What SQLite does in one turn of the event loop: one commit, and nobody's failure is another's. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import Database from 'better-sqlite3'
import { Kysely, sql } from 'kysely'
import { openSqlite, sqliteDialect } from '#actors/nexus/store/sqlite.ts'
import { Turns } from '#actors/nexus/store/turns.ts'

const directory = mkdtempSync(join(tmpdir(), 'luge-turns-'))
const path = join(directory, 'file.db')
const db = new Kysely<{ word: { text: string } }>({
  dialect: sqliteDialect(openSqlite(path), () => true),
})
await db.schema
  .createTable('word')
  .addColumn('text', 'text', (column) => column.unique())
  .execute()
const other = new Database(path)
after(async () => {
  other.close()
  await db.destroy()
  rmSync(directory, { recursive: true })
})

const add = async (text: string) => await db.insertInto('word').values({ text }).execute()
/** What is durable: what another connection sees. */
const seen = () =>
  other
    .prepare<unknown[], { readonly text: string }>('select text from word order by text')
    .all()
    .map(({ text }) => text)

test('writes of one turn are committed together, and answered when they are durable', async () => {
  const answered: string[] = []
  const both = ['a', 'b'].map(async (text) => {
    await add(text)
    assert.deepEqual(seen(), ['a', 'b'])
    answered.push(text)
  })
  await db.selectFrom('word').selectAll().execute()
  await Promise.all(both)
  assert.deepEqual(answered, ['a', 'b'])
})

test('a transaction that fails takes nothing of others in its turn with it', async () => {
  const outcomes = await Promise.allSettled([
    add('c'),
    db.transaction().execute(async (transaction) => {
      await transaction.insertInto('word').values({ text: 'd' }).execute()
      throw new Error('no')
    }),
    db.transaction().execute(async (transaction) => {
      await transaction.insertInto('word').values({ text: 'e' }).execute()
    }),
    add('c'),
    add('f'),
  ])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
  )
  assert.deepEqual(seen(), ['a', 'b', 'c', 'e', 'f'])
})

test('a transaction sees its own writes, also over several turns, and others wait for it', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const long = db.transaction().execute(async (transaction) => {
    await transaction.insertInto('word').values({ text: 'g' }).execute()
    await promise
    return await transaction.selectFrom('word').selectAll().where('text', '>=', 'g').execute()
  })
  const late = add('h')
  setImmediate(() => setImmediate(resolve))
  assert.deepEqual(await long, [{ text: 'g' }])
  await late
  assert.deepEqual(seen().slice(-2), ['g', 'h'])
})

test('when a commit fails everybody in the turn is told, nothing of it is there, and the next goes on', async () => {
  await db.schema
    .createTable('part')
    .addColumn('of', 'text', (column) =>
      column.references('word.text').modifyEnd(sql`deferrable initially deferred`),
    )
    .execute()
  // A deferred constraint is looked at by the commit.
  const orphan = sql`insert into part ("of") values ('nothing')`.execute(db)
  const outcomes = await Promise.allSettled([orphan, add('i')])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  assert.equal(seen().includes('i'), false)
  await add('i')
  assert.equal(seen().at(-1), 'i')
})

/** Turns of a file, each sync of which ends when the test says so. */
function slowDisk() {
  const file = new Database(':memory:')
  file.exec('create table word (text)')
  const syncs: PromiseWithResolvers<void>[] = []
  const turns = new Turns(file, async () => {
    const sync = Promise.withResolvers<void>()
    syncs.push(sync)
    await sync.promise
  })
  const told: string[] = []
  const note = async (what: string, kind: 'read' | 'write') => {
    try {
      await turns.alone(kind, () => {
        if (kind === 'write') file.prepare('insert into word values (?)').run(what)
      })
      told.push(what)
    } catch (error) {
      told.push(`${what}: ${String(error)}`)
    }
  }
  return { turns, syncs, told, note }
}
const turn = async () => {
  for (let count = 0; count < 3; count += 1) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
  }
}

test('who wrote, or saw what was written, goes on when the disk has it; turns meanwhile share a sync', async () => {
  const { syncs, told, note, turns } = slowDisk()
  await note('before', 'read')
  void note('a', 'write')
  await turn()
  for (const [what, kind] of [
    ['b', 'write'],
    ['after b', 'read'],
    ['c', 'write'],
  ] as const) {
    void note(what, kind)
    await turn()
  }
  assert.deepEqual([told, syncs.length], [['before'], 1])
  syncs[0]?.resolve()
  await turn()
  assert.deepEqual([told, syncs.length], [['before', 'a'], 2])
  syncs[1]?.resolve()
  await turn()
  assert.deepEqual([told.toSorted(), syncs.length], [['a', 'after b', 'b', 'before', 'c'], 2])
  await turns.close()
})

test('what the disk does not take is told to all who wait, and nothing goes on with the file', async () => {
  const { syncs, told, note, turns } = slowDisk()
  void note('a', 'write')
  await turn()
  void note('b', 'write')
  await turn()
  syncs[0]?.reject(new Error('EIO'))
  await turn()
  void note('c', 'write')
  void note('d', 'read')
  await turn()
  const why = 'Error: what is written cannot be made durable'
  assert.deepEqual(
    told,
    ['a', 'b', 'c', 'd'].map((what) => `${what}: ${why}`),
  )
  assert.equal(syncs.length, 1)
  await turns.close()
})
