/**
 * What an operation does: a row of the contract and its handler. The server turns it into HTTP;
 * nothing else knows of requests and responses.
 */
import type { WebSocket } from 'ws'
import type {
  AccessOf,
  BodyOf,
  Operation,
  PageOf,
  QueryOf,
  ReplyOf,
  ReplyFormOf,
} from './operation.ts'
import type { PageRequest } from './pagination.ts'

/** What every handler is given of its request, whatever the operation and whoever serves it. */
export interface Asked<S> {
  readonly services: S
  /** A part of the path, as it was given and found well-formed. */
  readonly path: (name: string) => string
  /** A header of the request, by its lower-case name; null when it is not there. */
  readonly header: (name: string) => string | null
  /** What the request came by. */
  readonly scheme: 'http' | 'https'
}

/** A request of one operation, with the types of its row; `A` is who may ask. */
export interface CallOf<R extends Operation, S, A> extends Asked<S> {
  readonly actor: AccessOf<R> extends 'anyone' ? null : A
  readonly query: QueryOf<R>
  readonly body: BodyOf<R>
  readonly page: PageOf<R> extends string ? PageRequest : null
}
/** A response in full, where JSON of the operation's schema is not enough. */
export class Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Buffer | null

  constructor(
    status: number,
    headers: Readonly<Record<string, string>>,
    body: string | Buffer | null = null,
  ) {
    this.status = status
    this.headers = headers
    this.body = body
  }
}
/** Goes on with a connection that has become a websocket, until it ends. */
export type Stream = (socket: WebSocket) => Promise<void>

type Result<R extends Operation> = 'websocket' extends ReplyFormOf<R> ? Stream : ReplyOf<R> | Reply

/** An operation of a table with what it does; `S` is what its face serves with. */
export interface Route<S, Id extends string = string> {
  readonly id: Id
  readonly operation: Operation
  readonly handle: (call: Asked<S>) => Promise<unknown>
}

/**
 * Gives the operations of a table what they do: the row is the type of the call and of its result. `A` is
 * what the face's `authenticate` finds; a face without one has no operations that ask for it.
 */
export const implementer =
  <T extends { readonly [K in keyof T]: Operation }, S, A = never>(table: T) =>
  <Id extends keyof T & string>(
    id: Id,
    handle: (call: CallOf<T[Id], S, A>) => Promise<Result<T[Id]>>,
  ): Route<S, Id> => ({
    id,
    operation: table[id],
    // The server checks a request against this very row before it calls.
    handle: handle as Route<S, Id>['handle'],
  })
