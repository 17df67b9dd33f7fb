/**
 * Statements that every request runs: built and compiled once, then run with other values. Building one
 * with kysely takes longer than SQLite takes to answer it.
 */
import type { Compilable, CompiledQuery } from 'kysely'
import type { Store } from './schema.ts'

type Values = Readonly<Record<string, string | readonly string[]>>

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
 * A statement as a function of its values. `build` is run once for each store and each length of lists
 * among the values; it is given stand-ins, so that it may pass them on to kysely and nothing else.
 */
export function prepare<V extends Values, O>(
  build: (store: Store, values: V) => Compilable<O>,
): (store: Store, values: V) => Promise<O[]> {
  const compiled = new WeakMap<Store, Map<string, CompiledQuery<O>>>()
  return async (store, values) => {
    const known = compiled.get(store) ?? new Map<string, CompiledQuery<O>>()
    compiled.set(store, known)
    const form = formOf(values)
    const query = known.get(form) ?? build(store, standIns(values)).compile()
    known.set(form, query)
    const parameters = query.parameters.map((given) =>
      given instanceof Parameter ? valueOf(values, given) : given,
    )
    return (await store.executeQuery<O>({ ...query, parameters })).rows
  }
}

const formOf = (values: Values): string =>
  Object.values(values)
    .map((value) => (typeof value === 'string' ? '' : value.length))
    .join(' ')

function standIns<V extends Values>(values: V): V {
  const given = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      typeof value === 'string'
        ? new Parameter(name, null)
        : value.map((_, index) => new Parameter(name, index)),
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
  return index === null ? value : value?.[index]
}
