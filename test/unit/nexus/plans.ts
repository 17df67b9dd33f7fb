/** What the databases mean to do for a statement, and whether that reads more than it has to. */
import Database from 'better-sqlite3'
import {
  type CompiledQuery,
  type KyselyPlugin,
  PostgresQueryCompiler,
  type RootOperationNode,
  SqliteQueryCompiler,
} from 'kysely'
import { Client } from 'pg'
import { Parameter } from '#actors/nexus/store/prepare.ts'

/** Tables that do not grow with what users make. */
const small: ReadonlySet<string> = new Set(['rack', 'sled', 'oximeter', 'published'])

/** Statements by their text: what Nexus ran in this process. */
export class Statements {
  readonly #seen = new Map<string, RootOperationNode>()

  readonly plugin: KyselyPlugin = {
    transformQuery: ({ node, queryId }) => {
      const { sql } = new SqliteQueryCompiler().compileQuery(node, queryId)
      if (/^(select|update|delete|with)\b/.test(sql)) this.#seen.set(sql, node)
      return node
    },
    transformResult: async ({ result }) => result,
  }

  get count(): number {
    return this.#seen.size
  }

  for(compiler: SqliteQueryCompiler | PostgresQueryCompiler): readonly CompiledQuery[] {
    const queryId = { queryId: 'plan' }
    return [...this.#seen.values()].map((node) => compiler.compileQuery(node, queryId))
  }
}

/** Why each statement that reads more than its rows does so on SQLite; empty when all is well. */
export function sqliteFaults(path: string, statements: Statements): readonly string[] {
  const file = new Database(path, { readonly: true })
  const faults = statements.for(new SqliteQueryCompiler()).flatMap(({ sql, parameters }) => {
    const steps = file
      .prepare<unknown[], { readonly detail: string }>(`explain query plan ${sql}`)
      .all(...parameters.map(bindable))
    const details = steps.map(({ detail }) => detail)
    const isPage = / limit \?/.test(sql)
    const wrong = details.filter((detail) => {
      const [, table = '', using = ''] = /^SCAN (?!CONSTANT ROW)(\S+)(.*)$/.exec(detail) ?? []
      if (table !== '') return !small.has(table) && !(isPage && using.includes('USING INDEX'))
      return isPage && detail.includes('USE TEMP B-TREE')
    })
    return wrong.map((detail) => `${detail}: ${sql}`)
  })
  file.close()
  return faults
}

/** A value that better-sqlite3 takes; what stands for a value of a prepared statement may be any. */
function bindable(value: unknown): unknown {
  if (typeof value === 'boolean') return Number(value)
  return value instanceof Parameter ? '' : value
}

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Index Cond'?: string
  readonly Plans?: readonly Plan[]
}

/** Rows of every table, all different, so that PostgreSQL weighs its ways as it does in earnest. */
async function fill(client: Client): Promise<void> {
  const { rows: tables } = await client.query<{ readonly name: string; readonly values: string }>(`
    select table_name as name, string_agg(case
      when is_nullable = 'YES' then 'null'
      when data_type = 'boolean' then 'i % 2 = 0'
      when data_type = 'bigint' then 'i'
      else 'md5(' || quote_literal(column_name) || ' || i)' end, ', ' order by ordinal_position) as values
    from information_schema.columns
    where table_schema = 'public' and table_name not like 'schema%'
      and table_name not like 'cluster%' group by table_name`)
  for (const { name, values } of tables) {
    await client.query(`insert into ${name} select ${values} from generate_series(1, 2000) i`)
  }
  await client.query('analyze')
}

/** The same on PostgreSQL. Scans, and sorts of pages, are made so dear that only where there is no index they are. */
export async function postgresFaults(
  url: string,
  statements: Statements,
): Promise<readonly string[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  await fill(client)
  await client.query('set enable_seqscan = off')
  const faults: string[] = []
  for (const { sql, parameters } of statements.for(new PostgresQueryCompiler())) {
    const isSorting = / limit \$\d/.test(sql) ? 'off' : 'on'
    await client.query(`set enable_sort = ${isSorting}; set enable_incremental_sort = ${isSorting}`)
    const explained = await client.query<{ 'QUERY PLAN': readonly [{ readonly Plan: Plan }] }>(
      `explain (format json) ${sql}`,
      // What stands for a value of a prepared statement may be of any type, and so may this text.
      parameters.map((value) => (value instanceof Parameter ? '0' : value)),
    )
    const plan = explained.rows[0]?.['QUERY PLAN'][0].Plan
    if (plan !== undefined) faults.push(...faultsOf(plan, false).map((fault) => `${fault}: ${sql}`))
  }
  await client.end()
  return faults
}

function faultsOf(plan: Plan, isPage: boolean): readonly string[] {
  const type = plan['Node Type']
  const table = plan['Relation Name'] ?? ''
  const below = (plan.Plans ?? []).flatMap((child) => faultsOf(child, isPage || type === 'Limit'))
  const isScan = type === 'Seq Scan' && !small.has(table)
  const isWalk =
    /^Index( Only)? Scan$|^Bitmap Index Scan$/.test(type) && plan['Index Cond'] === undefined
  const isSort = type.endsWith('Sort')
  if (isScan || (isWalk && !isPage && !small.has(table)) || (isSort && isPage)) {
    return [`${type} ${table}`.trim(), ...below]
  }
  return below
}
