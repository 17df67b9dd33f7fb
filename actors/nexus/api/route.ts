/**
 * What an operation does: a row of the contract and its handler. The server turns it into HTTP;
 * nothing else knows of requests and responses.
 */
import type { WebSocket } from 'ws'
import type { Actor, Services } from '../context.ts'
import type {
  AccessOf,
  BodyOf,
  Operation,
  PageOf,
  QueryOf,
  ReplyOf,
  ReplyFormOf,
} from './contract/operation.ts'
import { operations, type OperationId, type Operations } from './contract/operations.ts'
import type { PageRequest } from './pagination.ts'

/** What every handler is given of its request, whatever the operation. */
export interface AnyCall {
  readonly services: Services
  /** A part of the path, as it was given and found well-formed. */
  readonly path: (name: string) => string
  /** A header of the request, by its lower-case name; null when it is not there. */
  readonly header: (name: string) => string | null
  /** What the request came by. */
  readonly scheme: 'http' | 'https'
  /** Aborted when the client hangs up. */
  readonly signal: AbortSignal
}
/** A request of somebody who has said who they are. */
export interface UserCall extends AnyCall {
  readonly actor: Actor
}

/** A request of one operation, with the types of its row. */
export interface Call<Id extends OperationId> extends AnyCall {
  readonly actor: AccessOf<Operations[Id]> extends 'anyone' ? null : Actor
  readonly query: QueryOf<Operations[Id]>
  readonly body: BodyOf<Operations[Id]>
  readonly page: PageOf<Operations[Id]> extends string ? PageRequest : null
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

type Result<Id extends OperationId> =
  'websocket' extends ReplyFormOf<Operations[Id]> ? Stream : ReplyOf<Operations[Id]> | Reply

export interface Route {
  readonly id: OperationId
  readonly operation: Operation
  readonly handle: (call: Call<never>) => Promise<unknown>
}

/** Gives an operation what it does. The contract's row is the type of its call and its result. */
export const implement = <Id extends OperationId>(
  id: Id,
  handle: (call: Call<Id>) => Promise<Result<Id>>,
): Route => ({ id, operation: operations[id], handle })
