/**
 * The HTTP face: turns requests into calls of declared routes and errors into their bodies. What is
 * parsed comes first (path, query, body), who asks second, the operation last.
 */
import assert from 'node:assert/strict'
import websocket from '@fastify/websocket'
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import { authenticate } from '../authn.ts'
import type { Services } from '../context.ts'
import { ApiError, badRequest, internal } from '../errors.ts'
import type { Operation } from './contract/operation.ts'
import { documentOf } from './openapi.ts'
import { readPage } from './pagination.ts'
import { readBody, readPath, readQuery } from './read.ts'
import { Reply, type Route, type Stream } from './route.ts'

/** RFC 6455 §7.4.1: the server cannot go on. */
const websocketGoing = 1011

export interface ServerOptions {
  readonly services: Services
  readonly routes: readonly Route[]
}

/** The server, not listening yet. */
export function makeServer(options: ServerOptions): FastifyInstance {
  const { services, routes } = options
  const server = fastify({
    bodyLimit: limits.http_body_bytes_max,
    requestTimeout: limits.http_request_ms_max,
    genReqId: () => services.random.uuid(),
    rewriteUrl: (request) => tidyUrl(request.url ?? '/'),
    routerOptions: { maxParamLength: 1024 },
    forceCloseConnections: true,
  })
  void server.register(websocket, {
    options: { maxPayload: limits.serial_write_bytes_max },
  })
  server.removeAllContentTypeParsers()
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body)
  })
  server.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id)
    if (hasDotSegment(request.originalUrl)) throw badRequest('dot-segments are not permitted')
  })
  server.setErrorHandler((error, request, reply) => {
    sendError(services, request, reply, error)
  })
  server.setNotFoundHandler((request, reply) => {
    sendError(services, request, reply, unknownRoute(routes, request))
  })
  // A plugin of its own: it is loaded when the websocket one is there.
  void server.register(async (scope) => {
    for (const route of routes) addRoute(scope, services, route)
    addDocument(scope, routes)
  })
  return server
}

/** Repeated and trailing slashes mean nothing. */
function tidyUrl(url: string): string {
  const [path = '/', ...query] = url.split('?')
  const tidy = path.replaceAll(/\/+/g, '/').replace(/(.)\/$/, '$1')
  return query.length === 0 ? tidy : `${tidy}?${query.join('?')}`
}

const hasDotSegment = (url: string) =>
  (url.split('?')[0] ?? '').split('/').some((part) => /^(\.|%2e){1,2}$/i.test(part))

/** A path that is served under another method is 405; any other is 404. */
function unknownRoute(routes: readonly Route[], request: FastifyRequest): ApiError {
  const [path = ''] = request.url.split('?')
  const isKnown = routes.some((route) => formOf(route).test(path))
  return isKnown
    ? new ApiError(405, null, 'Method Not Allowed')
    : new ApiError(404, null, 'Not Found')
}

const formOf = ({ operation }: Route) =>
  new RegExp(`^${operation.path.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`)

/** The document is of the operations that are there, and for everybody to read. */
function addDocument(server: FastifyInstance, routes: readonly Route[]): void {
  const text = JSON.stringify(documentOf(routes), null, 2)
  server.get('/openapi.json', async (_request, reply) => {
    await reply.header('content-type', 'application/json').send(text)
  })
}

function addRoute(server: FastifyInstance, services: Services, route: Route): void {
  const { operation } = route
  const url = operation.path.replaceAll(/\{([^}]+)\}/g, ':$1')
  if (operation.reply === 'websocket') {
    addStream(server, services, route, url)
    return
  }
  server.route({
    method: operation.method,
    url,
    handler: async (request, reply) => {
      await send(reply, operation, await run(services, route, request))
    },
  })
}

/** Whoever may not watch learns so by HTTP, before the connection is upgraded. */
function addStream(server: FastifyInstance, services: Services, route: Route, url: string): void {
  const opened = new WeakMap<object, Stream>()
  server.route({
    method: 'GET',
    url,
    preHandler: async (request) => {
      const stream = await run(services, route, request)
      if (!request.ws) throw badRequest('expected a websocket upgrade request')
      opened.set(request, stream as Stream)
    },
    handler: async () => undefined,
    wsHandler: (socket, request) => {
      opened
        .get(request)?.(socket)
        .catch((error: unknown) => {
          services.log.warn('a stream ended', { operation: route.id, why: explain(error) })
          socket.close(websocketGoing, 'the stream failed')
        })
    },
  })
}

/** Reads, authenticates, acts. */
async function run(services: Services, route: Route, request: FastifyRequest): Promise<unknown> {
  const { operation } = route
  const header = headerOf(request)
  const path = readPath(operation, request.params)
  const query = readQuery(operation.query, request.originalUrl.split('?').slice(1).join('?'))
  const page = operation.page === null ? null : readPage(operation.page, query)
  const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const body = readBody(operation, header('content-type'), bytes)
  const credentials = { authorization: header('authorization'), cookie: header('cookie') }
  const actor = operation.access === 'user' ? await authenticate(services, credentials) : null
  const gone = new AbortController()
  request.raw.once('close', () => {
    if (request.raw.socket.destroyed) gone.abort(new Error('the client hung up'))
  })
  const call = {
    services,
    actor,
    path: (name: string) => {
      const part = path.get(name)
      assert(part !== undefined, `${operation.path} has no part ${name}`)
      return part
    },
    header,
    scheme: request.protocol === 'https' ? 'https' : 'http',
    query,
    page,
    body,
    signal: gone.signal,
  }
  // The schemas of this very operation have been checked above.
  return await route.handle(call as unknown as Parameters<Route['handle']>[0])
}

const headerOf = (request: FastifyRequest) => (name: string) => {
  const value = request.headers[name]
  return Array.isArray(value) ? (value[0] ?? null) : (value ?? null)
}

async function send(reply: FastifyReply, operation: Operation, result: unknown): Promise<void> {
  if (result instanceof Reply) {
    await reply.status(result.status).headers(result.headers).send(result.body)
    return
  }
  void reply.status(operation.status)
  if (operation.reply === 'nothing') await reply.send()
  else await reply.header('content-type', 'application/json').send(JSON.stringify(result))
}

function sendError(
  services: Services,
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
): void {
  const known = toApiError(error)
  if (known.status >= 500) {
    services.log.error('request failed', {
      request_id: request.id,
      method: request.method,
      path: request.url.split('?')[0],
      why: explain(error),
    })
  }
  const body = {
    request_id: request.id,
    ...(known.error_code === null ? {} : { error_code: known.error_code }),
    message: known.message,
  }
  void reply
    .status(known.status)
    .header('content-type', 'application/json')
    .header('x-request-id', request.id)
    .send(JSON.stringify(body, null, 2))
}

/** Errors of the HTTP library are the client's; anything else unknown is ours. */
function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (!(error instanceof Error) || !('code' in error)) return internal()
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return badRequest(`request body exceeded maximum size of ${limits.http_body_bytes_max} bytes`)
  }
  const status = 'statusCode' in error ? Number(error.statusCode) : 500
  return status >= 400 && status < 500 ? badRequest(error.message) : internal()
}
