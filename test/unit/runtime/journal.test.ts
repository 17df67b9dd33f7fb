/** The journal: what was acknowledged is there, and what it cannot read is named. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { Journal } from '#runtime/journal.ts'

const directory = mkdtempSync(join(tmpdir(), 'luge-journal-'))
after(() => {
  rmSync(directory, { recursive: true, force: true })
})
const file = (name: string) => join(directory, name)

test('entries survive closing, and are replaced and removed by kind and id', async () => {
  const journal = new Journal(file('a.sqlite'))
  await journal.put({ kind: 'disk', id: '1', document: { size: 1 } })
  await journal.put({ kind: 'disk', id: '1', document: { size: 2 } })
  await journal.put({ kind: 'zone', id: '1', document: ['x', null] })
  await journal.put({ kind: 'zone', id: '2', document: 'gone' })
  await journal.remove('zone', '2')
  journal.close()
  const again = new Journal(file('a.sqlite'))
  assert.deepEqual(again.get('disk', '1'), { size: 2 })
  assert.equal(again.get('disk', '2'), null)
  assert.deepEqual(again.list('zone'), [{ kind: 'zone', id: '1', document: ['x', null] }])
  assert.equal(again.list(null).length, 2)
  again.close()
})

test('writes of one tick share a commit', async () => {
  const path = file('b.sqlite')
  const journal = new Journal(path)
  const reader = new Database(path, { readonly: true })
  const commits = () => Number(reader.pragma('data_version', { simple: true }))
  const before = commits()
  await Promise.all(
    Array.from({ length: 100 }, async (_, id) => {
      await journal.put({ kind: 'k', id: String(id), document: id })
    }),
  )
  assert.equal(commits(), before + 1)
  assert.equal(journal.list('k').length, 100)
  reader.close()
  journal.close()
})

test('a damaged file, another program’s and a later version’s are named with what to do', async () => {
  const remedy = /move it away to begin with an empty journal, or restore a copy/
  const damaged = file('damaged.sqlite')
  writeFileSync(damaged, 'this is no database at all, but it is long enough to be read as one')
  assert.throws(() => new Journal(damaged), remedy)
  const foreign = file('foreign.sqlite')
  const other = new Database(foreign)
  other.prepare('CREATE TABLE t (x)').run()
  other.close()
  assert.throws(() => new Journal(foreign), /foreign\.sqlite.*belongs to another program/)
  const later = file('later.sqlite')
  new Journal(later).close()
  const raised = new Database(later)
  raised.pragma('user_version = 99')
  raised.close()
  assert.throws(() => new Journal(later), /later\.sqlite.*version 99/)
})

test('kill -9 loses nothing that was acknowledged', async () => {
  const path = file('killed.sqlite')
  const program = `
    import { Journal } from '${fileURLToPath(new URL('../../../runtime/journal.ts', import.meta.url))}'
    const journal = new Journal(${JSON.stringify(path)})
    for (let at = 0; ; at += 1) {
      await journal.put({ kind: 'k', id: String(at), document: at })
      process.stdout.write(at + '\\n')
    }`
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  const enough = Promise.withResolvers<void>()
  child.stdout.on('data', (data: Buffer) => {
    said += data.toString()
    if (said.split('\n').length > 50) enough.resolve()
  })
  await enough.promise
  child.kill('SIGKILL')
  const ended = Promise.withResolvers<void>()
  child.once('close', () => {
    ended.resolve()
  })
  await ended.promise
  const acknowledged = said.split('\n').slice(0, -1).map(Number)
  const journal = new Journal(path)
  for (const at of acknowledged) assert.equal(journal.get('k', String(at)), at)
  journal.close()
})
