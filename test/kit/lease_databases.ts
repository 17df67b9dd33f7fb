/** Empty databases with the cluster's tables, in SQLite and in PostgreSQL, closed after the tests. */
import Database from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { after } from 'node:test'
import { leaseConnections } from '#runtime/cluster/postgres.ts'
import { createClusterTables } from '#runtime/cluster/sql.ts'
import type { Postgres } from './postgres.ts'

/** A table of the tests' own beside the cluster's: what holders of leases write. */
export interface Deeds {
  deed: { id: number; name: string; generation: number; author: string }
}

export async function sqliteDatabase(): Promise<Kysely<Deeds>> {
  return await prepare(
    new Kysely<Deeds>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) }),
  )
}

export async function postgresDatabase(
  postgres: Postgres,
): Promise<{ readonly url: string; readonly db: Kysely<Deeds> }> {
  const url = await postgres.newDatabase()
  return { url, db: await prepare(leaseConnections<Deeds>(url, 10_000, () => undefined)) }
}

async function prepare(db: Kysely<Deeds>): Promise<Kysely<Deeds>> {
  after(async () => {
    await db.destroy()
  })
  await createClusterTables(db)
  await db.schema
    .createTable('deed')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('generation', 'integer', (column) => column.notNull())
    .addColumn('author', 'text', (column) => column.notNull())
    .execute()
  return db
}
