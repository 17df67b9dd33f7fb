/**
 * The internal APIs' listeners, for programs of the rack that speak HTTP: TLS with certificates of the
 * rack on both sides, or plain where the configuration may say so.
 */
import { X509Certificate } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { request as plainRequest } from 'node:http'
import { request as secureRequest } from 'node:https'
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import type { Post } from '#actors/nexus/internal/route.ts'
import { limits } from '#config/limits.ts'
import type { InternalListen } from '#config/wire.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { Identity } from '#runtime/tls/identity.ts'
import { SecureListener } from '#runtime/tls/listener.ts'
import { hostOf } from '#runtime/tls/name.ts'
import { handshakeFault, http, mutual, peerIdentity } from '#runtime/tls/secure.ts'
import { listenAt, type ListenAt } from '#runtime/wire/listening.ts'

export interface InternalOptions {
  readonly server: FastifyInstance
  readonly listen: InternalListen
  /** Opens what to listen on; throws while it is not there. */
  readonly where: () => ListenAt
  readonly identity: Identity
  /** The hosts that may come in. */
  readonly peers: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

export class Internal {
  readonly #options: InternalOptions
  readonly #sockets = new Set<TLSSocket>()
  #listener: SecureListener | null = null
  #stopWaiting: () => void = () => undefined
  #closed = false
  #trouble = ''

  constructor(options: InternalOptions) {
    this.#options = options
    options.identity.onChange((credentials) => {
      for (const socket of this.#sockets) {
        const peer = peerIdentity(socket, credentials, options.clock.now(), http)
        if (!peer.ok) socket.destroy()
      }
    })
  }

  /** Serves, now or as soon as the address is there and free: other work does not wait for it. */
  async open(): Promise<void> {
    const { server, listen, clock, log } = this.#options
    await server.ready()
    try {
      await (listen.plain ? this.#listenPlainly() : this.#listenSecurely())
      log.info('the internal API is served', { at: listen.at, plain: listen.plain })
    } catch (error) {
      if (this.#trouble !== explain(error)) {
        this.#trouble = explain(error)
        log.error('the internal API is not served yet', { at: listen.at, why: this.#trouble })
      }
      if (this.#closed) return
      this.#stopWaiting = clock.after(limits.link_connect_ms, () => {
        void this.open()
      })
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#stopWaiting()
    this.#listener?.close()
    for (const socket of this.#sockets) socket.destroy()
    await this.#options.server.close()
  }

  async #listenPlainly(): Promise<void> {
    const { server, where } = this.#options
    const at = where()
    await listenAt(server.server, at)
    if ('path' in at) chmodSync(at.path, 0o600)
  }

  async #listenSecurely(): Promise<void> {
    const { server, where, identity, peers, clock, log } = this.#options
    const listener = new SecureListener({
      identity,
      peers,
      clock,
      log,
      language: http,
      onHost: (socket) => {
        this.#sockets.add(socket)
        socket.once('close', () => this.#sockets.delete(socket))
        server.server.emit('connection', socket)
      },
    })
    try {
      await listener.listen(where())
    } catch (error) {
      listener.close()
      throw error
    }
    this.#listener = listener
    // The server itself listens nowhere; so that it still looks at how long requests take:
    server.server.emit('listening')
  }
}

/** Posts to programs of the rack: over TLS with the rack's certificates, or plain where `identity` is null. */
export const poster =
  (identity: Identity | null): Post =>
  async (to, path, body) => {
    const options = {
      host: to.ip,
      port: to.port,
      path,
      method: 'POST',
      agent: false as const,
      headers: { 'content-type': 'application/json' },
      signal: AbortSignal.timeout(limits.link_connect_ms),
    }
    const { promise, resolve } = Promise.withResolvers<Result<null, 'refused'>>()
    const request =
      identity === null ? plainRequest(options) : secureRequest({ ...options, ...proved(identity) })
    request.once('response', (response) => {
      const status = response.statusCode ?? 0
      response.resume()
      resolve(status < 300 ? ok(null) : err('refused', `it answered with status ${status}`))
    })
    request.once('error', (error) => {
      resolve(err('refused', handshakeFault(error, http)))
    })
    request.end(JSON.stringify(body))
    return await promise
  }

/** Any host of the rack may be at the other end: which one serves an address is not written anywhere. */
const proved = ({ credentials }: Identity) => ({
  ...mutual(credentials, http),
  checkServerIdentity: (_name: string, { raw }: { readonly raw: Buffer }) =>
    hostOf(new X509Certificate(raw)) === null
      ? new Error("the peer's certificate does not name a host")
      : undefined,
})
