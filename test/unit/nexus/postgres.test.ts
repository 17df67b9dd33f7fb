/** The tests of Nexus in this folder once more, with their stores in PostgreSQL. */
import assert from 'node:assert/strict'
import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { postgresFaults, sqliteFaults } from './plans.ts'
import { migrate, newStore, statements, stopPostgres, usePostgres } from './stores.ts'

usePostgres()
const files = globSync('*.test.ts', { cwd: fileURLToPath(new URL('.', import.meta.url)) })
/** This one, and what is about memory of Nexus itself, wherever its store is. */
const leftOut: ReadonlySet<string> = new Set(['postgres.test.ts', 'soak.test.ts'])
for (const file of files.toSorted()) {
  if (!leftOut.has(file)) await import(`./${file}`)
}
after(stopPostgres)

test('nothing that these tests asked of PostgreSQL scans a table that grows', async () => {
  assert.ok(statements.count > 80, `only ${statements.count} statements were seen`)
  assert.deepEqual(await postgresFaults(await newStore(), statements), [])
})

test('nor does SQLite for the same', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'luge-plans-'))
  context.after(() => {
    rmSync(directory, { recursive: true })
  })
  const path = join(directory, 'store')
  await migrate(`sqlite:${path}`)
  assert.deepEqual(sqliteFaults(path, statements), [])
})
