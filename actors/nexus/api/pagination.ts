/** Pages of lists, with Omicron's tokens: base64url of the sort order and the last thing seen. */
import { Type, type Static } from 'typebox'
import { fits } from '#runtime/schema.ts'
import { badRequest } from '../errors.ts'

const limit_default = 100
const limit_max = 10_000
const token_characters_max = 512

const sortOrders = ['name_ascending', 'name_descending', 'id_ascending'] as const
export type SortOrder = (typeof sortOrders)[number]

/** The query of every list. `limit` stays text: its rule is not JSON's. */
export const pageQuery = Type.Object({
  limit: Type.Optional(Type.String()),
  page_token: Type.Optional(Type.String()),
  sort_by: Type.Optional(Type.String()),
})

export type PageQuery = Static<typeof pageQuery>

const token = Type.Object({
  v: Type.String(),
  page_start: Type.Object({ sort_by: Type.Enum(sortOrders), last_seen: Type.Unknown() }),
})

export interface PageRequest {
  readonly limit: number
  readonly sort_by: SortOrder
  /** The key of the last item of the page before. */
  readonly after: string | null
}
/** Which orders a list offers; the first is its default. */
export const byName: readonly SortOrder[] = ['name_ascending']
export const byId: readonly SortOrder[] = ['id_ascending']
export const byNameOrId: readonly SortOrder[] = sortOrders

/** Reads a list's query. Throws 400 for a bad limit, order or token. */
export function readPage(query: PageQuery, offered: readonly SortOrder[]): PageRequest {
  const limit = readLimit(query.limit)
  if (query.page_token !== undefined) return { limit, ...readToken(query.page_token, offered) }
  const [standard = 'id_ascending'] = offered
  const sort_by =
    query.sort_by === undefined ? standard : offered.find((order) => order === query.sort_by)
  if (sort_by === undefined) {
    throw badRequest(
      `unable to parse query string: unknown variant \`${query.sort_by ?? ''}\`, expected one of ${offered.map((order) => `\`${order}\``).join(', ')}`,
    )
  }
  return { limit, sort_by, after: null }
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return limit_default
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= 1 && value <= 0xffff_ffff)) {
    throw badRequest('unable to parse query string: invalid limit: expected a non-zero u32')
  }
  return Math.min(value, limit_max)
}

const refuse = (why: string) => badRequest(`failed to parse pagination token: ${why}`)

function readToken(
  text: string,
  offered: readonly SortOrder[],
): { readonly sort_by: SortOrder; readonly after: string } {
  if (text.length > token_characters_max) throw refuse('too large')
  let read: unknown
  try {
    read = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
  } catch {
    throw refuse('corrupted token')
  }
  if (!fits(token, read)) throw refuse('corrupted token')
  if (read.v !== 'v1') throw refuse(`unsupported version: "${read.v}"`)
  const { sort_by, last_seen } = read.page_start
  const after = lastSeen(last_seen)
  if (after === null || !offered.includes(sort_by)) throw refuse('corrupted token')
  return { sort_by, after }
}

function lastSeen(value: unknown): string | null {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return null
  const [only] = Object.values(value)
  return typeof only === 'string' ? only : null
}

interface Keyed {
  readonly id: string
  readonly name?: string
}

/** The page of these items, in the order asked for; `view` shows one. */
export function pageOf<T extends Keyed, V>(
  items: readonly T[],
  page: PageRequest,
  offered: readonly SortOrder[],
  view: (item: T) => V,
) {
  const last = items.at(-1)
  if (last === undefined) return { items: [], next_page: null }
  const key = page.sort_by === 'id_ascending' ? 'id' : 'name'
  const value = key === 'id' ? last.id : last.name
  const last_seen = offered.length > 1 ? { [key]: value } : value
  const next = { v: 'v1', page_start: { sort_by: page.sort_by, last_seen } }
  return {
    items: items.map(view),
    next_page: Buffer.from(JSON.stringify(next)).toString('base64url'),
  }
}
