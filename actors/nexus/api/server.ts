/**
 * The HTTP face: turns requests into calls of declared routes and errors into their bodies. What is
 * parsed comes first (path, query, body), who asks second, the operation last.
 */
import assert from 'node:assert/strict'
import { Server as SecureServer } from 'node:tls'
import websocket from '@fastify/websocket'
import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import type { KeyPair } from '#runtime/tls/credentials.ts'
import { authenticate } from '../authn.ts'
import type { Services } from '../context.ts'
import { ApiError, badRequest } from '../errors.ts'
import { addConsole, consoleForms, type ConsoleFiles } from './console.ts'
import { documentOf } from './openapi.ts'
import { readPage } from './pagination.ts'
import { readBody, readPath, readQuery } from './read.ts'
import { refuseConnection, send, sendError } from './respond.ts'
import type { Route, Stream } from './route.ts'
import { doPiece } from '../work.ts'

const documentPath = '/openapi.json'
/** How often connections are looked at for requests that take too long. */
const connections_look_ms = 10_000
/** RFC 6455 §7.4.1: the server cannot go on. */
const websocketGoing = 1011

export interface ServerOptions {
  readonly services: Services
  readonly routes: readonly Route[]
  /** How long a client may take to send a request. */
  readonly request_ms_max?: number
  /** What HTTPS is served with; null or absent: plain HTTP. */
  readonly tls?: ServerPair | null
  /** The console's files; null or absent: there is no console. */
  readonly console?: ConsoleFiles | null
}
/** A certificate, with those behind it, and its key, as PEM. */
export type ServerPair = Pick<KeyPair, 'certificate' | 'key'>

/** The server, not listening yet. */
export function makeServer(options: ServerOptions): FastifyInstance {
  const { services, routes, request_ms_max = limits.http_request_ms_max, tls = null } = options
  const http = {
    maxHeaderSize: limits.http_headers_bytes_max,
    headersTimeout: request_ms_max,
    connectionsCheckingInterval: Math.min(request_ms_max / 2, connections_look_ms),
  }
  const server: FastifyInstance = fastify({
    bodyLimit: limits.http_body_bytes_max,
    requestTimeout: request_ms_max,
    // The types know of one or the other, not of a choice.
    ...((tls === null ? { http } : { https: { ...http, ...secureOptions(tls) } }) as {
      readonly http: typeof http
    }),
    exposeHeadRoutes: false,
    clientErrorHandler: (error, socket) => {
      refuseConnection(services, error, socket)
    },
    frameworkErrors: (error, request, reply) => {
      sendError(services, request, reply, error)
    },
    genReqId: () => services.random.uuid(),
    rewriteUrl: (request) => tidyUrl(request.url ?? '/'),
    routerOptions: { maxParamLength: limits.http_headers_bytes_max },
    forceCloseConnections: true,
  })
  // A client that has said all it wants to may close its side and still gets its answer.
  Object.assign(server.server, { httpAllowHalfOpen: true })
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
    sendError(services, request, reply, error)
  })
  const paths = [...routes.map(({ operation }) => operation.path), documentPath]
    .map(formOf)
    .concat(consoleForms)
  server.setNotFoundHandler((request, reply) => {
    sendError(services, request, reply, unknownRoute(paths, request))
  })
  // A plugin of its own: it is loaded when the websocket one is there.
  void server.register(async (scope) => {
    for (const route of routes) addRoute(scope, services, route)
    addDocument(scope, routes)
    addConsole(scope, services, options.console ?? null)
  })
  return server
}

/** What a listener with TLS speaks: HTTP/1.1 over TLS 1.2 or later. */
const secureOptions = ({ certificate, key }: ServerPair) => ({
  cert: certificate,
  key,
  minVersion: 'TLSv1.2' as const,
  ALPNProtocols: ['http/1.1'],
  handshakeTimeout: limits.http_handshake_ms_max,
})

/** From now on new connections to a server with TLS are shown this certificate. */
export function renewCertificate({ server }: FastifyInstance, pair: ServerPair): void {
  assert(server instanceof SecureServer, 'the server speaks TLS')
  server.setSecureContext(secureOptions(pair))
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
function unknownRoute(paths: readonly RegExp[], request: FastifyRequest): ApiError {
  const [path = ''] = request.url.split('?')
  const isKnown = paths.some((known) => known.test(path))
  return isKnown
    ? new ApiError(405, null, 'Method Not Allowed')
    : new ApiError(404, null, 'Not Found')
}

const formOf = (path: string) => new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`)

/** The document is of the operations that are there, and for everybody to read. */
function addDocument(server: FastifyInstance, routes: readonly Route[]): void {
  const text = JSON.stringify(documentOf(routes), null, 2)
  server.get(documentPath, async (_request, reply) => {
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

/** Serves a request as a piece of work: named by its operation, traced when its sender traces it. */
async function run(services: Services, route: Route, request: FastifyRequest): Promise<unknown> {
  const { method, path } = route.operation
  const span = services.tracer?.receive(headerOf(request)('traceparent'), {
    name: `${method} ${path}`,
    kind: 'server',
    attributes: { 'http.request.method': method, 'http.route': path, 'luge.operation': route.id },
  })
  const piece = { what: `${route.id} (request ${request.id})`, span: span ?? null }
  return await doPiece(services, piece, async (own) => await act(own, route, request))
}

/** Reads, authenticates, acts. */
async function act(services: Services, route: Route, request: FastifyRequest): Promise<unknown> {
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
