/**
 * One link to another host: a channel over a stream. Each end says who it is first; then both may
 * call. It ends when the stream does, when the other end breaks the protocol, and when nothing has
 * been heard for `link_silent_ms_max`: a peer that stands still, or that no packet reaches any more, is
 * not told from a dead one.
 */
import type { Duplex } from 'node:stream'
import { Type, type Static } from 'typebox'
import { limits } from '#config/limits.ts'
import { Channel, type ChannelHost } from '../channel/channel.ts'
import type { Clock } from '../clock.ts'
import { codecOf } from '../codec/codec.ts'
import { Misfit, type Cursor } from '../codec/cursor.ts'
import type { Log } from '../log.ts'
import type { Answer } from '../actor/message.ts'
import type { Protocol } from '../actor/protocol.ts'
import { err, explain } from '../result.ts'
import { handshakeFault } from '../tls/secure.ts'
import * as frame from './frame.ts'
import { FrameError, kinds } from './frame.ts'
import { FrameCutter, SocketOutlet } from './socket.ts'

/** What a link needs to know of the host that it belongs to. */
export interface LinkHost {
  /** This host's name. */
  readonly host: string
  readonly clock: Clock
  readonly log: Log
  /** What the other end may call; anything else is `unsupported`. */
  readonly exports: readonly Protocol[]
  /** Who serves what comes. */
  readonly serve: () => ChannelHost
}
export interface LinkEvents {
  /** The other end has said who it is. */
  readonly up: (link: Link, host: string) => void
  /** The link is over. It comes once, also when `up` never came. */
  readonly down: (link: Link, why: string) => void
}

const helloSchema = Type.Object({
  host: Type.String({ minLength: 1, maxLength: 128 }),
  /** What may be called here, and which version of it. */
  protocols: Type.Record(
    Type.String(),
    Type.Object({
      version: Type.Integer({ minimum: 1 }),
      fingerprint: Type.Integer({ minimum: 0, maximum: 0xffff_ffff }),
    }),
  ),
})
const hello = codecOf(helloSchema)
const silence = codecOf(Type.Null())
type Hello = Static<typeof helloSchema>

export class Link {
  readonly channel: Channel
  readonly stream: Duplex
  /** Who the other end says it is; null until then. */
  peer: string | null = null
  /** Who the other end must be; null where it may be anybody. */
  readonly #expected: string | null
  readonly #options: LinkHost
  readonly #events: LinkEvents
  readonly #cutter = new FrameCutter()
  readonly #header = frame.emptyHeader()
  #protocols: Hello['protocols'] = {}
  #silent_ms = 0
  /** Bytes that came since others had their turn. */
  #taken_bytes = 0
  #stopTimer: () => void
  #ended = false

  constructor(
    { stream, expected }: { readonly stream: Duplex; readonly expected: string | null },
    options: LinkHost,
    events: LinkEvents,
  ) {
    this.stream = stream
    this.#expected = expected
    this.#options = options
    this.#events = events
    this.channel = new Channel({
      host: options.serve(),
      outlet: new SocketOutlet(stream),
      guard: (host, protocol) => this.#guard(host, protocol),
      objection: (protocol, since) => this.#objection(protocol, since),
    })
    stream.on('data', (chunk: Buffer) => {
      this.#read(chunk)
    })
    stream.on('error', (error) => {
      this.end(this.peer === null ? handshakeFault(error) : explain(error))
    })
    stream.once('close', () => {
      const early = 'the peer ended the connection before it said who it is: its log says why'
      this.end(this.peer === null ? early : 'the connection closed')
    })
    this.#cutter.bytes_max = limits.link_greeting_bytes_max
    this.#stopTimer = options.clock.after(limits.link_connect_ms, () => {
      this.end(`no greeting within ${limits.link_connect_ms} ms`)
    })
    const protocols = Object.fromEntries(
      options.exports.map(({ name, version, fingerprint }) => [name, { version, fingerprint }]),
    )
    this.channel.control(kinds.hello, hello, { host: options.host, protocols } satisfies Hello)
  }

  /** Ends the link; waiting calls fail with `unreachable`. */
  end(why: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopTimer()
    this.stream.destroy()
    this.channel.close('unreachable', `the link to ${this.peer ?? 'the peer'} ended: ${why}`)
    this.#events.down(this, why)
  }

  #read(chunk: Buffer): void {
    this.#silent_ms = 0
    this.#taken_bytes += chunk.length
    if (this.#taken_bytes >= limits.link_turn_bytes_max) this.#pause()
    try {
      this.#cutter.push(chunk, this.#take)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#options.log.warn('a peer broke the protocol', { peer: this.peer, why: explain(error) })
      this.end(explain(error))
    }
  }

  /** A peer that sends much is read between the turns of others. */
  #pause(): void {
    this.stream.pause()
    this.#options.clock.defer(() => {
      this.#taken_bytes = 0
      this.stream.resume()
    })
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
    if (this.#expected !== null && host !== this.#expected) {
      throw new FrameError(`it says that it is ${host}, and should be ${this.#expected}`)
    }
    this.#protocols = protocols
    for (const protocol of this.#options.exports) {
      const differs = this.#difference(protocol)
      if (differs !== null) throw new FrameError(differs)
    }
    this.peer = host
    this.#cutter.bytes_max = frame.frame_bytes_max
    this.#stopTimer()
    this.#watch()
    this.#events.up(this, host)
  }

  #guard(host: string, protocol: string): Answer | null {
    const isExported = this.#options.exports.some(({ name }) => name === protocol)
    if (host !== '' && host !== this.#options.host) {
      return err('unreachable', `this is ${this.#options.host}, not ${host}`)
    }
    return isExported ? null : err('unsupported', `${protocol} may not be called from outside`)
  }

  /** Why the other end cannot take a row that is there since a version of its protocol. */
  #objection(protocol: Protocol, since: number): string | null {
    const { name } = protocol
    const there = this.#protocols[name]
    if (there === undefined || !Object.hasOwn(this.#protocols, name)) {
      return `the other end has no ${name}`
    }
    if (there.version < since) return `the other end has version ${there.version} of ${name}`
    return this.#difference(protocol)
  }

  #difference({ name, version, fingerprint }: Protocol): string | null {
    const there = this.#protocols[name]
    if (there?.version !== version || there.fingerprint === fingerprint) return null
    return `both ends have version ${version} of ${name}, and its tables differ, or how they lay messages out: one end's is no release`
  }

  /** Counts silence by its own turns: time in which this process stood still is not the peer's. */
  #watch(): void {
    this.#stopTimer = this.#options.clock.after(limits.link_ping_ms, () => {
      this.#silent_ms += limits.link_ping_ms
      if (this.#silent_ms > limits.link_silent_ms_max) {
        this.end(`nothing was heard for ${limits.link_silent_ms_max} ms`)
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
