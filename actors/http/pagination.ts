/** Pages of lists, with Omicron's tokens: base64url of the sort order and the last thing seen. */
import { Type } from 'typebox'
import { fits } from '#runtime/schema.ts'
import { badRequest } from './errors.ts'
import { sortOrders, type PageKind } from './operation.ts'

const limit_default = 100
const limit_max = 10_000
const token_characters_max = 512

export type SortOrder = (typeof sortOrders)['name_or_id'][number]

const pageToken = Type.Object({
  v: Type.String(),
  page_start: Type.Object({ sort_by: Type.Optional(Type.String()), last_seen: Type.Unknown() }),
})

export interface PageRequest {
  readonly kind: PageKind
  readonly limit: number
  /** Null where the list has one order of its own. */
  readonly sort_by: SortOrder | null
  /** The key of the last item of the page before. */
  readonly after: string | null
}

/** A list's query, whose types have been checked. Throws 400 for a bad order or token. */
export function readPage(kind: PageKind, query: Readonly<Record<string, unknown>>): PageRequest {
  const limit = Math.min(
    typeof query['limit'] === 'number' ? query['limit'] : limit_default,
    limit_max,
  )
  const { page_token: token } = query
  if (typeof token === 'string') return { kind, limit, ...readToken(kind, token) }
  const asked = sortOrders[kind].find((order) => order === query['sort_by'])
  return { kind, limit, sort_by: asked ?? sortOrders[kind][0] ?? null, after: null }
}

const refuse = (why: string) => badRequest(`failed to parse pagination token: ${why}`)
/** A token that says what no page of this list could have ended with. */
export const corruptedToken = () => refuse('corrupted token')

function readToken(kind: PageKind, text: string): Pick<PageRequest, 'sort_by' | 'after'> {
  if (text.length > token_characters_max) throw refuse('too large')
  let read: unknown
  try {
    read = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
  } catch {
    throw corruptedToken()
  }
  if (!fits(pageToken, read)) throw corruptedToken()
  if (read.v !== 'v1') throw refuse(`unsupported version: ${JSON.stringify(read.v)}`)
  const { sort_by, last_seen } = read.page_start
  const order = sortOrders[kind].find((offered) => offered === sort_by) ?? null
  const after = lastSeen(last_seen)
  if (after === null || (order === null && kind !== 'own')) throw corruptedToken()
  return { sort_by: order, after }
}

function lastSeen(value: unknown): string | null {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return null
  const [only] = Object.values(value)
  return typeof only === 'string' ? only : null
}

/** A page of these items, each shown by `view`; `keyOf` is what the list is ordered by. */
export function pageOf<T, V>(
  items: readonly T[],
  page: PageRequest,
  view: (item: T) => V,
  keyOf: (item: T) => string,
) {
  const last = items.at(-1)
  const next_page = last === undefined ? null : writeToken(page, keyOf(last))
  return { items: items.map(view), next_page }
}

function writeToken({ kind, sort_by }: PageRequest, key: string): string {
  const field = sort_by === 'id_ascending' ? 'id' : 'name'
  const last_seen = kind === 'name_or_id' ? { [field]: key } : key
  const page_start = sort_by === null ? { last_seen } : { sort_by, last_seen }
  return Buffer.from(JSON.stringify({ v: 'v1', page_start })).toString('base64url')
}
