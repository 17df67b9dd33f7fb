/** All tests of Nexus in this folder once more, with their stores in PostgreSQL. */
import assert from 'node:assert/strict'
import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openStore } from '#actors/nexus/store/open.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { postgresFaults, sqliteFaults } from './plans.ts'
import { newStore, statements, usePostgres } from './stores.ts'

usePostgres()
const files = globSync('*.test.ts', { cwd: fileURLToPath(new URL('.', import.meta.url)) })
for (const file of files.toSorted()) {
  if (file !== 'postgres.test.ts') await import(`./${file}`)
}

const migrated = async (url: string) => {
  const { store, ready } = openStore({ url, clock: systemClock, log: memoryLog() })
  await ready
  await store.destroy()
  return url
}

test('nothing that these tests asked of PostgreSQL scans a table that grows', async () => {
  assert.ok(statements.count > 80, `only ${statements.count} statements were seen`)
  assert.deepEqual(await postgresFaults(await migrated(await newStore()), statements), [])
})

test('nor does SQLite for the same', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'luge-plans-'))
  context.after(() => {
    rmSync(directory, { recursive: true })
  })
  const path = join(directory, 'store')
  await migrated(`sqlite:${path}`)
  assert.deepEqual(sqliteFaults(path, statements), [])
})
