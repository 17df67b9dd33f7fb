/** Nexus' external API: its routes behind the authentication of users, its document, the console. */
import assert from 'node:assert/strict'
import { Server as SecureServer } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { limits } from '#config/limits.ts'
import type { KeyPair } from '#runtime/tls/credentials.ts'
import { authenticate } from '../access/authn.ts'
import type { Services } from '../context.ts'
import { asApiError } from '../errors.ts'
import { doPiece } from '../work.ts'
import { aboutExternal } from './contract/about.ts'
import { addConsole, consoleForms, type ConsoleFiles } from './console.ts'
import { makeHttpServer } from '#actors/http/http.ts'
import { documentOf } from '#actors/http/openapi.ts'
import type { NexusRoute } from './route.ts'

export interface ServerOptions {
  readonly services: Services
  readonly routes: readonly NexusRoute[]
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
  const { services, routes, request_ms_max, tls = null, console = null } = options
  return makeHttpServer({
    services,
    routes,
    document: documentOf(routes, aboutExternal),
    authenticate,
    doPiece,
    asApiError,
    ...(request_ms_max === undefined ? {} : { request_ms_max }),
    ...(tls === null ? {} : { https: secureOptions(tls) }),
    others: {
      forms: consoleForms,
      add: (server) => {
        addConsole(server, services, console)
      },
    },
  })
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
