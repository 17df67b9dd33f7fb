/** Where the tests' stores are: in memory, or in a PostgreSQL of the test file's own. */
import { after } from 'node:test'
import { openStore } from '#actors/nexus/store/open.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { Statements } from './plans.ts'

/** What Nexus asked of all stores of this process. */
export const statements = new Statements()

let postgres: Promise<Postgres> | null = null

/** From now on every test of this process has its stores in PostgreSQL. To be called once, before tests. */
export function usePostgres(): void {
  const started = startPostgres()
  postgres = started
  after(async () => {
    await (await started).stop()
  })
}

let migrated: Promise<string> | null = null
const unused: string[] = []

/** The URL of a store that nobody has used. */
export async function newStore(): Promise<string> {
  if (postgres === null) return 'sqlite::memory:'
  const server = await postgres
  const again = unused.pop()
  if (again !== undefined) return again
  // The migrations are run once, and what they made is copied.
  migrated ??= migrate(await server.newDatabase())
  return await server.newDatabase(await migrated)
}

const deleteAll = `
do $$ declare one text; begin
  for one in select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_migration' loop
    execute 'delete from ' || quote_ident(one);
  end loop;
end $$`

/** A store that its test has closed may be another's: empty, but with all its tables. */
export async function giveBack(url: string): Promise<void> {
  if (postgres === null) return
  await (await postgres).psql(url, deleteAll)
  unused.push(url)
}

/** Brings a new database up to the present version; gives its URL back. */
export async function migrate(url: string): Promise<string> {
  const { store, ready } = openStore({ url, clock: systemClock, log: memoryLog() })
  await ready
  await store.destroy()
  return url
}
