/** Connections to PostgreSQL for the lease store alone: few, and none that can hang. */
import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely'
import { DatabaseError, Pool } from 'pg'

/**
 * Connections whose every statement ends within `answer_ms_max`, on both sides. A pool that others
 * use too would let renewals wait behind their work, and then this member is fenced.
 *
 * `onError` hears of connections that break while nobody uses them; the next statement makes a new
 * one.
 */
export function leaseConnections<T>(
  url: string,
  answer_ms_max: number,
  onError: (error: Error) => void,
): Kysely<T> {
  const pool = new Pool({
    connectionString: url,
    max: 4,
    connectionTimeoutMillis: answer_ms_max,
    query_timeout: answer_ms_max,
    statement_timeout: answer_ms_max,
    keepAlive: true,
  })
  pool.on('error', onError)
  // The pool listens to those that rest; to one that breaks between two statements nobody would.
  pool.on('connect', (client) => client.on('error', () => undefined))
  return new Kysely<T>({ dialect: new PostgresDialect({ pool: withoutBroken(pool) }) })
}

/**
 * A connection that failed to answer is closed rather than given back. The pool would give it to the
 * next who asks, who would wait behind the answer that never comes.
 */
function withoutBroken(pool: Pool): PostgresPool {
  return {
    options: pool.options,
    end: async () => {
      await pool.end()
    },
    connect: async () => {
      const client = await pool.connect()
      let isBroken = false
      const query = async (text: string, values: readonly unknown[]) => {
        try {
          return await client.query(text, [...values])
        } catch (error) {
          isBroken ||= !(error instanceof DatabaseError)
          throw error
        }
      }
      return {
        // kysely's type has a second form, with a cursor, which nothing here uses.
        query: query as unknown as PostgresPoolClient['query'],
        release: (destroy) => {
          client.release(isBroken || destroy === true)
        },
      }
    },
  }
}
