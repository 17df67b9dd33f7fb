import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { startPostgres } from '#test/kit/postgres.ts'

const postgres = await startPostgres()
after(postgres.stop)

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

/** How a process was started; empty when it is no more. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

test('each database is empty, and pg and psql both reach it', async () => {
  const [one, other] = [await postgres.newDatabase(), await postgres.newDatabase()]
  await query(one, 'CREATE TABLE lamp (id TEXT)')
  assert.equal(await postgres.psql(one, 'SELECT count(*) FROM lamp'), '0')
  await assert.rejects(postgres.psql(other, 'SELECT count(*) FROM lamp'), /does not exist/)
})

test('it serves no network address and runs without privileges', async () => {
  const url = await postgres.newDatabase()
  assert.equal(await postgres.psql(url, 'SHOW listen_addresses'), '')
  assert.notEqual(statSync(`${postgres.host}/data/postmaster.pid`).uid, 0)
})

test('what was committed is there after the server was killed and started again', async () => {
  const url = await postgres.newDatabase()
  await query(url, 'CREATE TABLE lamp AS SELECT 7 AS id')
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  await postgres.kill()
  await assert.rejects(query(url, 'SELECT 1'))
  await assert.rejects(client.query('SELECT 1'))
  await postgres.start()
  assert.deepEqual(await query(url, 'SELECT id FROM lamp'), [{ id: 7 }])
})

test('nothing is left of it when its test is killed with -9', async () => {
  const kit = fileURLToPath(new URL('../../kit/postgres.ts', import.meta.url))
  const program = `
    import { readFileSync } from 'node:fs'
    import { startPostgres } from ${JSON.stringify(kit)}
    const { host } = await startPostgres()
    console.log(JSON.stringify({ host, pid: Number.parseInt(readFileSync(host + '/data/postmaster.pid', 'utf8'), 10) }))
    process.kill(process.pid, 'SIGKILL')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await once(child, 'close')
  const { host, pid } = JSON.parse(output) as { readonly host: string; readonly pid: number }
  const isLeft = () => existsSync(host) || commandOf(pid).includes(host)
  for (let tries = 0; isLeft() && tries < 600; tries += 1) await pause(50)
  assert.ok(!existsSync(host), `${host} is still there`)
  assert.ok(!commandOf(pid).includes(host), `the server ${pid} still runs`)
})
