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
import {
  Client,
  DatabaseError,
  Pool,
  types,
  TypeOverrides,
  type ClientConfig,
  type PoolClient,
  type QueryConfig,
  type QueryResult as PostgresResult,
} from 'pg'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import type { Log } from '#runtime/log.ts'
import { codeOf, StoreError, storeError, type StoreFailure } from './failure.ts'
import { Lane } from './lane.ts'
import type { ShortRead, ShortReads } from './prepare.ts'

/** int8 and numeric: the store's integers end at 2^53, so they are numbers. */
const numbers = new TypeOverrides()
numbers.setTypeParser(types.builtins.INT8, Number)
numbers.setTypeParser(types.builtins.NUMERIC, Number)

/** The ways to a database: connections for what takes long or writes, and one that short reads share. */
export interface Postgres {
  readonly pool: Pool
  readonly lane: Lane
}

/** They connect when they are asked to. Nothing that happens to an idle connection ends Nexus. */
export function openPostgres(url: string, log: Log): Postgres {
  const config: ClientConfig = {
    connectionString: url,
    application_name: 'nexus',
    connectionTimeoutMillis: limits.store_connect_ms_max,
    statement_timeout: limits.store_statement_ms_max,
    query_timeout: limits.store_answer_ms_max,
    idle_in_transaction_session_timeout: limits.store_answer_ms_max,
    keepAlive: true,
    types: numbers,
    pipeline: true,
  }
  const onLost = (error: Error) => {
    log.warn('a connection to the store was lost', { why: explain(error) })
  }
  const pool = new Pool({ ...config, max: limits.store_connections_max - 1 })
  pool.on('error', onLost)
  // One that is lost while it is lent out, between two statements, tells only its client.
  pool.on('connect', (client) => client.on('error', () => undefined))
  const laneConfig: ClientConfig = {
    ...config,
    application_name: 'nexus short reads',
    query_timeout: limits.store_lane_ms_max,
  }
  return { pool, lane: new Lane(laneConfig, onLost) }
}

export async function closePostgres({ pool, lane }: Postgres): Promise<void> {
  await lane.close()
  await pool.end()
}

/** Kysely over them. `isReady` says when statements may run: before, the store is away. */
export function postgresDialect(postgres: Postgres, isReady: () => boolean): Dialect {
  const names = new StatementNames()
  return {
    createAdapter: () => new Adapter(postgres, names, isReady),
    createDriver: () => new PostgresDriver(postgres, names, isReady),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  }
}

/** Short reads go over the lane. */
class Adapter extends PostgresAdapter implements ShortReads {
  read: ShortReads['read']

  constructor({ lane }: Postgres, names: StatementNames, isReady: () => boolean) {
    super()
    this.read = async <O>({ sql: text, parameters }: ShortRead) => {
      if (!isReady()) throw notReady()
      const statement = { name: names.of(text), text, values: [...parameters] }
      const read = await inWords(async () => await lane.read(statement))
      return read === null ? null : resultOf<O>(read).rows
    }
  }
}

const notReady = () => storeError('away', new Error('it is still being prepared'))

class PostgresDriver implements Driver {
  readonly #postgres: Postgres
  readonly #names: StatementNames
  readonly #isReady: () => boolean

  constructor(postgres: Postgres, names: StatementNames, isReady: () => boolean) {
    this.#postgres = postgres
    this.#names = names
    this.#isReady = isReady
  }
  async init(): Promise<void> {}
  async acquireConnection(): Promise<Connection> {
    if (!this.#isReady()) throw notReady()
    return new Connection(this.#postgres, this.#names)
  }
  async beginTransaction(connection: Connection, settings: TransactionSettings): Promise<void> {
    await connection.begin(settings.isolationLevel ?? 'serializable')
  }
  async commitTransaction(connection: Connection): Promise<void> {
    await connection.commit()
  }
  async rollbackTransaction(connection: Connection): Promise<void> {
    await connection.rollback()
  }
  async releaseConnection(connection: Connection): Promise<void> {
    connection.release()
  }
  async destroy(): Promise<void> {
    await closePostgres(this.#postgres)
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

/** Has a connection of the pool for each statement, or for a transaction. */
class Connection implements DatabaseConnection {
  readonly #postgres: Postgres
  readonly #names: StatementNames
  #transaction: Session | null = null

  constructor(postgres: Postgres, names: StatementNames) {
    this.#postgres = postgres
    this.#names = names
  }

  async begin(level: string): Promise<void> {
    this.#transaction = await this.#connect()
    this.#transaction.begin(level)
  }

  async commit(): Promise<void> {
    await this.#transaction?.commit()
  }

  async rollback(): Promise<void> {
    await this.#transaction?.rollback()
  }

  release(): void {
    this.#transaction?.release()
    this.#transaction = null
  }

  async executeQuery<R>({ sql: text, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const statement = { name: this.#names.of(text), text, values: [...parameters] }
    if (this.#transaction !== null) return await this.#transaction.run<R>(statement)
    const session = await this.#connect()
    try {
      return await alone(async (isNamed) => {
        return await session.run<R>(isNamed ? statement : { ...statement, name: null })
      })
    } finally {
      session.release()
    }
  }

  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('nothing is streamed from the store: it is read in pages')
  }

  async #connect(): Promise<Session> {
    try {
      return new Session(await this.#postgres.pool.connect())
    } catch (error) {
      throw storeError(failureOf(error) ?? 'away', error)
    }
  }
}

/** A statement on its own that another was in the way of changed nothing: it is run again. */
async function alone<R>(run: (isNamed: boolean) => Promise<R>): Promise<R> {
  for (let tries = 1, isNamed = true; ; tries += 1) {
    try {
      return await run(isNamed)
    } catch (error) {
      const isRetry = error instanceof StoreError && error.failure === 'retry'
      if (!isRetry || tries >= limits.store_statement_tries_max) throw error
      if (isOldPlan(error.cause)) isNamed = false
    }
  }
}

/** A connection of the pool, for as long as it is lent. */
class Session {
  readonly #client: PoolClient
  /** What begins the transaction, until its first statement goes out. */
  #begin: string | null = null
  #isInTransaction = false
  #isBroken = false

  constructor(client: PoolClient) {
    this.#client = client
  }

  begin(level: string): void {
    this.#begin = `begin isolation level ${level}`
  }

  async run<R>(statement: Statement): Promise<QueryResult<R>> {
    const { name, ...unnamed } = statement
    return await inWords(async () => {
      try {
        const query = name === null ? unnamed : { name, ...unnamed }
        return resultOf<R>(await this.#withBegin(query))
      } catch (error) {
        this.#note(error)
        throw error
      }
    })
  }

  async commit(): Promise<void> {
    if (!this.#isInTransaction) return
    // A transaction that an error has ended answers COMMIT with ROLLBACK.
    const done = await inWords(async () => {
      try {
        return await this.#client.query('commit')
      } catch (error) {
        this.#note(error)
        throw error
      }
    })
    this.#isInTransaction = false
    if (done.command !== 'ROLLBACK') return
    throw new Error('a transaction went on after a statement failed')
  }

  async rollback(): Promise<void> {
    if (!this.#isInTransaction) return
    try {
      await this.#client.query('rollback')
    } catch (error) {
      // One that cannot be rolled back is thrown away: the database rolls back for it.
      this.#note(error)
    }
    this.#isInTransaction = false
  }

  release(): void {
    this.#client.release(this.#isBroken || this.#isInTransaction)
  }

  /** A read may go out with BEGIN: should that fail, it has changed nothing. */
  async #withBegin(query: QueryConfig<unknown[]>): Promise<PostgresResult> {
    const begin = this.#begin
    if (begin === null) return await this.#client.query(query)
    this.#begin = null
    this.#isInTransaction = true
    if (!/^\s*select\b/i.test(query.text)) {
      await this.#client.query(begin)
      return await this.#client.query(query)
    }
    const { stream } = connectionOf(this.#client)
    stream.cork()
    const begun = this.#client.query(begin)
    const answer = this.#client.query(query)
    stream.uncork()
    answer.catch(() => undefined)
    try {
      await begun
    } catch (error) {
      this.#isBroken = true
      throw error
    }
    return await answer
  }

  #note(error: unknown): void {
    if (!(error instanceof DatabaseError) || error.severity === 'FATAL') this.#isBroken = true
    // A plan of before a migration is only forgotten with its connection.
    if (isOldPlan(error)) this.#isBroken = true
  }
}

function connectionOf(client: PoolClient) {
  if (!(client instanceof Client)) throw new Error('the pool has made no client of its own')
  return client.connection
}

function resultOf<R>({ rows, command, rowCount }: PostgresResult): QueryResult<R> {
  const isWrite = ['INSERT', 'UPDATE', 'DELETE'].includes(command)
  // Kysely types a row by the columns that the statement names.
  const typed: R[] = rows
  return isWrite ? { rows: typed, numAffectedRows: BigInt(rowCount ?? 0) } : { rows: typed }
}

/** What the driver and the database say becomes a failure of the store. */
async function inWords<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw storeError(failureOf(error), error)
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
