/**
 * Links between hosts: channels over TCP or a unix socket. Each end says who it is first; then both
 * may call. A link that breaks fails its waiting calls with `unreachable` and, on the dialling
 * side, is made again with back-off. Silence longer than `link_silent_ms_max` counts as broken.
 */
import { rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Type, type Static } from 'typebox'
import { limits } from '#config/limits.ts'
import { Channel, type ChannelHost } from '../channel/channel.ts'
import type { Clock } from '../clock.ts'
import { codecOf } from '../codec/codec.ts'
import { Misfit, type Cursor } from '../codec/cursor.ts'
import type { Log } from '../log.ts'
import type { Answer } from '../message.ts'
import type { Protocol } from '../protocol.ts'
import { err, explain } from '../result.ts'
import { shown, type ChannelSeen } from '../seeing/snapshot.ts'
import * as frame from './frame.ts'
import { FrameError, kinds } from './frame.ts'
import { isListening } from './listening.ts'
import { FrameCutter, SocketOutlet } from './socket.ts'

/** Makes a socket safe: the stream to talk over, and when that stands, who the other end proved to be. */
export interface Security {
  /** The accepting side. Rejects when the other end is nobody of this rack. */
  readonly accept: (socket: Socket) => Promise<Secured>
  /** The dialling side; `host` is who should be there. */
  readonly connect: (socket: Socket, host: string) => Promise<Secured>
}
export interface Secured {
  readonly stream: Duplex
  readonly host: string
}

export interface LinkOptions {
  /** This host's name. */
  readonly host: string
  readonly clock: Clock
  readonly log: Log
  /** What the other end may call; anything else is `unsupported`. */
  readonly exports: readonly Protocol[]
  /** Who serves what comes. */
  readonly serve: () => ChannelHost
  /** Null where the way itself is safe: a unix socket that only root reaches, or a development's. */
  readonly security: Security | null
  /** A peer is there or gone. */
  readonly onPeer?: (host: string, isUp: boolean) => void
}

const helloSchema = Type.Object({
  host: Type.String({ minLength: 1, maxLength: 128 }),
  /** What may be called here, and which version of it. */
  protocols: Type.Record(Type.String(), Type.Integer({ minimum: 1 })),
})
const hello = codecOf(helloSchema)
const silence = codecOf(Type.Null())
type Hello = Static<typeof helloSchema>

/** The peers of this host that are reachable now. */
export class Links {
  readonly #options: LinkOptions
  readonly #peers = new Map<string, Link>()
  readonly #links = new Set<Link>()
  readonly #strangers = new Set<Socket>()
  /** Hosts that are dialled, and why the last link to each ended. */
  readonly #dialled = new Map<string, string | null>()
  #server: Server | null = null
  #closed = false

  constructor(options: LinkOptions) {
    this.#options = options
  }

  /** The way to a host; null while no link to it is up. */
  to(host: string): Channel | null {
    return this.#peers.get(host)?.channel ?? null
  }

  get peers(): readonly string[] {
    return [...this.#peers.keys()]
  }

  /** Links that are up, and those that should be, for people. */
  inspect(): ChannelSeen[] {
    const up = [...this.#peers].map(([host, { channel }]) => ({
      to: `host ${host}`,
      is_up: true,
      why: null,
      inflight: channel.inflight,
      served: channel.served,
    }))
    const down = [...this.#dialled]
      .filter(([host]) => !this.#peers.has(host))
      .map(([host, why]) => ({ to: `host ${host}`, is_up: false, why, inflight: 0, served: 0 }))
    return [...up, ...down]
  }

  /** Accepts links. `where` is what net.Server.listen takes: an address, a path, or a descriptor. */
  async listen(
    where: { host: string; port: number } | { path: string } | { fd: number },
  ): Promise<void> {
    // A process that was killed leaves its socket's file.
    if ('path' in where && !(await isListening(where.path))) rmSync(where.path, { force: true })
    const server = createServer((socket) => {
      this.#accept(socket)
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(where, () => {
      resolve()
    })
    await promise
    this.#server = server
  }

  /** Keeps a link to `host`, at `connect()`'s other end, up until `close`. */
  dial(host: string, connect: () => Socket): void {
    let delay_ms: number = limits.link_retry_ms_min
    const again = (why: string, wasUp: boolean) => {
      if (this.#closed) return
      this.#dialled.set(host, shown(why))
      if (wasUp) {
        this.#options.log.warn('a link is down', { to: host, why })
        delay_ms = limits.link_retry_ms_min
      }
      this.#options.clock.after(delay_ms, attempt)
      delay_ms = Math.min(limits.link_retry_ms_max, delay_ms * 2)
    }
    const attempt = () => {
      if (this.#closed) return
      const socket = openSafely(connect)
      this.#secure(socket, host, (error) => {
        again(explain(error), false)
      }).then(
        (link) => {
          if (link !== null) link.onDown = again
        },
        () => undefined,
      )
    }
    this.#dialled.set(host, null)
    attempt()
  }

  /** Ends all links and stops accepting and dialling. */
  close(): void {
    this.#closed = true
    this.#server?.close()
    for (const socket of this.#strangers) socket.destroy()
    for (const link of this.#links) link.end('this host stops')
  }

  #accept(socket: Socket): void {
    if (this.#strangers.size >= limits.link_strangers_max) {
      socket.destroy()
      return
    }
    void this.#secure(socket, null, (error) => {
      this.#options.log.warn('a connection was refused', { why: explain(error) })
    })
  }

  /** Finds out who is at the other end; null when that failed and `failed` was told. */
  async #secure(
    socket: Socket,
    host: string | null,
    failed: (error: unknown) => void,
  ): Promise<Link | null> {
    socket.setNoDelay(true)
    this.#strangers.add(socket)
    socket.on('error', () => undefined)
    const { security, clock } = this.#options
    const stopWaiting = clock.after(limits.link_connect_ms, () => {
      socket.destroy(new Error(`no greeting within ${limits.link_connect_ms} ms`))
    })
    try {
      const secured =
        security === null
          ? { stream: socket, host: null }
          : await (host === null ? security.accept(socket) : security.connect(socket, host))
      return this.#adopt(secured, () => {
        stopWaiting()
        this.#strangers.delete(socket)
      })
    } catch (error) {
      stopWaiting()
      this.#strangers.delete(socket)
      socket.destroy()
      failed(error)
      return null
    }
  }

  #adopt(secured: { stream: Duplex; host: string | null }, known: () => void): Link {
    const link = new Link(secured, this.#options, {
      up: (host) => {
        known()
        this.#peers.get(host)?.end('the peer opened a newer link')
        this.#peers.set(host, link)
        this.#options.onPeer?.(host, true)
      },
      down: () => {
        known()
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
  readonly channel: Channel
  peer: string | null = null
  onDown: (why: string, wasUp: boolean) => void = () => undefined
  readonly #stream: Duplex
  readonly #options: LinkOptions
  readonly #cutter = new FrameCutter()
  readonly #header = frame.emptyHeader()
  readonly #events: { readonly up: (host: string) => void; readonly down: () => void }
  /** Who the other end has proved to be; null where nobody has to prove anything. */
  readonly #proved: string | null
  #versions: Readonly<Record<string, number>> = {}
  #heard_ms: number
  #stopPings: () => void = () => undefined
  #ended = false

  constructor(
    secured: { readonly stream: Duplex; readonly host: string | null },
    options: LinkOptions,
    events: { readonly up: (host: string) => void; readonly down: () => void },
  ) {
    this.#stream = secured.stream
    this.#proved = secured.host
    this.#options = options
    this.#events = events
    this.#heard_ms = options.clock.monotonic()
    this.channel = new Channel({
      host: options.serve(),
      outlet: new SocketOutlet(secured.stream),
      guard: (host, protocol) => this.#guard(host, protocol),
      versionOf: (protocol) => this.#versions[protocol] ?? 0,
    })
    secured.stream.on('data', (chunk: Buffer) => {
      this.#read(chunk)
    })
    secured.stream.once('error', (error) => {
      this.end(explain(error))
    })
    secured.stream.once('close', () => {
      this.end('the connection closed')
    })
    const protocols = Object.fromEntries(
      options.exports.map(({ name, version }) => [name, version]),
    )
    this.channel.control(kinds.hello, hello, { host: options.host, protocols } satisfies Hello)
    this.#watch()
  }

  /** Ends the link; waiting calls fail. */
  end(why: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopPings()
    this.#stream.destroy()
    this.channel.close('unreachable', `the link to ${this.peer ?? 'the peer'} ended: ${why}`)
    this.#events.down()
    this.onDown(why, this.peer !== null)
  }

  #read(chunk: Buffer): void {
    this.#heard_ms = this.#options.clock.monotonic()
    try {
      this.#cutter.push(chunk, this.#take)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#options.log.warn('a peer broke the protocol', { peer: this.peer, why: explain(error) })
      this.end(explain(error))
    }
  }

  readonly #take = (cursor: Cursor): void => {
    // Frames that came with the one that ended the link are nobody's.
    if (this.#ended) return
    const kind = cursor.view.getUint8(cursor.at + 4)
    if (this.peer !== null && kind !== kinds.ping && kind !== kinds.pong) {
      this.channel.receive(cursor)
      return
    }
    frame.readHeader(cursor, this.#header)
    this.channel.counted(this.#header.sequence)
    if (this.peer === null) this.#greeted(kind, cursor)
    else if (kind === kinds.ping) this.channel.control(kinds.pong, silence, null)
  }

  #greeted(kind: number, cursor: Cursor): void {
    const { host, protocols } = readHello(kind, cursor)
    if (this.#proved !== null && host !== this.#proved) {
      throw new FrameError(`it says that it is ${host}, and proved to be ${this.#proved}`)
    }
    this.peer = host
    this.#versions = protocols
    this.#events.up(host)
  }

  #guard(host: string, protocol: string): Answer | null {
    const isExported = this.#options.exports.some(({ name }) => name === protocol)
    if (host !== '' && host !== this.#options.host) {
      return err('unreachable', `this is ${this.#options.host}, not ${host}`)
    }
    return isExported ? null : err('unsupported', `${protocol} may not be called from outside`)
  }

  #watch(): void {
    this.#stopPings = this.#options.clock.after(limits.link_ping_ms, () => {
      const silent_ms = this.#options.clock.monotonic() - this.#heard_ms
      if (silent_ms > limits.link_silent_ms_max) {
        this.end(`nothing was heard for ${Math.round(silent_ms)} ms`)
        return
      }
      this.channel.control(kinds.ping, silence, null)
      this.#watch()
    })
  }
}

function readHello(kind: number, cursor: Cursor): Hello {
  if (kind !== kinds.hello) throw new FrameError('the first frame is not a greeting')
  try {
    return hello.read(cursor) as Hello
  } catch (cause) {
    if (!(cause instanceof Misfit)) throw cause
    throw new FrameError('a greeting that makes no sense', { cause })
  }
}
