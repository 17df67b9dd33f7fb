/** Results and errors as HTTP responses. Every response, whatever happened, names its request. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { limits } from '#config/limits.ts'
import { explain } from '#runtime/result.ts'
import { ApiError, badRequest, internal } from './errors.ts'
import type { Operation } from './operation.ts'
import type { HttpOptions, HttpServices } from './face.ts'
import { Reply } from './route.ts'

/** A success: JSON is compact. */
export async function send(
  reply: FastifyReply,
  operation: Operation,
  result: unknown,
): Promise<void> {
  if (result instanceof Reply) {
    await reply.status(result.status).headers(result.headers).send(result.body)
    return
  }
  void reply.status(operation.status)
  if (operation.reply === 'nothing') await reply.send()
  else await reply.header('content-type', 'application/json').send(JSON.stringify(result))
}

/** An error: JSON is pretty-printed. What is our fault is logged and not told. */
export function sendError<S extends HttpServices>(
  { services, asApiError }: Pick<HttpOptions<S>, 'services' | 'asApiError'>,
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
): void {
  const known = libraryError(error, request) ?? asApiError(error)
  if (known.status >= 500) {
    services.log.error('request failed', {
      request_id: request.id,
      method: request.method,
      path: request.url.split('?')[0],
      why: explain(error),
    })
  }
  // What was not read of the request's body would be taken for the next request.
  if (!request.raw.complete) void reply.header('connection', 'close')
  void reply
    .status(known.status)
    .header('content-type', 'application/json')
    .header('x-request-id', request.id)
    .send(bodyOf(known, request.id))
}

function bodyOf({ error_code, message }: ApiError, request_id: string): string {
  const body = { request_id, ...(error_code === null ? {} : { error_code }), message }
  return JSON.stringify(body, null, 2)
}

/** What the HTTP library's errors are to a caller; null for any other. */
function libraryError(error: unknown, request: FastifyRequest): ApiError | null {
  if (!(error instanceof Error) || !('code' in error)) return null
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return badRequest(`request body exceeded maximum size of ${limits.http_body_bytes_max} bytes`)
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE': {
      const given = request.headers['content-type'] ?? ''
      return badRequest(`expected content type "application/json", got "${given.slice(0, 64)}"`)
    }
    case 'FST_ERR_BAD_URL':
      return badRequest('bad parameter in URL path: invalid percent-encoding')
    default: {
      const status = 'statusCode' in error ? Number(error.statusCode) : 500
      return status >= 400 && status < 500 ? badRequest(error.message) : internal()
    }
  }
}

/** What is left of a client whose bytes are no request. */
interface Wire {
  readonly writable: boolean
  readonly end: (text: string) => unknown
  readonly destroy: () => unknown
}

/** Answers what never became a request: nothing but the socket is there to say it on. */
export function refuseConnection(services: HttpServices, error: Error, socket: Wire): void {
  const code = 'code' in error ? String(error.code) : ''
  // Where no TLS came about nothing can be said.
  if (!socket.writable || code === 'ECONNRESET' || /^ERR_(SSL|TLS)_/.test(code)) {
    socket.destroy()
    return
  }
  const refusal = refusalOf(error)
  const request_id = services.random.uuid()
  const body = bodyOf(refusal, request_id)
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${refusal.message}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${request_id}`,
      'connection: close',
      '',
      body,
    ].join('\r\n'),
  )
}

function refusalOf(error: Error): ApiError {
  const code = 'code' in error ? error.code : null
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new ApiError(431, null, 'the request line and headers are too large')
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new ApiError(408, null, 'the request was not complete in time')
  }
  const reason = 'reason' in error ? String(error.reason) : 'it cannot be parsed'
  return new ApiError(400, null, `malformed HTTP request: ${reason}`)
}
