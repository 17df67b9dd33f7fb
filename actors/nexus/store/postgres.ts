/**
 * PostgreSQL, and CockroachDB where it speaks the same: a pool of connections that comes back by itself
 * after the database was away. A statement on its own is atomic; what takes more than one is `transact`.
 */
import { createHash } from 'node:crypto'
import {
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  type TransactionSettings,
} from 'kysely'
import { DatabaseError, Pool, types, TypeOverrides, type PoolClient } from 'pg'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import type { Log } from '#runtime/log.ts'
import { codeOf, storeError, type StoreFailure } from './failure.ts'

/** int8 and numeric: the store's integers end at 2^53, so they are numbers. */
const numbers = new TypeOverrides()
numbers.setTypeParser(types.builtins.INT8, Number)
numbers.setTypeParser(types.builtins.NUMERIC, Number)

/** A pool that connects when it is asked to. Nothing that happens to an idle connection ends Nexus. */
export function openPostgres(url: string, log: Log): Pool {
  const pool = new Pool({
    connectionString: url,
    application_name: 'nexus',
    max: limits.store_connections_max,
    connectionTimeoutMillis: limits.store_connect_ms_max,
    statement_timeout: limits.store_statement_ms_max,
    query_timeout: limits.store_answer_ms_max,
    idle_in_transaction_session_timeout: limits.store_answer_ms_max,
    keepAlive: true,
    types: numbers,
  })
  const onLost = (error: Error) => {
    log.warn('a connection to the store was lost', { why: explain(error) })
  }
  pool.on('error', onLost)
  // One that is lost while it is lent out, between two statements, tells only its client.
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

/** Kysely over a pool. `isReady` says when statements may run: before, the store is away. */
export function postgresDialect(pool: Pool, isReady: () => boolean): Dialect {
  return {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new PostgresDriver(pool, isReady),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  }
}

class PostgresDriver implements Driver {
  readonly #pool: Pool
  readonly #isReady: () => boolean
  readonly #names = new StatementNames()

  constructor(pool: Pool, isReady: () => boolean) {
    this.#pool = pool
    this.#isReady = isReady
  }
  async init(): Promise<void> {}
  async acquireConnection(): Promise<Connection> {
    if (!this.#isReady()) throw storeError('away', new Error('it is still being prepared'))
    try {
      return new Connection(await this.#pool.connect(), this.#names)
    } catch (error) {
      throw storeError(failureOf(error) ?? 'away', error)
    }
  }
  async beginTransaction(connection: Connection, settings: TransactionSettings): Promise<void> {
    const level = settings.isolationLevel ?? 'serializable'
    await connection.command(`begin isolation level ${level}`)
    connection.isInTransaction = true
  }
  async commitTransaction(connection: Connection): Promise<void> {
    // A transaction that an error has ended answers COMMIT with ROLLBACK.
    const done = await connection.command('commit')
    connection.isInTransaction = false
    if (done === 'ROLLBACK') throw new Error('a transaction went on after a statement failed')
  }
  async rollbackTransaction(connection: Connection): Promise<void> {
    // One that cannot be rolled back is thrown away: the database rolls back for it.
    await connection.command('rollback').catch(() => undefined)
    connection.isInTransaction = false
  }
  async releaseConnection(connection: Connection): Promise<void> {
    connection.release()
  }
  async destroy(): Promise<void> {
    await this.#pool.end()
  }
}

/** Names of prepared statements: each is parsed once a connection. Bounded, for some texts vary. */
class StatementNames {
  readonly #names = new Map<string, string>()

  of(sql: string): string | null {
    const known = this.#names.get(sql)
    if (known !== undefined) return known
    if (this.#names.size >= limits.store_prepared_max) return null
    const name = createHash('sha256').update(sql).digest('hex').slice(0, 32)
    this.#names.set(sql, name)
    return name
  }
}

interface Statement {
  readonly name: string | null
  readonly text: string
  readonly values: unknown[]
}

class Connection implements DatabaseConnection {
  isInTransaction = false
  readonly #client: PoolClient
  readonly #names: StatementNames
  #isBroken = false

  constructor(client: PoolClient, names: StatementNames) {
    this.#client = client
    this.#names = names
  }

  /** A statement on its own that another was in the way of changed nothing: it is run again. */
  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    let name = this.#names.of(sql)
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#run<R>({ name, text: sql, values: [...parameters] })
      } catch (error) {
        if (isOldPlan(error)) name = null
        const failure = failureOf(error)
        const isLast = this.isInTransaction || tries >= limits.store_statement_tries_max
        if (failure !== 'retry' || isLast) throw storeError(failure, error)
      }
    }
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('nothing is streamed from the store: it is read in pages')
  }

  /** Runs BEGIN, COMMIT or ROLLBACK; gives what the database says it did. */
  async command(sql: string): Promise<string> {
    try {
      return (await this.#client.query(sql)).command
    } catch (error) {
      this.#note(error)
      throw storeError(failureOf(error), error)
    }
  }

  release(): void {
    this.#client.release(this.#isBroken || this.isInTransaction)
  }

  async #run<R>(statement: Statement): Promise<QueryResult<R>> {
    const { name, ...unnamed } = statement
    try {
      const done = await this.#client.query(name === null ? unnamed : { name, ...unnamed })
      const isWrite = ['INSERT', 'UPDATE', 'DELETE'].includes(done.command)
      // Kysely types a row by the columns that the statement names.
      const rows: R[] = done.rows
      return isWrite ? { rows, numAffectedRows: BigInt(done.rowCount ?? 0) } : { rows }
    } catch (error) {
      this.#note(error)
      throw error
    }
  }

  #note(error: unknown): void {
    if (!(error instanceof DatabaseError) || error.severity === 'FATAL') this.#isBroken = true
    // A plan of before a migration is only forgotten with its connection.
    if (isOldPlan(error)) this.#isBroken = true
  }
}

const isOldPlan = (error: unknown): boolean =>
  codeOf(error) === '0A000' && error instanceof Error && /cached plan/.test(error.message)

/** SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html */
function failureOf(error: unknown): StoreFailure | null {
  if (error instanceof TypeError || error instanceof RangeError) return null
  // What else the database did not say itself is about the way to it.
  if (!(error instanceof DatabaseError)) return 'away'
  const code = codeOf(error) ?? ''
  if (code === '23505') return 'conflict'
  if (code === '40001' || code === '40P01' || isOldPlan(error)) return 'retry'
  if (code === '22021' || code === '22P05') return 'unstorable'
  return /^(08|53|57|58)|^40003$|^25006$|^55P03$|^25P03$/.test(code) ? 'away' : null
}
