/** Opens the store, waits for its database, brings it to this program's version. */
import { Kysely, sql, type Dialect } from 'kysely'
import { limits } from '#config/limits.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { explain } from '#runtime/result.ts'
import { plant } from './built-in.ts'
import { codeOf, StoreError } from './failure.ts'
import { migrate } from './migrate.ts'
import { migrations } from './migrations.ts'
import { guide } from './migrations/0001-guide.ts'
import { closePostgres, openPostgres, postgresDialect } from './postgres.ts'
import type { Store, Tables } from './schema.ts'
import { openSqlite, sqliteDialect } from './sqlite.ts'
import { takeOver } from './take-over.ts'
import { readStoreUrl, shownUrl, type StoreUrl } from './url.ts'
import { watchedDialect, type Watch } from './watched.ts'

export interface StoreOptions {
  /** `sqlite:PATH`, `sqlite::memory:`, `postgres://…`. */
  readonly url: string
  readonly clock: Clock
  readonly log: Log
  /** Knows what waits for the store; absent: nobody looks. */
  readonly watch?: Watch
}

export interface OpenedStore {
  /** May be used at once; until it is ready every statement throws `StoreError` with `away`. */
  readonly store: Store
  /**
   * Ends when the database was reached and is of this program's version. Waits, and says so in the log,
   * while it cannot be reached. Throws, naming the store, when it is another program's, of a later
   * version, or damaged.
   */
  readonly ready: Promise<void>
}

/** Opens the store. Throws a sentence when its URL cannot be read, or its file not opened. */
export function openStore(options: StoreOptions): OpenedStore {
  const url = readStoreUrl(options.url)
  const database = open(url, options.log)
  let isReady = false
  const dialect = database.dialect(() => isReady)
  const { watch } = options
  const store = new Kysely<Tables>({
    dialect: watch === undefined ? dialect : watchedDialect(dialect, watch),
  })
  const prepare = async () => {
    const unprepared = new Kysely<unknown>({ dialect: database.dialect(() => true) })
    await reach(unprepared, url, options)
    if (url.dialect === 'sqlite') await takeOver(unprepared, guide, options.clock.now())
    await migrate(unprepared, migrations, options.clock)
    isReady = true
    await plant(store, options.clock.now())
    database.prepared()
  }
  const ready = prepare().catch(async (cause: unknown) => {
    await database.close()
    throw cannotBeUsed(url, cause)
  })
  // Whoever waits for it is told; that nobody waits yet must not end the process.
  ready.catch(() => undefined)
  return { store, ready }
}

const cannotBeUsed = (url: StoreUrl, cause: unknown) =>
  new Error(`store ${shownUrl(url)} cannot be used`, { cause })

interface Database {
  readonly dialect: (isReady: () => boolean) => Dialect
  readonly prepared: () => void
  readonly close: () => Promise<void>
}

function open(url: StoreUrl, log: Log): Database {
  if (url.dialect === 'postgres') {
    const postgres = openPostgres(url.url, log)
    return {
      dialect: (isReady) => postgresDialect(postgres, isReady),
      prepared: () => undefined,
      close: async () => {
        await closePostgres(postgres)
      },
    }
  }
  try {
    const file = openSqlite(url.path)
    return {
      dialect: (isReady) => sqliteDialect(file, isReady),
      prepared: () => {
        file.prepared()
      },
      close: async () => {
        await file.close()
      },
    }
  } catch (cause) {
    throw cannotBeUsed(url, cause)
  }
}

/** Waits until the database answers, and sees that it sorts text as every store does: by its bytes. */
async function reach(
  db: Kysely<unknown>,
  url: StoreUrl,
  { clock, log }: StoreOptions,
): Promise<void> {
  for (;;) {
    try {
      const { rows } = await sql<{ bytewise: number }>`select
        case when 'a-b' < 'aa' and 'B' < 'a' then 1 else 0 end as bytewise`.execute(db)
      if (rows[0]?.bytewise === 1) return
      throw new Error(
        "it does not sort text by its bytes: make the database with TEMPLATE template0 LC_COLLATE 'C'",
      )
    } catch (error) {
      if (!(error instanceof StoreError && error.failure === 'away')) throw error
      // A wrong user, password or database name does not mend itself.
      if (/^(28|3D)/.test(codeOf(error.cause) ?? '')) throw error
      log.warn('the store is waited for', { store: shownUrl(url), why: explain(error.cause) })
    }
    await clock.sleep(limits.store_wait_ms)
  }
}
