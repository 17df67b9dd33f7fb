/**
 * A row of the API's contract: everything about one operation but what it does. The same row types
 * its handler, checks its requests, and becomes its entry of the OpenAPI document.
 */
import { Type, type Static, type TObject, type TSchema } from 'typebox'
import { maybe, name, pageLimit, sortModes, uuid } from './words.ts'

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

/** Orders that lists offer; the first is the default. `own` lists have one order and no `sort_by`. */
export const sortOrders = {
  name: ['name_ascending'],
  id: ['id_ascending'],
  name_or_id: ['name_ascending', 'name_descending', 'id_ascending'],
  own: [],
} as const
export type PageKind = keyof typeof sortOrders

/**
 * What a success carries beside JSON of a schema: `nothing`, a `redirect` with a location, `bytes`, a
 * `free` response that the document leaves open, or the upgrade to a `websocket`.
 */
export type ReplyForm = 'nothing' | 'redirect' | 'bytes' | 'free' | 'websocket'
export type BodyType =
  | 'application/json'
  | 'application/x-www-form-urlencoded'
  | 'application/octet-stream'

export interface Operation {
  readonly method: Method
  /** With `{name}` for its parts. */
  readonly path: string
  /** Null in a document without tags. */
  readonly tag: string | null
  readonly summary: string
  /** Whether a caller must have credentials. */
  readonly access: 'user' | 'anyone'
  readonly path_parts: Readonly<Record<string, TSchema>>
  readonly query: TObject
  readonly page: PageKind | null
  readonly body: TSchema | null
  readonly body_type: BodyType
  /** Of success. */
  readonly status: number
  readonly reply: TSchema | ReplyForm
}

interface Given {
  readonly tag?: string
  readonly summary: string
  readonly access?: 'anyone'
  /** Parts of the path that are neither names nor, called `…id`, UUIDs. */
  readonly path_parts?: Readonly<Record<string, TSchema>>
  readonly query?: TObject
  readonly page?: PageKind
  readonly body?: TSchema
  readonly body_type?: BodyType
  readonly status?: number
  readonly reply: TSchema | ReplyForm
}

/** A row with the types of what was given to it. */
export type Row<G extends Given = Given> = Operation & { readonly given: G }

const usualStatus: Readonly<Record<Method, number>> = { GET: 200, PUT: 200, POST: 201, DELETE: 204 }

/** Declares `METHOD /path`. Throws when the method is unknown, at the time the module is loaded. */
export function operation<const G extends Given>(where: `${Method} /${string}`, given: G): Row<G> {
  const [verb = '', path = ''] = where.split(' ')
  const method = (['GET', 'POST', 'PUT', 'DELETE'] as const).find((known) => known === verb)
  if (method === undefined) throw new Error(`${where}: unknown method`)
  return {
    method,
    path,
    tag: given.tag ?? null,
    summary: given.summary,
    access: given.access ?? 'user',
    path_parts: { ...partsOf(path), ...given.path_parts },
    query: Type.Object({
      ...(given.page === undefined ? {} : pageQuery(given.page)),
      ...given.query?.properties,
    }),
    page: given.page ?? null,
    body: given.body ?? null,
    body_type: given.body_type ?? 'application/json',
    status: given.status ?? usualStatus[method],
    reply: given.reply,
    given,
  }
}

/** What the query of every list may say. */
const pageQuery = (kind: PageKind) => {
  const paging = { limit: maybe(pageLimit), page_token: maybe(Type.String()) }
  return kind === 'own' ? paging : { ...paging, sort_by: Type.Optional(sortModes[kind]) }
}

const partsOf = (path: string): Record<string, TSchema> =>
  Object.fromEntries(
    [...path.matchAll(/\{([^}]+)\}/g)].map(([, part = '']) => [
      part,
      part.endsWith('id') ? uuid : name,
    ]),
  )

// A string is a TSchema to the compiler too: the interface is empty.
type Of<S, Otherwise> = S extends string | null
  ? Otherwise
  : S extends TSchema
    ? Static<S>
    : Otherwise
type Field<G, K extends string> = G extends { readonly [key in K]: infer V } ? V : null

export type QueryOf<R> = R extends Row<infer G> ? Of<Field<G, 'query'>, null> : never
/** A body without a schema is bytes. */
export type BodyOf<R> =
  R extends Row<infer G>
    ? Of<Field<G, 'body'>, Field<G, 'body_type'> extends 'application/octet-stream' ? Buffer : null>
    : never
export type AccessOf<R> = R extends Row<infer G> ? Field<G, 'access'> : never
export type PageOf<R> = R extends Row<infer G> ? Field<G, 'page'> : never
/** The form of a reply that is not JSON of a schema. */
export type ReplyFormOf<R> = R extends Row<infer G> ? Extract<G['reply'], string> : never
export type ReplyOf<R> = R extends Row<infer G> ? Of<G['reply'], null> : never
