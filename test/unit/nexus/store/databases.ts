/** Both kinds of database, for tests that are about the store itself. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { Kysely } from 'kysely'
import { openStore } from '#actors/nexus/store/open.ts'
import { openPostgres, postgresDialect } from '#actors/nexus/store/postgres.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { openSqlite, sqliteDialect } from '#actors/nexus/store/sqlite.ts'
import { readStoreUrl } from '#actors/nexus/store/url.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { repository } from '#test/kit/rack.ts'

export const dialects = ['sqlite', 'postgres'] as const
export type Dialect = (typeof dialects)[number]

const directory = mkdtempSync(join(tmpdir(), 'luge-stores-'))
let started: Promise<Postgres> | null = null
let files = 0
after(async () => {
  rmSync(directory, { recursive: true })
  if (started !== null) await (await started).stop()
})

/** The PostgreSQL of this test file. */
export async function postgres(): Promise<Postgres> {
  started ??= startPostgres()
  return await started
}

/** The URL of an empty database. */
export async function emptyDatabase(dialect: Dialect): Promise<string> {
  if (dialect === 'postgres') return await (await postgres()).newDatabase()
  files += 1
  return `sqlite:${join(directory, String(files))}`
}

/** A store as Nexus has it. */
export async function readyStore(url: string): Promise<Store> {
  const { store, ready } = openStore({ url, clock: systemClock, log: memoryLog() })
  await ready
  return store
}

/** A database as it is, whatever is in it. */
export function rawDatabase(text: string): Kysely<unknown> {
  const url = readStoreUrl(text)
  return new Kysely<unknown>({
    dialect:
      url.dialect === 'sqlite'
        ? sqliteDialect(openSqlite(url.path), () => true)
        : postgresDialect(openPostgres(url.url, memoryLog()), () => true),
  })
}

/** Runs a module in a process of its own, from the repository; gives its exit code and what it said. */
export async function runModule(source: string, args: readonly string[]) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, ...args], {
    cwd: repository,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stdout.on('data', (part: Buffer) => (said += part.toString()))
  child.stderr.on('data', (part: Buffer) => (said += part.toString()))
  await once(child, 'close')
  return { code: child.exitCode, said }
}
