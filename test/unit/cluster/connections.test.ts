/** The lease store's connections to a PostgreSQL that falls silent, behind a relay that swallows. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { sql, type Kysely } from 'kysely'
import { leaseConnections } from '#runtime/cluster/postgres.ts'
import { sqlLeaseStore } from '#runtime/cluster/sql.ts'
import { postgresDatabase } from '#test/kit/lease_databases.ts'
import { startPostgres } from '#test/kit/postgres.ts'

const postgres = await startPostgres()
after(postgres.stop)

const socketName = '.s.PGSQL.5432'

/** Stands in front of the server. Connections that it once swallowed stay silent forever. */
async function relay() {
  const directory = mkdtempSync(join(tmpdir(), 'luge-relay-'))
  const sockets = new Set<Socket>()
  let isSwallowing = false
  const server = createServer((near) => {
    sockets.add(near)
    near.on('error', () => undefined)
    if (isSwallowing) return
    const far = connect(join(postgres.host, socketName))
    sockets.add(far)
    far.on('error', () => undefined)
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => {
    server.listen(join(directory, socketName), resolve)
  })
  after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    directory,
    swallow: () => {
      isSwallowing = true
      for (const socket of sockets) socket.unpipe().pause()
    },
    serve: () => {
      isSwallowing = false
    },
  }
}

test('a statement that nobody answers ends in time, and the next has a connection that works', async () => {
  const { url } = await postgresDatabase(postgres)
  const front = await relay()
  const through = url.replace(
    encodeURIComponent(postgres.host),
    encodeURIComponent(front.directory),
  )
  const db = leaseConnections(through, 1_000, () => undefined)
  after(async () => {
    await db.destroy()
  })
  const store = sqlLeaseStore(db)
  const session = await store.join({ member_id: 'a', address: '', supersede: false })
  assert.equal(await store.renew(session), true)
  front.swallow()
  await assert.rejects(store.renew(session), /timeout/i)
  await assert.rejects(store.renew(session), /timeout/i)
  front.serve()
  assert.equal(await store.renew(session), true)
})

const pidOf = async (on: Kysely<unknown>) =>
  (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(on)).rows[0]?.pid ?? 0

test('a connection that breaks between two statements fails the second, and nothing else', async () => {
  const { url } = await postgresDatabase(postgres)
  const db = leaseConnections(url, 10_000, () => undefined)
  after(async () => {
    await db.destroy()
  })
  const broken = db.transaction().execute(async (transaction) => {
    const pid = await pidOf(transaction)
    await postgres.psql(url, `SELECT pg_terminate_backend(${pid}, 10000)`)
    // What the server said last is read before anything else is asked.
    await setImmediate()
    await pidOf(transaction)
  })
  await assert.rejects(broken, /terminat|not queryable/i)
  assert.ok((await pidOf(db)) > 0)
})

test('connections that the server ended are replaced', async () => {
  const { url } = await postgresDatabase(postgres)
  const broken = Promise.withResolvers<Error>()
  const db = leaseConnections(url, 10_000, broken.resolve)
  after(async () => {
    await db.destroy()
  })
  const store = sqlLeaseStore(db)
  const session = await store.join({ member_id: 'a', address: '', supersede: false })
  const name = new URL(url.replace(/@[^/]*/, '@host')).pathname.slice(1)
  await postgres.psql(
    url,
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = '${name}' AND pid <> pg_backend_pid()`,
  )
  assert.match((await broken.promise).message, /terminat/)
  assert.equal(await store.renew(session), true)
})
