/**
 * The HTTP face: turns requests into calls of declared routes and errors into their bodies. What is
 * parsed comes first (path, query, body), who asks second, the operation last.
 */
import websocket from '@fastify/websocket'
import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import { authenticate } from '../authn.ts'
import type { Services } from '../context.ts'
import { ApiError, asApiError, badRequest, internal, notFound } from '../errors.ts'
import { nameProblem, uuid } from '../names.ts'
import { fits } from '#runtime/schema.ts'
import { readBody, readQuery } from './body.ts'
import { doPiece } from '../work.ts'
import type { Route } from './route.ts'

export interface ServerOptions {
  readonly services: Services
  readonly routes: readonly Route[]
  /** Adds what is not a plain request and reply: logins, websockets. */
  readonly extend: (server: FastifyInstance, services: Services) => void
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
  server.addHook('onResponse', async ({ method, routeOptions }, reply) => {
    const operation = routeOptions.url === undefined ? 'none' : `${method} ${routeOptions.url}`
    services.requests.add(operation, reply.statusCode, reply.elapsedTime)
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
    options.extend(scope, services)
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

const formOf = ({ path }: Route) => new RegExp(`^${path.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`)

function addRoute(server: FastifyInstance, services: Services, route: Route): void {
  server.route({
    method: route.method,
    url: route.path.replaceAll(/\{([^}]+)\}/g, ':$1'),
    handler: async (request, reply) => {
      const result = await doPiece(
        services,
        pieceOf(services, request),
        async (own) => await run(own, route, request, reply),
      )
      await send(reply, route.status, result)
    },
  })
}

/** A request as a piece of work: named by its operation, traced when its sender traces it. */
function pieceOf({ tracer }: Services, { method, routeOptions, headers, id }: FastifyRequest) {
  const name = `${method} ${routeOptions.url ?? ''}`
  const { traceparent } = headers
  const span = tracer?.receive(typeof traceparent === 'string' ? traceparent : null, {
    name,
    kind: 'server',
    attributes: { 'http.request.method': method, 'http.route': routeOptions.url ?? '' },
  })
  return { what: `${name} (request ${id})`, span: span ?? null }
}

async function run(
  services: Services,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const path = readPath(request.params)
  const query = route.query === null ? null : readQuery(route.query, request.query)
  const body =
    route.body === null
      ? null
      : readBody(route.body, request.headers['content-type'] ?? null, bytesOf(request.body))
  const actor = await authenticate(services, credentialsOf(request))
  const gone = new AbortController()
  request.raw.once('close', () => {
    if (!reply.sent) gone.abort(new Error('the client hung up'))
  })
  const call = { services, actor, path, query, body, signal: gone.signal }
  // The schemas of this very route have been checked above.
  return await route.handle(call as Parameters<Route['handle']>[0])
}

export const credentialsOf = (request: FastifyRequest) => ({
  authorization: request.headers.authorization ?? null,
  cookie: request.headers.cookie ?? null,
})

export const bytesOf = (body: unknown): Buffer => (Buffer.isBuffer(body) ? body : Buffer.alloc(0))

async function send(reply: FastifyReply, status: number, result: unknown): Promise<void> {
  void reply.status(status)
  if (status === 204) await reply.send()
  else await reply.header('content-type', 'application/json').send(JSON.stringify(result))
}

const uuidProblem = (text: string) =>
  fits(uuid, text) ? null : `UUID parsing failed: invalid value "${String(text).slice(0, 64)}"`

/** Access to the path's parts, each checked by its kind. */
export function readPath(params: unknown): (name: string) => string {
  const parts = new Map<string, string>()
  if (typeof params === 'object' && params !== null) {
    for (const [key, value] of Object.entries(params)) parts.set(key, String(value))
  }
  for (const [key, value] of parts) {
    const problem = key.endsWith('id') ? uuidProblem(value) : nameProblem(value)
    if (problem !== null) throw badRequest(`bad parameter in URL path: ${problem}`)
  }
  return (name) => {
    const value = parts.get(name)
    if (value === undefined) throw notFound('path parameter', name)
    return value
  }
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
  if (!(error instanceof Error) || !('code' in error)) return asApiError(error)
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return badRequest(`request body exceeded maximum size of ${limits.http_body_bytes_max} bytes`)
  }
  const status = 'statusCode' in error ? Number(error.statusCode) : 500
  return status >= 400 && status < 500 ? badRequest(error.message) : internal()
}
