/**
 * Brings a store to this program's version: each migration in a transaction of its own, by one member at
 * a time, and never past what this program knows.
 */
import { createHash } from 'node:crypto'
import {
  Kysely,
  sql,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Transaction,
} from 'kysely'
import { limits } from '#config/limits.ts'
import type { Clock } from '#runtime/clock.ts'
import { codeOf, StoreError } from './failure.ts'
import type { MigrationTransaction } from './table.ts'

/** One step of the schema. Once released it never changes; what was wrong with it, the next mends. */
export interface Migration {
  /** Its file's: `0001-guide`. */
  readonly name: string
  /** Either changes tables or fills rows; CockroachDB cannot fill a column where it was added. */
  readonly up: (db: MigrationTransaction) => Promise<void>
}

interface Applied {
  readonly version: number
  readonly name: string
  readonly checksum: string
}

/** Applies what is missing of `migrations`. Throws a sentence when the store is not of their line. */
export async function migrate(
  db: Kysely<unknown>,
  migrations: readonly Migration[],
  clock: Clock,
): Promise<void> {
  for (let collisions = 0; ;) {
    try {
      await ensureTables(db)
      while (await step(db, migrations, clock.now())) collisions = 0
      return
    } catch (error) {
      collisions += 1
      if (!isCollision(error) || collisions >= limits.store_tries_max) throw error
      await clock.sleep(limits.store_retry_ms_max)
    }
  }
}

/** Several members that start at once make the same tables; all but one are told so and look again. */
function isCollision(error: unknown): boolean {
  if (error instanceof StoreError) return error.failure === 'retry' || error.failure === 'conflict'
  return ['42P07', '42710', 'XX000'].includes(codeOf(error) ?? '')
}

/** Where it is kept which migrations a store has seen. */
export async function ensureTables(db: Kysely<unknown>): Promise<void> {
  await sql`create table if not exists schema_lock (id bigint not null primary key)`.execute(db)
  await sql`create table if not exists schema_migration (version bigint not null primary key,
    name text not null, checksum text not null, time_applied_ms bigint not null)`.execute(db)
  await sql`insert into schema_lock (id) values (1) on conflict do nothing`.execute(db)
}

/** Applies the next migration; false when there is none. Read committed, to see what the last holder did. */
async function step(
  db: Kysely<unknown>,
  migrations: readonly Migration[],
  now_ms: number,
): Promise<boolean> {
  return await db
    .transaction()
    .setIsolationLevel('read committed')
    .execute(async (tx) => {
      await lock(tx)
      const { rows: applied } =
        await sql<Applied>`select version, name, checksum from schema_migration order by version`.execute(
          tx,
        )
      await refuseOthers(applied, migrations)
      const next = migrations[applied.length]
      if (next === undefined) return false
      await next.up(tx)
      await record(tx, { version: applied.length + 1, migration: next, now_ms })
      return true
    })
}

/** Notes that a migration was applied, in the transaction that did it. */
export async function record(
  tx: MigrationTransaction,
  applied: {
    readonly version: number
    readonly migration: Migration
    readonly now_ms: number
  },
): Promise<void> {
  const { version, migration, now_ms } = applied
  await sql`insert into schema_migration (version, name, checksum, time_applied_ms)
    values (${version}, ${migration.name}, ${await checksumOf(migration)}, ${now_ms})`.execute(tx)
}

/** SQLite's transactions exclude each other already, and it knows no row locks. */
async function lock(tx: Transaction<unknown>): Promise<void> {
  const isSqlite = tx.getExecutor().adapter instanceof SqliteAdapter
  if (!isSqlite) await sql`select id from schema_lock where id = 1 for update`.execute(tx)
}

async function refuseOthers(
  applied: readonly Applied[],
  migrations: readonly Migration[],
): Promise<void> {
  if (applied.length > migrations.length) {
    throw new Error(
      `it is of version ${applied.length}, this program knows ${migrations.length}: use the program that wrote it, or a later one`,
    )
  }
  for (const [index, { version, name, checksum }] of applied.entries()) {
    const known = migrations[index]
    if (known === undefined || version !== index + 1) throw new Error('its versions have a gap')
    if (known.name !== name || checksum !== (await checksumOf(known))) {
      throw new Error(
        `its version ${version} is not this program's: there it is "${name}", here "${known.name}" differs`,
      )
    }
  }
}

const nothing = async () => undefined

/** SHA-256 of the SQL that a migration runs: comments and layout may change, what it does may not. */
export async function checksumOf(migration: Migration): Promise<string> {
  const hash = createHash('sha256')
  const connection: DatabaseConnection = {
    executeQuery: async (query) => {
      hash.update(`${query.sql.replaceAll(/\s+/g, ' ')};${JSON.stringify(query.parameters)}\n`)
      return { rows: [] }
    },
    streamQuery: () => {
      throw new Error('a migration does not stream')
    },
  }
  const recorder = new Kysely<unknown>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => ({
        init: nothing,
        acquireConnection: async () => connection,
        beginTransaction: nothing,
        commitTransaction: nothing,
        rollbackTransaction: nothing,
        releaseConnection: nothing,
        destroy: nothing,
      }),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  })
  await recorder.transaction().execute(migration.up)
  return hash.digest('hex')
}
