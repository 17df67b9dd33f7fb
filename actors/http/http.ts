/**
 * An HTTP face: turns requests into calls of declared routes and errors into their bodies. What is
 * parsed comes first (path, query, body), who asks second, the operation last. Nexus' external API is
 * one (`server.ts`), the internal APIs are others.
 */
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import websocket from '@fastify/websocket'
import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import { ApiError, badRequest } from './errors.ts'
import type { HttpOptions, HttpServices } from './face.ts'
import type { Operation } from './operation.ts'
import { readPage } from './pagination.ts'
import { readBody, readPath, readQuery } from './read.ts'
import { refuseConnection, send, sendError } from './respond.ts'
import type { Route, Stream } from './route.ts'
import { endOfTurn } from './turn.ts'

const documentPath = '/openapi.json'
/** How often connections are looked at for requests that take too long. */
const connections_look_ms = 10_000
/** RFC 6455 §7.4.1: the server cannot go on. */
const websocketGoing = 1011

/** The server, not listening yet. */
export function makeHttpServer<S extends HttpServices>(options: HttpOptions<S>): FastifyInstance {
  const { services, routes, request_ms_max = limits.http_request_ms_max, https } = options
  const http = {
    maxHeaderSize: limits.http_headers_bytes_max,
    headersTimeout: request_ms_max,
    connectionsCheckingInterval: Math.min(request_ms_max / 2, connections_look_ms),
  }
  const server: FastifyInstance = fastify({
    bodyLimit: limits.http_body_bytes_max,
    requestTimeout: request_ms_max,
    // The types know of one or the other, not of a choice.
    ...((https === undefined ? { http } : { https: { ...http, ...https } }) as {
      readonly http: typeof http
    }),
    exposeHeadRoutes: false,
    clientErrorHandler: (error, socket) => {
      refuseConnection(services, error, socket)
    },
    frameworkErrors: (error, request, reply) => {
      sendError(options, request, reply, error)
    },
    genReqId: () => services.random.uuid(),
    rewriteUrl: (request) => tidyUrl(request.url ?? '/'),
    routerOptions: { maxParamLength: limits.http_headers_bytes_max },
    forceCloseConnections: true,
  })
  // A client that has said all it wants to may close its side and still gets its answer.
  Object.assign(server.server, { httpAllowHalfOpen: true })
  // Who asks before sending a body that is too long is told so and keeps it (RFC 9110 §10.1.1).
  server.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    const length = Number(request.headers['content-length'] ?? 0)
    if (length <= limits.http_body_bytes_max) response.writeContinue()
    server.server.emit('request', request, response)
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
  server.addHook('onResponse', async ({ method, routeOptions }, reply) => {
    const operation = routeOptions.url === undefined ? 'none' : `${method} ${routeOptions.url}`
    services.requests.add(operation, reply.statusCode, reply.elapsedTime)
  })
  server.setErrorHandler((error, request, reply) => {
    sendError(options, request, reply, error)
  })
  const paths = [...routes.map(({ operation }) => operation.path), documentPath]
    .map(formOf)
    .concat(options.others?.forms ?? [])
  server.setNotFoundHandler((request, reply) => {
    sendError(options, request, reply, unknownRoute(paths, request))
  })
  // A plugin of its own: it is loaded when the websocket one is there.
  void server.register(async (scope) => {
    for (const route of routes) addRoute(scope, options, route)
    addDocument(scope, options.document)
    options.others?.add(scope)
  })
  return server
}

/** Repeated and trailing slashes mean nothing. */
function tidyUrl(url: string): string {
  if (!/\/\/|\/(\?|$)/.test(url)) return url
  const [path = '/', ...query] = url.split('?')
  const tidy = path.replaceAll(/\/+/g, '/').replace(/(.)\/$/, '$1')
  return query.length === 0 ? tidy : `${tidy}?${query.join('?')}`
}

const hasDotSegment = (url: string) =>
  /\/(\.|%2e)/i.test(url) &&
  (url.split('?')[0] ?? '').split('/').some((part) => /^(\.|%2e){1,2}$/i.test(part))

/** A path that is served under another method is 405; any other is 404. */
function unknownRoute(paths: readonly RegExp[], request: FastifyRequest): ApiError {
  const [path = ''] = request.url.split('?')
  const isKnown = paths.some((known) => known.test(path))
  return isKnown
    ? new ApiError(405, null, 'Method Not Allowed')
    : new ApiError(404, null, 'Not Found')
}

const formOf = (path: string) => new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`)

/** The document is of the operations that are there, and for everybody to read. */
function addDocument(server: FastifyInstance, document: object): void {
  const text = JSON.stringify(document, null, 2)
  server.get(documentPath, async (_request, reply) => {
    await reply.header('content-type', 'application/json').send(text)
  })
}

function addRoute<S extends HttpServices>(
  server: FastifyInstance,
  options: HttpOptions<S>,
  route: Route<S>,
): void {
  const { operation } = route
  const url = urlOf(operation)
  if (operation.reply === 'websocket') {
    addStream(server, options, route)
    return
  }
  server.route({
    method: operation.method,
    url,
    handler: async (request, reply) => {
      const result = await run(options, route, request)
      await endOfTurn()
      await send(reply, operation, result)
    },
  })
}

const urlOf = ({ path }: Operation) => path.replaceAll(/\{([^}]+)\}/g, ':$1')

/** Whoever may not watch learns so by HTTP, before the connection is upgraded. */
function addStream<S extends HttpServices>(
  server: FastifyInstance,
  options: HttpOptions<S>,
  route: Route<S>,
): void {
  const opened = new WeakMap<object, Stream>()
  server.route({
    method: 'GET',
    url: urlOf(route.operation),
    preHandler: async (request) => {
      const stream = await run(options, route, request)
      if (!request.ws) throw badRequest('expected a websocket upgrade request')
      opened.set(request, stream as Stream)
    },
    handler: async () => undefined,
    wsHandler: (socket, request) => {
      opened
        .get(request)?.(socket)
        .catch((error: unknown) => {
          options.services.log.warn('a stream ended', { operation: route.id, why: explain(error) })
          socket.close(websocketGoing, 'the stream failed')
        })
    },
  })
}

/** Serves a request as a piece of work: named by its operation, traced when its sender traces it. */
async function run<S extends HttpServices>(
  options: HttpOptions<S>,
  route: Route<S>,
  request: FastifyRequest,
): Promise<unknown> {
  const { services } = options
  const { method, path } = route.operation
  const span = services.tracer?.receive(headerOf(request)('traceparent'), {
    name: `${method} ${path}`,
    kind: 'server',
    attributes: { 'http.request.method': method, 'http.route': path, 'luge.operation': route.id },
  })
  const piece = { what: `${route.id} (request ${request.id})`, span: span ?? null }
  return await options.doPiece(
    services,
    piece,
    async (own) => await act({ ...options, services: own }, route, request),
  )
}

/** Reads, authenticates, acts. */
async function act<S extends HttpServices>(
  { services, authenticate }: HttpOptions<S>,
  route: Route<S>,
  request: FastifyRequest,
): Promise<unknown> {
  const { operation } = route
  const header = headerOf(request)
  const path = readPath(operation, request.params)
  const query = readQuery(operation.query, request.originalUrl.split('?').slice(1).join('?'))
  const page = operation.page === null ? null : readPage(operation.page, query)
  const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const body = readBody(operation, header('content-type'), bytes)
  const credentials = { authorization: header('authorization'), cookie: header('cookie') }
  const isGuarded = operation.access === 'user'
  assert(!isGuarded || authenticate !== null, `nobody can say who asks for ${route.id}`)
  const actor = isGuarded ? await authenticate?.(services, credentials) : null
  const call = {
    services,
    actor,
    path: (name: string) => {
      const part = path.get(name)
      assert(part !== undefined, `${operation.path} has no part ${name}`)
      return part
    },
    header,
    scheme: request.protocol === 'https' ? ('https' as const) : ('http' as const),
    query,
    page,
    body,
  }
  return await route.handle(call)
}

const headerOf = (request: FastifyRequest) => (name: string) => {
  const value = request.headers[name]
  return Array.isArray(value) ? (value[0] ?? null) : (value ?? null)
}
