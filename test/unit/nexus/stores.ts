/** Where the tests' stores are: in memory, or in a PostgreSQL of the test file's own. */
import { after } from 'node:test'
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

/** The URL of a store that nobody has used. */
export async function newStore(): Promise<string> {
  return postgres === null ? 'sqlite::memory:' : await (await postgres).newDatabase()
}
