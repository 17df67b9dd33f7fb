/**
 * Accepts hosts of the rack. Until a connection has proved who it is, it may cost next to nothing:
 * there are at most `tls_waiting_max` such connections, each for at most `tls_handshake_ms_max`,
 * and a newcomer takes the place of the one that has been waiting longest. So a flood, or peers
 * that never finish their handshake, cannot keep out one that does.
 */
import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer as createNetServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls'
import { limits } from '#config/limits.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { listenAt, type ListenAt } from '../wire/listening.ts'
import type { Identity } from './identity.ts'
import { frames, handshakeFault, mutual, peerIdentity, type Language } from './secure.ts'

export interface SecureListenerOptions {
  readonly identity: Identity
  readonly clock: Clock
  readonly log: Log
  /** The hosts that may come in. */
  readonly peers: readonly string[]
  /** What is spoken inside; absent: frames. */
  readonly language?: Language
  /** A host connected and has proved that it is `host`. */
  readonly onHost: (socket: TLSSocket, host: string) => void
}

export interface Refusal {
  readonly count: number
  readonly at_ms: number
  readonly why: string
}

export class SecureListener {
  readonly #options: SecureListenerOptions
  readonly #language: Language
  readonly #net: Server
  readonly #tls: TlsServer
  /** Connections that have not proved themselves, oldest first, with what stops their timers. */
  readonly #waiting = new Map<Socket, () => void>()
  /** Which connection an event of the TLS server is about. */
  readonly #about = new AsyncLocalStorage<Socket>()
  readonly #stopListening: () => void
  #refused = 0
  #refusal: Refusal | null = null
  #stopCounting: () => void = () => undefined

  constructor(options: SecureListenerOptions) {
    this.#options = options
    this.#language = options.language ?? frames
    this.#net = createNetServer({ noDelay: true }, (raw) => {
      this.#admit(raw)
    })
    this.#tls = createTlsServer(mutual(options.identity.credentials, this.#language), (socket) => {
      this.#accept(socket)
    })
    this.#tls.on('tlsClientError', (error, socket) => {
      // What was wrong with a certificate is on the socket; the error says only that it was closed.
      this.#refuse(handshakeFault(socket.authorizationError ?? error, this.#language))
      socket.destroy()
    })
    this.#stopListening = options.identity.onChange((credentials) => {
      this.#tls.setSecureContext(mutual(credentials, this.#language))
    })
  }

  /** Connections that have not proved themselves yet. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** The last connection that was refused, and how many were. */
  get refusal(): Refusal | null {
    return this.#refusal
  }

  /** Listens; rejects when the address is taken. Resolves with what `net.Server.address` says. */
  async listen(where: ListenAt): Promise<ReturnType<Server['address']>> {
    await listenAt(this.#net, where)
    return this.#net.address()
  }

  /** Stops accepting and ends the connections that have not proved themselves. */
  close(): void {
    this.#net.close()
    this.#stopListening()
    this.#stopCounting()
    for (const raw of this.#waiting.keys()) raw.destroy()
  }

  #admit(raw: Socket): void {
    const [oldest] = this.#waiting.keys()
    if (oldest !== undefined && this.#waiting.size >= limits.tls_waiting_max) {
      this.#forget(oldest)
      oldest.destroy()
      this.#refuse('too many connections were waiting to prove who they are')
    }
    const cancel = this.#options.clock.after(limits.tls_handshake_ms_max, () => {
      this.#forget(raw)
      raw.destroy()
      this.#refuse(`a handshake took longer than ${limits.tls_handshake_ms_max} ms`)
    })
    this.#waiting.set(raw, cancel)
    raw.once('close', () => {
      this.#forget(raw)
    })
    raw.on('error', () => undefined)
    this.#about.run(raw, () => {
      this.#tls.emit('connection', raw)
    })
  }

  #accept(socket: TLSSocket): void {
    const raw = this.#about.getStore()
    assert(raw !== undefined, 'a handshake belongs to a connection that was admitted')
    this.#forget(raw)
    const { identity, peers, clock, onHost } = this.#options
    const peer = peerIdentity(socket, identity.credentials, clock.now(), this.#language)
    if (peer.ok && peers.includes(peer.value)) {
      onHost(socket, peer.value)
      return
    }
    this.#refuse(
      peer.ok
        ? `${peer.value} is a host of this rack, but none that the configuration here names`
        : peer.detail,
    )
    socket.destroy()
  }

  #forget(raw: Socket): void {
    this.#waiting.get(raw)?.()
    this.#waiting.delete(raw)
  }

  /** Logs the first of many refusals, and a second later how many there were. */
  #refuse(why: string): void {
    const { clock, log } = this.#options
    this.#refused += 1
    this.#refusal = { count: (this.#refusal?.count ?? 0) + 1, at_ms: clock.now(), why }
    if (this.#refused > 1) return
    log.warn('a connection was refused', { why })
    this.#stopCounting = clock.after(limits.tls_refusals_log_ms, () => {
      if (this.#refused > 1) log.warn('more connections were refused', { count: this.#refused - 1 })
      this.#refused = 0
    })
  }
}
