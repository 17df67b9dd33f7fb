/** Seeing what waits for the store: for a connection or an answer. */
import type {
  CompiledQuery,
  DatabaseConnection,
  Dialect,
  DialectAdapter,
  Driver,
  QueryResult,
} from 'kysely'
import { hasShortReads, type ShortRead } from './prepare.ts'

/** Knows of a piece of waiting until it has ended: NativeCalls.during. */
export type Watch = <T>(name: string, work: () => Promise<T>) => Promise<T>

/** The same dialect, whose waiting is known: parameters, which may be secrets, are not. */
export const watchedDialect = (dialect: Dialect, watch: Watch): Dialect => ({
  createAdapter: () => watchedAdapter(dialect.createAdapter(), watch),
  createDriver: () => watchedDriver(dialect.createDriver(), watch),
  createIntrospector: (db) => dialect.createIntrospector(db),
  createQueryCompiler: () => dialect.createQueryCompiler(),
})

function watchedAdapter(adapter: DialectAdapter, watch: Watch): DialectAdapter {
  if (!hasShortReads(adapter)) return adapter
  const { read } = adapter
  adapter.read = <O>(given: ShortRead) => watch(`store: ${given.sql}`, () => read<O>(given))
  return adapter
}

function watchedDriver(driver: Driver, watch: Watch): Driver {
  return {
    init: async () => {
      await driver.init()
    },
    // Who has to wait for a connection does so with its first statement.
    acquireConnection: async () => new Watched(await driver.acquireConnection(), watch),
    beginTransaction: async (connection, settings) => {
      await watch('store: begin', async () => {
        await driver.beginTransaction(driversOwn(connection), settings)
      })
    },
    commitTransaction: async (connection) => {
      await watch('store: commit', async () => {
        await driver.commitTransaction(driversOwn(connection))
      })
    },
    rollbackTransaction: async (connection) => {
      await driver.rollbackTransaction(driversOwn(connection))
    },
    releaseConnection: async (connection) => {
      await driver.releaseConnection(driversOwn(connection))
    },
    destroy: async () => {
      await driver.destroy()
    },
  }
}

/** The connection that the driver itself has made. */
const driversOwn = (connection: DatabaseConnection) =>
  connection instanceof Watched ? connection.inner : connection

class Watched implements DatabaseConnection {
  readonly inner: DatabaseConnection
  readonly #watch: Watch

  constructor(inner: DatabaseConnection, watch: Watch) {
    this.inner = inner
    this.#watch = watch
  }

  executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#watch(`store: ${query.sql}`, () => this.inner.executeQuery<R>(query))
  }

  streamQuery<R>(query: CompiledQuery, size: number): AsyncIterableIterator<QueryResult<R>> {
    return this.inner.streamQuery<R>(query, size)
  }
}
