/**
 * SQLite, embedded: one file, one connection, everything on it one after the other. A transaction takes
 * the write lock when it begins, so it is serializable and never has to give way half done.
 */
import Database from 'better-sqlite3'
import {
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
} from 'kysely'
import { limits } from '#config/limits.ts'
import { codeOf, StoreError, storeError, type StoreFailure } from './failure.ts'

/** Marks the file as ours ("nexu"), so that another program's database is not taken over. */
const application_id = 0x6e657875

/** Opens the file, or `:memory:`. Throws when it belongs to another program or is damaged. */
export function openSqlite(path: string): Database.Database {
  const file = new Database(path, { timeout: limits.store_busy_ms_max })
  try {
    const isEmpty = file.pragma('page_count', { simple: true }) === 0
    if (!isEmpty && file.pragma('application_id', { simple: true }) !== application_id) {
      throw new Error('it belongs to another program')
    }
    file.pragma(`application_id = ${application_id}`)
    file.pragma('journal_mode = WAL')
    file.pragma('synchronous = FULL')
    file.pragma('foreign_keys = ON')
    return file
  } catch (error) {
    file.close()
    throw error
  }
}

/** Kysely over an open file. `isReady` says when statements may run: before, the store is away. */
export function sqliteDialect(file: Database.Database, isReady: () => boolean): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new SqliteDriver(file, isReady),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

class SqliteDriver implements Driver {
  readonly #connection: Connection
  readonly #file: Database.Database

  constructor(file: Database.Database, isReady: () => boolean) {
    this.#connection = new Connection(file, isReady)
    this.#file = file
  }
  async init(): Promise<void> {}
  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection
  }
  async beginTransaction(): Promise<void> {
    this.#connection.run('begin immediate')
  }
  async commitTransaction(): Promise<void> {
    this.#connection.run('commit')
  }
  async rollbackTransaction(): Promise<void> {
    // Some failures, a full disk for one, have rolled back already.
    if (this.#file.inTransaction) this.#connection.run('rollback')
  }
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {
    this.#file.close()
  }
}

type Row = Record<string, unknown>
interface Prepared {
  readonly statement: Database.Statement<unknown[], Row>
  /** Columns of the result that were declared boolean: SQLite keeps 0 and 1. */
  readonly booleans: readonly string[]
}

class Connection implements DatabaseConnection {
  readonly #file: Database.Database
  readonly #isReady: () => boolean
  readonly #prepared = new Map<string, Prepared>()

  constructor(file: Database.Database, isReady: () => boolean) {
    this.#file = file
    this.#isReady = isReady
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.run(query.sql, query.parameters)
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('nothing is streamed from the store: it is read in pages')
  }

  run<R>(sql: string, parameters: readonly unknown[] = []): QueryResult<R> {
    if (!this.#isReady()) throw storeError('away', new Error('it is still being prepared'))
    try {
      const { statement, booleans } = this.#prepare(sql)
      const bound = parameters.map(toSqlite)
      if (!statement.reader) {
        return { rows: [], numAffectedRows: BigInt(statement.run(...bound).changes) }
      }
      const rows = statement.all(...bound)
      for (const row of rows) for (const name of booleans) row[name] = fromSqlite(row[name])
      if (!areRows<R>(rows)) throw new Error('SQLite gave a row that is no object')
      return { rows }
    } catch (error) {
      throw error instanceof StoreError ? error : storeError(failureOf(codeOf(error) ?? ''), error)
    }
  }

  #prepare(sql: string): Prepared {
    const known = this.#prepared.get(sql)
    if (known !== undefined) return known
    const statement = this.#file.prepare<unknown[], Row>(sql)
    const columns = statement.reader ? statement.columns() : []
    const booleans = columns.filter(({ type }) => type === 'boolean').map(({ name }) => name)
    if (this.#prepared.size >= limits.store_prepared_max) this.#prepared.clear()
    const made = { statement, booleans }
    this.#prepared.set(sql, made)
    return made
  }
}

/** Kysely types a row by the columns that the statement names: that it is one is all there is to check. */
const areRows = <R>(rows: unknown[]): rows is R[] =>
  rows.length === 0 || (typeof rows[0] === 'object' && rows[0] !== null)

function toSqlite(value: unknown): unknown {
  if (typeof value === 'boolean') return Number(value)
  // SQLite would keep it; what one dialect refuses, the other does too.
  if (typeof value === 'string' && value.includes('\0')) throw storeError('unstorable', null)
  return value
}
const fromSqlite = (value: unknown): boolean | null => (value === null ? null : value === 1)

function failureOf(code: string): StoreFailure | null {
  if (code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY') {
    return 'conflict'
  }
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return 'retry'
  return /^SQLITE_(IOERR|FULL|CANTOPEN|READONLY)/.test(code) ? 'away' : null
}
