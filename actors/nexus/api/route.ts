/**
 * How an operation is declared: one value with its path, what it takes and what it does. The server
 * turns it into HTTP; nothing else knows of requests and responses.
 */
import type { Static, TSchema } from 'typebox'
import type { Actor, Services } from '../context.ts'

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

export interface Call<Q, B> {
  readonly services: Services
  readonly actor: Actor
  /** A part of the path, as it was given. */
  readonly path: (name: string) => string
  readonly query: Q
  readonly body: B
  readonly signal: AbortSignal
}

export interface Route {
  readonly method: Method
  /** With `{name}` for its parts; parts called `…id` are UUIDs, all others names. */
  readonly path: string
  readonly status: number
  readonly query: TSchema | null
  readonly body: TSchema | null
  readonly handle: (call: Call<never, never>) => Promise<unknown>
}

interface Given<Q extends TSchema | null, B extends TSchema | null> {
  readonly query?: Q
  readonly body?: B
  readonly status?: number
  readonly handle: (
    call: Call<Q extends TSchema ? Static<Q> : null, B extends TSchema ? Static<B> : null>,
  ) => Promise<unknown>
}
const usualStatus: Readonly<Record<Method, number>> = { GET: 200, PUT: 200, POST: 201, DELETE: 204 }

/** Declares an operation. The schemas give the handler's types. */
export function route<Q extends TSchema | null = null, B extends TSchema | null = null>(
  operation: `${Method} ${string}`,
  given: Given<Q, B>,
): Route {
  const [verb = '', path = ''] = operation.split(' ')
  const method = (['GET', 'POST', 'PUT', 'DELETE'] as const).find((known) => known === verb)
  if (method === undefined) throw new Error(`${operation}: unknown method`)
  return {
    method,
    path,
    status: given.status ?? usualStatus[method],
    query: given.query ?? null,
    body: given.body ?? null,
    handle: given.handle,
  }
}
