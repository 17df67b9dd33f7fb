/**
 * The lease store in a database: SQLite for one member, PostgreSQL or CockroachDB for many. The SQL
 * is what all three understand; each operation is one statement (joining is one transaction), right
 * already at READ COMMITTED.
 */
import {
  PostgresAdapter,
  sql,
  type CompiledQuery,
  type DialectAdapter,
  type Kysely,
  type QueryExecutorProvider,
  type Transaction,
} from 'kysely'
import { err, ok, type Result } from '../result.ts'
import { sessionName, type Lease, type LeaseRow, type LeaseStore, type Session } from './store.ts'

/**
 * The tables, for a migration or for `createClusterTables`. Rows of leases stay when the lease is
 * released: they remember the generation. Of each member the newest session stays, for its number.
 */
export const clusterSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS cluster_member (
    member_id TEXT NOT NULL, incarnation BIGINT NOT NULL, address TEXT NOT NULL,
    heartbeat BIGINT NOT NULL, status TEXT NOT NULL CHECK (status IN ('live', 'left', 'fenced')),
    PRIMARY KEY (member_id, incarnation))`,
  `CREATE TABLE IF NOT EXISTS cluster_lease (
    name TEXT NOT NULL PRIMARY KEY, generation BIGINT NOT NULL,
    holder_id TEXT, holder_incarnation BIGINT)`,
  `CREATE INDEX IF NOT EXISTS cluster_lease_by_holder
    ON cluster_lease (holder_id, holder_incarnation, name)`,
]

/** Makes the tables where they are missing. Several members may do so at once. */
export async function createClusterTables<T>(db: Kysely<T>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      for (const statement of clusterSchema) await sql.raw(statement).execute(db)
      return
    } catch (error) {
      // PostgreSQL fails the slower of two that make the same table at once; then it is there.
      if (attempt === 5) throw error
    }
  }
}

/** A session's row, as long as the session is not over. */
const liveRow = ({ member_id, incarnation }: Session) =>
  sql`member_id = ${member_id} AND incarnation = ${incarnation} AND status = 'live'`

/** PostgreSQL's driver gives BIGINT as text. */
type Integer = number | string

interface MemberRecord {
  readonly member_id: string
  readonly incarnation: Integer
  readonly address: string
  readonly heartbeat: Integer
}

interface LeaseRecord {
  readonly name: string
  readonly generation: Integer
  readonly live_id: string | null
  readonly live_incarnation: Integer | null
  readonly address: string | null
}

const leaseColumns = sql`
  SELECT l.name, l.generation, m.member_id AS live_id, m.incarnation AS live_incarnation, m.address
  FROM cluster_lease AS l LEFT JOIN cluster_member AS m
    ON m.member_id = l.holder_id AND m.incarnation = l.holder_incarnation AND m.status = 'live'`

const leaseOf = (row: LeaseRecord): LeaseRow => ({
  name: row.name,
  generation: Number(row.generation),
  holder:
    row.live_id === null
      ? null
      : {
          member_id: row.live_id,
          incarnation: Number(row.live_incarnation),
          address: row.address ?? '',
        },
})

/**
 * A lease store in the database's tables `cluster_member` and `cluster_lease`. Give it connections
 * of its own (`leaseConnections`), or renewals wait behind other work; SQLite, which has one
 * connection and one member, shares that one.
 */
export function sqlLeaseStore<T>(db: Kysely<T>): LeaseStore {
  return {
    join: async ({ member_id, address, supersede }) =>
      await db.transaction().execute(async (trx) => {
        const incarnation = await beginSession(trx, member_id, address)
        const isEarlier = sql`member_id = ${member_id} AND incarnation < ${incarnation}`
        if (supersede) {
          await sql`UPDATE cluster_member SET status = 'fenced'
            WHERE ${isEarlier} AND status = 'live'`.execute(trx)
        }
        await sql`DELETE FROM cluster_member WHERE ${isEarlier} AND status <> 'live'`.execute(trx)
        return { member_id, incarnation }
      }),
    renew: async (session) =>
      await changed(
        db,
        sql`UPDATE cluster_member SET heartbeat = heartbeat + 1 WHERE ${liveRow(session)}`,
      ),
    members: async () => {
      const { rows } = await sql<MemberRecord>`
        SELECT member_id, incarnation, address, heartbeat FROM cluster_member
        WHERE status = 'live' ORDER BY member_id, incarnation`.execute(db)
      return rows.map((row) => ({
        ...row,
        incarnation: Number(row.incarnation),
        heartbeat: Number(row.heartbeat),
      }))
    },
    leave: async (session) => {
      await changed(db, sql`UPDATE cluster_member SET status = 'left' WHERE ${liveRow(session)}`)
    },
    fence: async (seen) =>
      await changed(
        db,
        sql`UPDATE cluster_member SET status = 'fenced'
          WHERE ${liveRow(seen)} AND heartbeat = ${seen.heartbeat}`,
      ),
    lease: async (name) => {
      const { rows } = await sql<LeaseRecord>`${leaseColumns} WHERE l.name = ${name}`.execute(db)
      return rows[0] === undefined ? null : leaseOf(rows[0])
    },
    leases: async ({ holder, after, limit }) => {
      const mine =
        holder === null
          ? sql`m.member_id IS NOT NULL`
          : sql`m.member_id = ${holder.member_id} AND m.incarnation = ${holder.incarnation}`
      const page = after === null ? sql`` : sql`AND l.name > ${after}`
      const { rows } = await sql<LeaseRecord>`
        ${leaseColumns} WHERE ${mine} ${page} ORDER BY l.name LIMIT ${limit}`.execute(db)
      return rows.map(leaseOf)
    },
    take: async (lease) => await take(db, lease),
    release: async (lease) =>
      await changed(
        db,
        sql`UPDATE cluster_lease SET holder_id = NULL, holder_incarnation = NULL
          WHERE ${isHeld(lease)}`,
      ),
  }
}

/** Whether a statement that ends in a WHERE clause changed a row. */
async function changed(db: QueryExecutorProvider, statement: ReturnType<typeof sql>) {
  return ((await statement.execute(db)).numAffectedRows ?? 0n) > 0n
}

/** Two who join as the same member at once get two incarnations: the loser of the key tries again. */
async function beginSession(
  db: QueryExecutorProvider,
  member_id: string,
  address: string,
): Promise<number> {
  for (;;) {
    const { rows } = await sql<{ incarnation: Integer }>`
      INSERT INTO cluster_member (member_id, incarnation, address, heartbeat, status)
      SELECT CAST(${member_id} AS TEXT), COALESCE(MAX(incarnation), 0) + 1,
        CAST(${address} AS TEXT), 0, 'live'
      FROM cluster_member WHERE member_id = ${member_id}
      ON CONFLICT (member_id, incarnation) DO NOTHING
      RETURNING incarnation`.execute(db)
    if (rows[0] !== undefined) return Number(rows[0].incarnation)
  }
}

/**
 * The generation makes this right without SERIALIZABLE: the row that is changed is still the one
 * whose generation the taker saw. Its holder had joined before, so that this statement sees whether
 * that session is over; and a session that is over stays so.
 */
async function take(db: QueryExecutorProvider, lease: Lease): Promise<boolean> {
  const { name, generation } = lease
  const wasHeld =
    generation === 1 ? sql`` : sql`AND EXISTS (SELECT 1 FROM cluster_lease WHERE name = ${name})`
  return await changed(
    db,
    sql`INSERT INTO cluster_lease (name, generation, holder_id, holder_incarnation)
      SELECT CAST(${name} AS TEXT), CAST(${generation} AS BIGINT), member_id, incarnation
      FROM cluster_member WHERE ${liveRow(lease)} ${wasHeld}
      ON CONFLICT (name) DO UPDATE SET generation = excluded.generation,
        holder_id = excluded.holder_id, holder_incarnation = excluded.holder_incarnation
      WHERE cluster_lease.generation = excluded.generation - 1 AND (
        cluster_lease.holder_id IS NULL
        OR (cluster_lease.holder_id = excluded.holder_id
          AND cluster_lease.holder_incarnation = excluded.holder_incarnation)
        OR NOT EXISTS (SELECT 1 FROM cluster_member AS holder
          WHERE holder.member_id = cluster_lease.holder_id
            AND holder.incarnation = cluster_lease.holder_incarnation
            AND holder.status = 'live'))`,
  )
}

const isHeld = ({ name, generation, member_id, incarnation }: Lease) =>
  sql`name = ${name} AND generation = ${generation}
    AND holder_id = ${member_id} AND holder_incarnation = ${incarnation}`

/** Thrown by `assertHeld`, so that the transaction around it is rolled back. */
export class LeaseLost extends Error {
  constructor(lease: Lease) {
    super(
      `generation ${lease.generation} of ${lease.name} is no longer ${sessionName(lease)}'s: nothing was written; take the lease again`,
    )
    this.name = 'LeaseLost'
  }
}

/**
 * The guard of a transaction's writes: throws `LeaseLost` when the lease was taken over or released.
 * Until the transaction ends, nobody can take the lease: PostgreSQL keeps its row locked, and
 * SQLite and CockroachDB let no transaction commit whose reads are stale. So whoever takes it over
 * sees all that was written under it.
 */
export async function assertHeld<T>(trx: Transaction<T>, lease: Lease): Promise<void> {
  const { adapter } = trx.getExecutor()
  const check = checks.get(adapter) ?? compileCheck(trx, lease)
  checks.set(adapter, check)
  const { name, generation, member_id, incarnation } = lease
  const parameters = [name, generation, member_id, incarnation]
  const { rows } = await trx.executeQuery({ ...check, parameters })
  if (rows.length === 0) throw new LeaseLost(lease)
}

/** Compiled once: every transaction of a saga begins with it. */
const checks = new WeakMap<DialectAdapter, CompiledQuery>()

function compileCheck<T>(trx: Transaction<T>, lease: Lease): CompiledQuery {
  const lock = trx.getExecutor().adapter instanceof PostgresAdapter ? sql`FOR SHARE` : sql``
  return sql`SELECT generation FROM cluster_lease WHERE ${isHeld(lease)} ${lock}`.compile(trx)
}

/** Runs `work` in a transaction that commits only if the lease is held all the while. */
export async function withLease<T, V>(
  db: Kysely<T>,
  lease: Lease,
  work: (trx: Transaction<T>) => Promise<V>,
): Promise<Result<V, 'lease_lost'>> {
  try {
    const value = await db.transaction().execute(async (trx) => {
      await assertHeld(trx, lease)
      return await work(trx)
    })
    return ok(value)
  } catch (error) {
    if (error instanceof LeaseLost) return err('lease_lost', error.message)
    throw error
  }
}
