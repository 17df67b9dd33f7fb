/** SQLite files of before there were numbered migrations: the same tables, booleans declared integers. */
import { sql, type Kysely } from 'kysely'
import { ensureTables, record, type Migration } from './migrate.ts'
import type { MigrationTransaction } from './table.ts'

/** Makes the old tables anew as `first` has them, with all their rows. Changes nothing in any other file. */
export async function takeOver(
  db: Kysely<unknown>,
  first: Migration,
  now_ms: number,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const [version] = (await sql<{ user_version: number }>`pragma user_version`.execute(tx)).rows
    if (version?.user_version !== 1) return
    for (const name of await namesOf(tx, 'index')) {
      await sql`drop index ${sql.ref(name)}`.execute(tx)
    }
    const tables = await namesOf(tx, 'table')
    for (const name of tables) {
      await sql`alter table ${sql.ref(name)} rename to ${sql.ref(`old_${name}`)}`.execute(tx)
    }
    await ensureTables(tx)
    await first.up(tx)
    await record(tx, { version: 1, migration: first, now_ms })
    for (const name of tables) await move(tx, `old_${name}`, name)
    await sql`pragma user_version = 0`.execute(tx)
  })
}

async function namesOf(
  tx: MigrationTransaction,
  type: 'index' | 'table',
): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`select name from sqlite_schema
    where type = ${type} and sql is not null and name not like 'sqlite_%' order by name`.execute(tx)
  return rows.map(({ name }) => name)
}

async function move(tx: MigrationTransaction, from: string, to: string): Promise<void> {
  const { rows } = await sql<{ name: string }>`select name from pragma_table_info(${from})`.execute(
    tx,
  )
  const columns = sql.join(rows.map(({ name }) => sql.ref(name)))
  await sql`insert into ${sql.ref(to)} (${columns}) select ${columns} from ${sql.ref(from)}`.execute(
    tx,
  )
  await sql`drop table ${sql.ref(from)}`.execute(tx)
}
