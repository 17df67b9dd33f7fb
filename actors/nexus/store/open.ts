/** Opens the store, brings it to this program's version, and plants the built-in rows. */
import Database from 'better-sqlite3'
import { Kysely, sql, SqliteDialect, type Transaction } from 'kysely'
import { wellKnown } from '#config/addressing.ts'
import { explain } from '#runtime/result.ts'
import { migrations } from './migrations.ts'
import type { Tables } from './schema.ts'

/** The store, or a transaction of it: everything that reads and writes takes either. */
export type Store = Kysely<Tables>
export type StoreTransaction = Transaction<Tables>

export const builtIn = {
  fleet: '001de000-1334-4000-8000-000000000000',
  default_silo: '001de000-5110-4000-8000-000000000000',
} as const

/** Marks the file as ours ("nexu"), so that another program's database is not taken over. */
const application_id = 0x6e657875

/**
 * Opens `path` (or `:memory:`). Throws, naming the file, when it belongs to another program, comes
 * from a later version, or is damaged.
 */
export async function openStore(path: string, now_ms: number): Promise<Store> {
  try {
    const file = new Database(path)
    const isEmpty = file.pragma('page_count', { simple: true }) === 0
    const id = file.pragma('application_id', { simple: true })
    if (!isEmpty && id !== application_id) throw new Error('it belongs to another program')
    file.pragma('journal_mode = WAL')
    file.pragma('synchronous = FULL')
    file.pragma('foreign_keys = ON')
    migrate(file)
    const store = new Kysely<Tables>({ dialect: new SqliteDialect({ database: file }) })
    await plant(store, now_ms)
    return store
  } catch (cause) {
    throw new Error(`store ${path} cannot be used: ${explain(cause)}`, { cause })
  }
}

function migrate(file: Database.Database): void {
  const version = Number(file.pragma('user_version', { simple: true }))
  if (version > migrations.length) {
    throw new Error(`it is of version ${version}, this program knows ${migrations.length}`)
  }
  file.pragma(`application_id = ${application_id}`)
  for (const [index, statements] of migrations.entries()) {
    if (index < version) continue
    file.transaction(() => {
      for (const statement of statements) file.prepare(statement).run()
      file.pragma(`user_version = ${index + 1}`)
    })()
  }
}

async function plant(store: Store, now_ms: number): Promise<void> {
  const moment = { time_created_ms: now_ms, time_modified_ms: now_ms, time_deleted_ms: null }
  const silo_id = builtIn.default_silo
  await store
    .insertInto('silo')
    .values({
      id: silo_id,
      name: 'default-silo',
      description: 'default silo',
      ...moment,
      discoverable: 0,
      identity_mode: 'local_only',
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  for (const [external_id, id] of [
    ['privileged', wellKnown.user_privileged],
    ['unprivileged', wellKnown.user_unprivileged],
  ] as const) {
    await store
      .insertInto('silo_user')
      .values({ id, silo_id, external_id, time_created_ms: now_ms, time_deleted_ms: null })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
  for (const [resource_type, resource_id] of [
    ['fleet', builtIn.fleet],
    ['silo', builtIn.default_silo],
  ] as const) {
    const identity_id = wellKnown.user_privileged
    await store
      .insertInto('role_assignment')
      .values({ resource_type, resource_id, role_name: 'admin', identity_id })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}

/** The next generation of something that is sent out, durable before it is used. */
export async function nextGeneration(store: Store, what: string): Promise<number> {
  const { generation } = await store
    .insertInto('published')
    .values({ what, generation: 1 })
    .onConflict((conflict) =>
      conflict.column('what').doUpdateSet({ generation: sql`published.generation + 1` }),
    )
    .returning('generation')
    .executeTakeFirstOrThrow()
  return generation
}

/** Whether a write failed because a unique index already has the row. */
export const isConflict = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  error.code.startsWith('SQLITE_CONSTRAINT_')
