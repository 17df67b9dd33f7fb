/**
 * SQLite, embedded: one file, one connection, everything on it one after the other. A transaction has the
 * write lock when it begins, so it is serializable and never has to give way half done.
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
import { syncedFile, type SyncedFile } from '#runtime/files.ts'
import { codeOf, StoreError, storeError, type StoreFailure } from './failure.ts'
import type { ShortRead, ShortReads } from './prepare.ts'
import { Turns, type Transaction } from './turns.ts'

/** Marks the file as ours ("nexu"), so that another program's database is not taken over. */
const application_id = 0x6e657875

/**
 * Opens the file, or `:memory:`. Throws when it belongs to another program or is damaged. Until `prepared`,
 * other processes are waited for as long as they may need to prepare it: nobody is served yet.
 */
export function openSqlite(path: string): SqliteFile {
  const file = new Database(path, { timeout: limits.store_prepare_busy_ms_max })
  try {
    const isEmpty = file.pragma('page_count', { simple: true }) === 0
    if (!isEmpty && file.pragma('application_id', { simple: true }) !== application_id) {
      throw new Error('it belongs to another program')
    }
    file.pragma(`application_id = ${application_id}`)
    file.pragma('journal_mode = WAL')
    // 16 MiB of log: pages that are written again and again go to the file once for all of it.
    file.pragma('wal_autocheckpoint = 4096')
    // The log is synced here before anybody is answered: what FULL does, without stopping the thread.
    file.pragma('synchronous = NORMAL')
    // A savepoint copies the pages that change: to memory, not to a file that is made and deleted each time.
    file.pragma('temp_store = MEMORY')
    file.pragma('foreign_keys = ON')
    return new SqliteFile(file, file.memory ? null : syncedFile(`${path}-wal`))
  } catch (error) {
    file.close()
    throw error
  }
}

/** Kysely over an open file. `isReady` says when statements may run: before, the store is away. */
export function sqliteDialect(file: SqliteFile, isReady: () => boolean): Dialect {
  return {
    createAdapter: () => new Adapter(file, isReady),
    createDriver: () => new SqliteDriver(file, isReady),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

/** Who comes first is for `Turns` to say: kysely would hold everybody back until a commit is durable. */
class Adapter extends SqliteAdapter implements ShortReads {
  read: ShortReads['read']

  constructor(file: SqliteFile, isReady: () => boolean) {
    super()
    this.read = async <O>(given: ShortRead) => {
      if (!isReady()) throw notReady()
      return (await file.run<O>(given, null)).rows
    }
  }
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

class SqliteDriver implements Driver {
  readonly #file: SqliteFile
  readonly #isReady: () => boolean

  constructor(file: SqliteFile, isReady: () => boolean) {
    this.#file = file
    this.#isReady = isReady
  }
  async init(): Promise<void> {}
  async acquireConnection(): Promise<Connection> {
    if (!this.#isReady()) throw notReady()
    return new Connection(this.#file)
  }
  async beginTransaction(connection: Connection): Promise<void> {
    await connection.begin()
  }
  async commitTransaction(connection: Connection): Promise<void> {
    await connection.commit()
  }
  async rollbackTransaction(connection: Connection): Promise<void> {
    await connection.rollback()
  }
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {
    await this.#file.close()
  }
}

const notReady = () => storeError('away', new Error('it is still being prepared'))

type Row = Record<string, unknown>
interface Prepared {
  readonly statement: Database.Statement<unknown[], Row>
  /** Columns of the result that were declared boolean: SQLite keeps 0 and 1. */
  readonly booleans: readonly string[]
}

/** An open file, and what all connections to it share. */
export class SqliteFile {
  readonly turns: Turns
  readonly #file: Database.Database
  /** SQLite's write-ahead log; null where there is none. */
  readonly #log: SyncedFile | null
  readonly #prepared = new Map<string, Prepared>()

  constructor(file: Database.Database, log: SyncedFile | null) {
    this.#file = file
    this.#log = log
    this.turns = new Turns(file, log === null ? null : async () => await log.sync())
  }

  /** Runs a statement in a transaction, or by itself. */
  async run<R>(
    { sql, parameters }: ShortRead,
    transaction: Transaction | null,
  ): Promise<QueryResult<R>> {
    try {
      const prepared = this.#prepare(sql)
      const bound = parameters.map(toSqlite)
      const work = () => run<R>(prepared, bound)
      if (transaction !== null) return this.turns.within(transaction, work)
      return await this.turns.alone(prepared.statement.readonly ? 'read' : 'write', work)
    } catch (error) {
      throw inWords(error)
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

  /** From now on other processes are waited for as long as requests can. */
  prepared(): void {
    this.#file.pragma(`busy_timeout = ${limits.store_busy_ms_max}`)
  }

  async close(): Promise<void> {
    await this.turns.close()
    this.#log?.close()
  }
}

class Connection implements DatabaseConnection {
  readonly #file: SqliteFile
  #transaction: Transaction | null = null

  constructor(file: SqliteFile) {
    this.#file = file
  }

  async begin(): Promise<void> {
    try {
      this.#transaction = await this.#file.turns.begin()
    } catch (error) {
      throw inWords(error)
    }
  }

  async commit(): Promise<void> {
    const transaction = this.#transaction
    if (transaction === null) throw new Error('no transaction has begun')
    try {
      await this.#file.turns.commit(transaction)
    } catch (error) {
      throw inWords(error)
    }
  }

  async rollback(): Promise<void> {
    if (this.#transaction !== null) await this.#file.turns.rollback(this.#transaction)
  }

  executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#file.run<R>(query, this.#transaction)
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('nothing is streamed from the store: it is read in pages')
  }
}

function run<R>({ statement, booleans }: Prepared, bound: readonly unknown[]): QueryResult<R> {
  if (!statement.reader) {
    return { rows: [], numAffectedRows: BigInt(statement.run(...bound).changes) }
  }
  const rows = statement.all(...bound)
  if (booleans.length > 0) {
    for (const row of rows) for (const name of booleans) row[name] = fromSqlite(row[name])
  }
  if (!areRows<R>(rows)) throw new Error('SQLite gave a row that is no object')
  return { rows }
}

/** What SQLite says in its codes, as a failure of the store. */
const inWords = (error: unknown): unknown =>
  error instanceof StoreError ? error : storeError(failureOf(codeOf(error) ?? ''), error)

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
