/** What an HTTP face is made of, and what it needs of the services that its handlers are given. */
import type { FastifyInstance } from 'fastify'
import type { Log } from '#runtime/log.ts'
import type { Random } from '#runtime/random.ts'
import type { Tracer } from '#runtime/trace.ts'
import type { ApiError } from './errors.ts'
import type { RequestCounts } from './requests.ts'
import type { Piece } from './work.ts'
import type { Route } from './route.ts'

/** What a request says of who sent it. */
export interface Credentials {
  readonly authorization: string | null
  readonly cookie: string | null
}

/** What a face needs of the services that its handlers are given. */
export interface HttpServices {
  readonly random: Random
  readonly log: Log
  readonly requests: RequestCounts
  readonly tracer: Tracer | null
}

export interface HttpOptions<S extends HttpServices> {
  readonly services: S
  readonly routes: readonly Route<S>[]
  /** The OpenAPI document of those. */
  readonly document: object
  /** Whose credentials these are; null where no operation asks for any. */
  readonly authenticate: ((services: S, given: Credentials) => Promise<object>) | null
  /** What a caller is told of whatever a handler threw. */
  readonly asApiError: (error: unknown) => ApiError
  /** Does a piece of work with services that know of it. */
  readonly doPiece: (
    services: S,
    piece: Piece,
    work: (own: S) => Promise<unknown>,
  ) => Promise<unknown>
  /** How long a client may take to send a request. */
  readonly request_ms_max?: number
  /** What the server itself speaks TLS with; absent: it does not. */
  readonly https?: object
  /** Paths beside the operations: what they look like, and what adds them. */
  readonly others?: {
    readonly forms: readonly RegExp[]
    readonly add: (server: FastifyInstance) => void
  }
}
