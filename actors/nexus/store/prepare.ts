/**
 * Statements that every request runs: built and compiled once, then run with other values. Building one
 * with kysely takes longer than SQLite takes to answer it.
 */
import type { Compilable, CompiledQuery, DialectAdapter } from 'kysely'
import type { Store, StoreTransaction } from './schema.ts'

type Value = string | number | boolean | null
type Values = Readonly<Record<string, Value | readonly string[]>>

/** A statement and its values. */
export type ShortRead = Pick<CompiledQuery, 'sql' | 'parameters'>

/**
 * What an adapter of kysely's has that answers short reads (read by their indices, few rows) by itself:
 * what kysely does around a statement takes longer than SQLite takes to answer it.
 */
export interface ShortReads extends DialectAdapter {
  /** The rows; null when they are not to be had this way now. Throws as a statement does. */
  read: <O>(given: ShortRead) => Promise<readonly O[] | null>
}
export const hasShortReads = (adapter: DialectAdapter): adapter is ShortReads => 'read' in adapter

/** Stands in a compiled statement for a value of each run: `index` of a list, else null. */
export class Parameter {
  readonly name: string
  readonly index: number | null

  constructor(name: string, index: number | null) {
    this.name = name
    this.index = index
  }
}

/**
 * A statement as a function of its values, in a transaction or by itself. `build` is run once for each store
 * and each length of lists among the values; it is given stand-ins, so that it may pass them on to kysely and
 * nothing else.
 */
export function prepare<V extends Values, O>(
  build: (store: Store | StoreTransaction, values: V) => Compilable<O>,
): (store: Store | StoreTransaction, values: V) => Promise<readonly O[]> {
  // A store shares its adapter with its transactions.
  const compiled = new WeakMap<DialectAdapter, Map<string, CompiledQuery<O>>>()
  return async (store, values) => {
    const { adapter } = store.getExecutor()
    const known = compiled.get(adapter) ?? new Map<string, CompiledQuery<O>>()
    compiled.set(adapter, known)
    const form = formOf(values)
    const query = known.get(form) ?? build(store, standIns(values)).compile()
    known.set(form, query)
    const parameters = query.parameters.map((given) =>
      given instanceof Parameter ? valueOf(values, given) : given,
    )
    if (hasShortReads(adapter) && !store.isTransaction && query.query.kind === 'SelectQueryNode') {
      const read = await adapter.read<O>({ sql: query.sql, parameters })
      if (read !== null) return read
    }
    return (await store.executeQuery<O>({ ...query, parameters })).rows
  }
}

/** The lengths of the lists among the values: most statements have none, and one form. */
function formOf(values: Values): string {
  let form = ''
  for (const name in values) {
    const value = values[name]
    if (isList(value)) form += `${name} ${value.length} `
  }
  return form
}

function standIns<V extends Values>(values: V): V {
  const given = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      isList(value)
        ? value.map((_, index) => new Parameter(name, index))
        : new Parameter(name, null),
    ]),
  )
  if (!passFor(given, values)) throw new Error('a statement has no values')
  return given
}

/** Kysely takes for a value whatever it is given: stand-ins may be told the types of what they stand for. */
const passFor = <V extends Values>(given: object, values: V): given is V =>
  Object.keys(given).length === Object.keys(values).length

function valueOf(values: Values, { name, index }: Parameter): unknown {
  const value = values[name]
  return isList(value) && index !== null ? value[index] : value
}

const isList = (value: unknown): value is readonly string[] => Array.isArray(value)
