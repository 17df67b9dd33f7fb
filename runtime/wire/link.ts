/**
 * Links between hosts: frames over TCP or a unix socket. Each end says who it is first; then both
 * may call. A link that breaks fails its waiting calls with `unreachable` and, on the dialling
 * side, is made again with back-off. Silence longer than `link_silent_ms_max` counts as broken.
 */
import { rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import type { Clock } from '../clock.ts'
import { Endpoint, type Incoming } from '../endpoint.ts'
import type { Log } from '../log.ts'
import type { Protocol } from '../protocol.ts'
import { err, explain } from '../result.ts'
import { fits } from '../schema.ts'
import { encodeFrame, FrameError, FrameReader, type Frame } from './frame.ts'
import { isListening } from './listening.ts'

export interface LinkOptions {
  /** This host's name. */
  readonly host: string
  readonly clock: Clock
  readonly log: Log
  /** What the other end may call; anything else is `unsupported`. */
  readonly exports: readonly Protocol[]
  readonly onCall: (incoming: Incoming) => void
  /** A peer is there or gone. */
  readonly onPeer?: (host: string, isUp: boolean) => void
}

const hello = Type.Object({
  host: Type.String({ minLength: 1, maxLength: 128 }),
  protocols: Type.Record(Type.String({ maxLength: 64 }), Type.Integer({ minimum: 1 })),
})

/** The peers of this host that are reachable now. */
export class Links {
  readonly #options: LinkOptions
  readonly #peers = new Map<string, Link>()
  readonly #links = new Set<Link>()
  #server: Server | null = null
  #closed = false

  constructor(options: LinkOptions) {
    this.#options = options
  }

  /** The way to a host; null while no link to it is up. */
  to(host: string): Endpoint | null {
    return this.#peers.get(host)?.endpoint ?? null
  }

  get peers(): readonly string[] {
    return [...this.#peers.keys()]
  }

  /** Accepts links. `where` is what net.Server.listen takes: an address, a path, or a descriptor. */
  async listen(
    where: { host: string; port: number } | { path: string } | { fd: number },
  ): Promise<void> {
    // A process that was killed leaves its socket's file.
    if ('path' in where && !(await isListening(where.path))) rmSync(where.path, { force: true })
    const server = createServer((socket) => {
      this.#adopt(socket)
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(where, () => {
      resolve()
    })
    await promise
    this.#server = server
  }

  /** Keeps a link to `connect()`'s other end up until `close`. */
  dial(what: string, connect: () => Socket): void {
    let delay_ms: number = limits.link_retry_ms_min
    const attempt = () => {
      if (this.#closed) return
      const link = this.#adopt(openSafely(connect))
      link.onUp = () => {
        delay_ms = limits.link_retry_ms_min
      }
      link.onDown = (why) => {
        if (link.peer !== null) this.#options.log.warn('a link is down', { to: what, why })
        this.#options.clock.after(delay_ms, attempt)
        delay_ms = Math.min(limits.link_retry_ms_max, delay_ms * 2)
      }
    }
    attempt()
  }

  /** Ends all links and stops accepting and dialling. */
  close(): void {
    this.#closed = true
    this.#server?.close()
    for (const link of this.#links) link.end('this host stops')
  }

  #adopt(socket: Socket): Link {
    const link = new Link(socket, this.#options, {
      up: (host) => {
        this.#peers.get(host)?.end('the peer opened a newer link')
        this.#peers.set(host, link)
        this.#options.onPeer?.(host, true)
      },
      down: () => {
        this.#links.delete(link)
        if (link.peer === null || this.#peers.get(link.peer) !== link) return
        this.#peers.delete(link.peer)
        this.#options.onPeer?.(link.peer, false)
      },
    })
    this.#links.add(link)
    return link
  }
}

/** A connector for `dial`: an address and port, or a unix socket's path. */
export const connector =
  (where: { readonly host: string; readonly port: number } | { readonly path: string }) =>
  (): Socket =>
    createConnection({ ...where })

/** A connector that throws counts as a socket that fails. */
function openSafely(connect: () => Socket): Socket {
  try {
    return connect()
  } catch (error) {
    const socket = createConnection({ path: '/nonexistent' })
    socket.destroy(error instanceof Error ? error : new Error(explain(error)))
    return socket
  }
}

class Link {
  readonly endpoint: Endpoint
  peer: string | null = null
  onUp: () => void = () => undefined
  onDown: (why: string) => void = () => undefined
  readonly #socket: Socket
  readonly #options: LinkOptions
  readonly #reader = new FrameReader()
  readonly #events: { readonly up: (host: string) => void; readonly down: () => void }
  #heard_ms: number
  #stopPings: () => void = () => undefined
  #ended = false

  constructor(
    socket: Socket,
    options: LinkOptions,
    events: { readonly up: (host: string) => void; readonly down: () => void },
  ) {
    this.#socket = socket
    this.#options = options
    this.#events = events
    this.#heard_ms = options.clock.now()
    this.endpoint = new Endpoint({
      clock: options.clock,
      send: (bytes) => this.#write(bytes),
      onCall: (incoming) => {
        this.#guard(incoming)
      },
    })
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#read(chunk)
    })
    socket.once('error', (error) => {
      this.end(explain(error))
    })
    socket.once('close', () => {
      this.end('the connection closed')
    })
    const protocols = Object.fromEntries(
      options.exports.map(({ name, version }) => [name, version]),
    )
    this.#write(
      encodeFrame({ ...blank, kind: 'hello', payload: { host: options.host, protocols } }),
    )
    this.#watch()
  }

  /** Ends the link; waiting calls fail. */
  end(why: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopPings()
    this.#socket.destroy()
    this.endpoint.close('unreachable', `the link to ${this.peer ?? 'the peer'} ended: ${why}`)
    this.#events.down()
    this.onDown(why)
  }

  #read(chunk: Buffer): void {
    this.#heard_ms = this.#options.clock.now()
    try {
      for (const frame of this.#reader.push(chunk)) this.#take(frame)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#options.log.warn('a peer broke the protocol', { peer: this.peer, why: explain(error) })
      this.end(explain(error))
    }
  }

  #take(frame: Frame): void {
    if (this.peer === null) {
      if (frame.kind !== 'hello' || !fits(hello, frame.payload)) {
        throw new FrameError('the first frame is not a greeting')
      }
      this.peer = frame.payload.host
      this.#events.up(this.peer)
      this.onUp()
    } else if (frame.kind === 'ping') {
      this.#write(encodeFrame({ ...blank, kind: 'pong' }))
    } else if (frame.kind !== 'pong') {
      this.endpoint.receive(frame)
    }
  }

  #guard(incoming: Incoming): void {
    const isExported = this.#options.exports.some(({ name }) => name === incoming.protocol)
    if (incoming.host !== this.#options.host) {
      incoming.answer(err('unreachable', `this is ${this.#options.host}, not ${incoming.host}`))
    } else if (isExported) {
      this.#options.onCall(incoming)
    } else {
      incoming.answer(err('unsupported', `${incoming.protocol} may not be called from outside`))
    }
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#ended) return false
    if (this.#socket.writableLength > limits.link_outgoing_bytes_max) return false
    if (this.#socket.writableCorked === 0) {
      // One write a tick: what is sent until then travels together.
      this.#socket.cork()
      process.nextTick(() => {
        this.#socket.uncork()
      })
    }
    this.#socket.write(bytes)
    return true
  }

  #watch(): void {
    this.#stopPings = this.#options.clock.after(limits.link_ping_ms, () => {
      const silent_ms = this.#options.clock.now() - this.#heard_ms
      if (silent_ms > limits.link_silent_ms_max) {
        this.end(`nothing was heard for ${silent_ms} ms`)
        return
      }
      this.#write(encodeFrame({ ...blank, kind: 'ping' }))
      this.#watch()
    })
  }
}

const blank = {
  flags: 0,
  op: 0,
  correlation: 0,
  remaining_ms: 0,
  host: '',
  protocol: '',
  actor: '',
  payload: null,
} as const
