/** One page of a query, by name or by id, beginning behind what was seen last. */
import type { SelectQueryBuilder } from 'kysely'
import { pageOf, type PageRequest } from '#actors/http/pagination.ts'
import type { Tables } from './schema.ts'

/** The tables that can be listed: they have an id, and most a name. */
type Listed = keyof Tables & string

/** Runs the query for one page. The order column is `table.name` or `table.id`. */
async function pageRows<T extends Listed, O>(
  query: SelectQueryBuilder<Tables, T, O>,
  page: PageRequest,
): Promise<O[]> {
  // Every listed table has the column that its orders name; kysely cannot know that of a generic.
  const plain = query as unknown as SelectQueryBuilder<
    { listed: { id: string; name: string } },
    'listed',
    O
  >
  const column = page.sort_by === 'id_ascending' ? 'id' : 'name'
  const isDescending = page.sort_by === 'name_descending'
  const begun =
    page.after === null ? plain : plain.where(column, isDescending ? '<' : '>', page.after)
  return await begun
    .orderBy(column, isDescending ? 'desc' : 'asc')
    .limit(page.limit)
    .execute()
}

/** The page of these rows that a list was asked for, each shown by `view`. */
export async function listPage<T extends Listed, O extends { id: string; name?: string }, V>(
  rows: SelectQueryBuilder<Tables, T, O>,
  page: PageRequest,
  view: (row: O) => V,
) {
  const isById = page.sort_by === 'id_ascending'
  return pageOf(await pageRows(rows, page), page, view, ({ id, name = id }) => (isById ? id : name))
}
