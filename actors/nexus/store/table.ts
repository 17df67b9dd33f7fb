/**
 * What migrations are written with: a few column types that SQLite, PostgreSQL and CockroachDB spell the
 * same and that mean the same in code, and tables and indices made of them.
 */
import { sql, type Transaction } from 'kysely'

/** A migration's transaction: tables are named, not typed, for they are those of that version. */
export type MigrationTransaction = Transaction<unknown>

export interface Column {
  readonly type: 'text' | 'bigint' | 'boolean' | 'bytea'
  readonly nullable: boolean
}
const required = (type: Column['type']): Column => ({ type, nullable: false })

export const text = required('text')
/** A UUID in lower case. */
export const uuid = text
/** JSON, read back with `readColumn`. */
export const json = text
/** An address or a block, as the API writes it. */
export const inet = text
/** A whole number up to 2^53. */
export const integer = required('bigint')
/** Milliseconds since the epoch. */
export const time_ms = integer
/** `true` and `false` in code. */
export const boolean = required('boolean')
/** A `Buffer` in code. */
export const bytes = required('bytea')
export const optional = (column: Column): Column => ({ ...column, nullable: true })

/** What every named resource has. */
export const named = {
  id: uuid,
  name: text,
  description: text,
  time_created_ms: time_ms,
  time_modified_ms: time_ms,
  time_deleted_ms: optional(time_ms),
} as const

/** Makes a table. Its key is `id` unless other columns are named. */
export async function createTable(
  db: MigrationTransaction,
  name: string,
  columns: Readonly<Record<string, Column>>,
  key: readonly string[] = ['id'],
): Promise<void> {
  const lines = Object.entries(columns).map(([column, { type, nullable }]) => {
    const rest = nullable ? sql`` : sql` not null`
    return sql`${sql.ref(column)} ${sql.raw(type)}${rest}`
  })
  const primary = sql`primary key (${refs(key)})`
  await sql`create table ${sql.ref(name)} (${sql.join([...lines, primary])})`.execute(db)
}

/** Adds a column. It is optional, for the rows of before do not have it. */
export async function addColumn(
  db: MigrationTransaction,
  table: string,
  column: string,
  { type }: Column,
): Promise<void> {
  await sql`alter table ${sql.ref(table)} add column ${sql.ref(column)} ${sql.raw(type)}`.execute(
    db,
  )
}

export interface IndexOptions {
  /** No two rows have the same. */
  readonly unique?: boolean
  /** Which rows it is of, as SQL: a statement that is to use it must say the same. */
  readonly where?: string
}
/** Only rows that are not deleted: for what is named, so that a deleted one's name is free again. */
export const live = 'time_deleted_ms is null'

/** Makes the index `table_by_columns`. */
export async function createIndex(
  db: MigrationTransaction,
  table: string,
  columns: readonly string[],
  { unique = false, where }: IndexOptions = {},
): Promise<void> {
  const kind = sql.raw(unique ? 'unique index' : 'index')
  const name = sql.ref(`${table}_by_${columns.join('_')}`)
  const of = where === undefined ? sql`` : sql` where ${sql.raw(where)}`
  await sql`create ${kind} ${name} on ${sql.ref(table)} (${refs(columns)})${of}`.execute(db)
}

/**
 * The indices of what is named within a parent (none for what is named in the whole rack): a name is
 * taken once among the live, and lists by name and by id read only their page.
 */
export async function createListIndices(
  db: MigrationTransaction,
  table: string,
  parent: readonly string[],
): Promise<void> {
  await createIndex(db, table, [...parent, 'name'], { unique: true, where: live })
  await createIndex(db, table, [...parent, 'id'], { where: live })
}

const refs = (columns: readonly string[]) => sql.join(columns.map((column) => sql.ref(column)))
