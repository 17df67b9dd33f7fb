/**
 * One end of a channel to another thread or host: calls that wait for a reply from there, and calls
 * that are served for it. What is in flight is bounded on both sides; the peer that breaks a bound, or
 * sends what makes no sense, loses its channel and nothing else happens.
 *
 * Actors are called by number: the first call of an actor binds a number to its name. Calls are told
 * apart by a correlation, the index of a free slot and how often that slot was used.
 */
import { limits } from '#config/limits.ts'
import type { CallOptions, Down } from '../actor/actor.ts'
import { Bindings, nameOf, type Bound } from './bindings.ts'
import type { Codec } from '../codec/compile.ts'
import { cursorOver, Misfit, type Cursor } from '../codec/cursor.ts'
import type { Deadlines } from '../actor/deadlines.ts'
import type { Answer, Asker, Message } from '../actor/message.ts'
import { Caller } from '../actor/caller.ts'
import { Relay, type Outgoing, type Pending, type Served } from './calls.ts'
import type { Outlet } from './outlet.ts'
import { Watches } from './watches.ts'
import { FrameWriter, rawCodec } from './writer.ts'
import type { Protocol, Row } from '../actor/protocol.ts'
import type { ActorRef } from '../actor/ref.ts'
import { err, explain } from '../result.ts'
import { explainMisfit } from '../schema.ts'
import { Slots } from './slots.ts'
import type { Span } from '../trace.ts'
import * as frame from '../wire/frame.ts'
import { flags, FrameError, kinds, type Header } from '../wire/frame.ts'

/** What a channel asks of the system behind it. */
export interface ChannelHost {
  readonly deadlines: Deadlines
  /** A call or cast has come; its payload is at the cursor, which is only good during this call. */
  readonly serve: (incoming: Incoming) => void
  /** Watches an actor for the other end. */
  readonly watch: (bound: Bound, watcher: (down: Down) => void) => () => void
  /** An answer came to nobody. */
  readonly late: (what: string) => void
}
/** One object serves for all calls of a channel. */
export interface Incoming {
  readonly channel: Channel
  readonly header: Header
  cursor: Cursor
  bound: Bound
  span: Span | null
}
export interface ChannelOptions {
  readonly host: ChannelHost
  readonly outlet: Outlet
  /** What the other end may call, and of which host; null for everything. */
  readonly guard: ((host: string, protocol: string) => Answer | null) | null
  /** Why the other end cannot take a row of that age; null when it is this very program. */
  readonly objection: ((protocol: Protocol, since: number) => string | null) | null
}
/** What is under way on a channel, seen from one end. */
export interface ChannelLoad {
  /** Calls that wait for the other end. */
  readonly calls: number
  /** Calls that are served for it. */
  readonly serving: number
  /** Watches of actors there, and of actors here. */
  readonly watches: number
  readonly watched: number
  /** Frames that wait for room. */
  readonly parked: number
}
export class Channel implements Asker {
  readonly #options: ChannelOptions
  readonly #writer: FrameWriter
  readonly #incoming: Incoming
  readonly #pending = new Slots<Pending>(limits.link_inflight_max)
  readonly #serving: (Served | null)[] = []
  readonly #servingAs: number[] = []
  readonly #bindings: Bindings
  readonly #watches = new Watches()
  #received = 0
  #closed: string | null = null

  constructor(options: ChannelOptions) {
    this.#options = options
    this.#writer = new FrameWriter(options.outlet)
    this.#bindings = new Bindings(options.guard)
    this.#incoming = {
      channel: this,
      header: frame.emptyHeader(),
      cursor: cursorOver(new Uint8Array(0)),
      bound: this.#bindings.nobody,
      span: null,
    }
  }

  get inflight(): number {
    return this.#pending.used
  }
  get isClosed(): boolean {
    return this.#closed !== null
  }

  /** For people, and for those who look for leaks. */
  inspect(): ChannelLoad {
    return {
      calls: this.#pending.used,
      serving: this.#serving.filter((served) => served !== null).length,
      ...this.#watches.counts,
      parked: this.#writer.parked,
    }
  }

  /** Sends a call and waits for its reply, its deadline, or the end of the channel. */
  ask(ref: ActorRef, row: Row, request: unknown, options: CallOptions): Promise<Answer> {
    const refusal = this.#refusal(ref, row)
    if (refusal !== null) return Promise.resolve(refusal)
    const call = new Caller(ref, row, options.timeout_ms)
    const correlation = this.#pending.take(call)
    call.waitForChannel(this, correlation)
    const failed = this.#send(kinds.call, call, request)
    if (failed !== null) {
      this.#pending.free(correlation)
      call.finish(failed)
    }
    return call.answer(this.#options.host.deadlines, options.signal)
  }

  /** Nobody waits for a call any more. */
  abandon(correlation: number): void {
    if (this.#pending.free(correlation) === null) return
    this.#must(this.#writer.head(kinds.cancel, correlation), rawCodec, nothing)
  }

  /** Sends a message that nobody answers; a failure when it cannot be sent. */
  tell(ref: ActorRef, row: Row, request: unknown): Answer | null {
    const refusal = this.#refusal(ref, row)
    if (refusal !== null) return refusal
    const cast = { ref, row, correlation: 0, timeout_ms: frame.remaining_ms_max }
    return this.#send(kinds.cast, cast, request)
  }

  /** Passes a call on that came over another channel, as the bytes it came as, to an actor of `host`. */
  forward(incoming: Incoming, host: string): void {
    const { channel, header, cursor, bound, span } = incoming
    const isCast = header.kind === kinds.cast
    const refuse = (code: 'busy' | 'unreachable', why: string) => {
      const what = `${nameOf(bound)} op ${header.op}`
      if (isCast) this.#options.host.late(`${what}: ${why}`)
      else channel.refuse(header.correlation, err(code, `${what}: ${why}`))
    }
    if (this.#closed !== null) {
      refuse('unreachable', this.#closed)
      return
    }
    const number = this.#bind(host, bound.protocol, bound.actor)
    if (number === null || this.#pending.isFull) {
      refuse('busy', 'too much is in flight')
      return
    }
    const relay = new Relay(channel, header.correlation, this)
    const correlation = isCast ? 0 : this.#pending.take(relay)
    relay.correlation = correlation
    const out = this.#writer.head(header.kind, correlation, number)
    out.op = header.op
    out.remaining_ms = header.remaining_ms
    const payload = cursor.buffer.subarray(cursor.at, cursor.limit)
    if (!this.#writer.send(rawCodec, payload, span)) {
      if (!isCast) this.#pending.free(correlation)
      refuse('busy', 'the channel can take no more now')
    } else if (!isCast) {
      channel.serving(header.correlation, relay)
    }
  }

  /** Watches an actor at the other end; returns a function that ends the watch. */
  monitor(ref: ActorRef, watcher: (down: Down) => void): () => void {
    const gone = (detail: string) => {
      watcher({ reason: 'unreachable', detail: `${ref.name}: ${detail}` })
      return () => undefined
    }
    if (this.#closed !== null) return gone(this.#closed)
    if (this.#watches.isFull) return gone('too much is watched already')
    let number: number | null
    try {
      number = this.#bind(ref.host, ref.protocol.name, ref.id)
    } catch (error) {
      return gone(explain(error))
    }
    if (number === null || this.#writer.isParked) return gone('the channel can take no more now')
    const watch = this.#watches.add(watcher)
    this.#must(this.#writer.head(kinds.monitor, watch, number), rawCodec, nothing)
    return () => {
      if (!this.#watches.delete(watch)) return
      this.#must(this.#writer.head(kinds.demonitor, watch), rawCodec, nothing)
    }
  }

  /** Takes the frame at the cursor. Throws FrameError on what may not come here. */
  receive(from: Cursor): void {
    const { header } = this.#incoming
    this.#incoming.cursor = from
    frame.readHeader(from, header)
    this.#received = (this.#received + 1) >>> 0
    if (header.sequence !== this.#received) {
      throw new FrameError(`frame ${header.sequence} came where ${this.#received} was due`)
    }
    if (this.#writer.isFlooded) throw new FrameError('the other end asks on and reads no answers')
    this.#incoming.span = (header.flags & flags.trace) === 0 ? null : frame.readSpan(from)
    switch (header.kind) {
      case kinds.call:
      case kinds.cast:
        this.#serve()
        return
      case kinds.reply:
      case kinds.failure:
        this.#finish()
        return
      default:
        this.#takeOther()
    }
  }

  #takeOther(): void {
    const { cursor, header } = this.#incoming
    switch (header.kind) {
      case kinds.cancel:
        this.#cancelServed('the caller gave up')
        return
      case kinds.bind:
        this.#bindings.take(header.target, cursor)
        return
      case kinds.monitor:
        this.#watchFor(header.correlation, this.#bindings.at(header.target))
        return
      case kinds.demonitor:
        this.#watches.end(header.correlation)
        return
      case kinds.down:
        this.#watches.takeDown(header.correlation, cursor)
        return
      default:
        throw new FrameError(`a frame of kind ${header.kind} out of place`)
    }
  }

  /** Sends a frame of the channel's owner (greeting, ping, pong). False when it cannot be sent now. */
  control(kind: number, codec: Codec, value: unknown): boolean {
    this.#writer.head(kind, 0)
    return this.#writer.send(codec, value, null)
  }
  /** Counts a frame that the channel's owner took itself. */
  counted(sequence: number): void {
    this.#received = (this.#received + 1) >>> 0
    if (sequence !== this.#received) throw new FrameError('a frame came out of order')
  }

  /** Remembers who serves a call that could not be answered at once: its caller may give up. */
  serving(correlation: number, served: Served): void {
    if (this.#closed !== null) {
      // Whoever serves it has closed the channel itself.
      served.abandon(this.#closed)
      return
    }
    const index = this.#pending.indexOf(correlation)
    this.#serving[index] = served
    this.#servingAs[index] = correlation
  }

  /** The answer to a message of this channel. Throws Misfit when it breaks its row. */
  settle(message: Message, answer: Answer): void {
    const { correlation, row } = message
    if (correlation === 0) {
      if (this.#closed === null) {
        this.#options.host.late(`${message.cell.name} ${row.name}: nobody waits`)
      }
      return
    }
    if (answer.ok) this.#must(this.#writer.head(kinds.reply, correlation), row.reply, answer.value)
    else this.refuse(correlation, answer)
    message.correlation = 0
    const index = this.#pending.indexOf(correlation)
    // What is answered at once was never registered.
    if (this.#serving[index] === message) this.#serving[index] = null
  }

  /** Answers a call with a failure. */
  refuse(correlation: number, answer: Answer): void {
    if (answer.ok) return
    const value = [answer.error, frame.shorten(answer.detail)]
    this.#must(this.#writer.head(kinds.failure, correlation), frame.failureCodec, value)
  }

  /** Answers a call that was passed on with the bytes of the answer. */
  relay(kind: number, correlation: number, payload: Buffer): void {
    const index = this.#pending.indexOf(correlation)
    if (this.#servingAs[index] !== correlation || this.#serving[index] === null) return
    this.#serving[index] = null
    this.#must(this.#writer.head(kind, correlation), rawCodec, payload)
  }

  /** Answers a call that was passed on with why there is no answer. */
  relayFailure(correlation: number, answer: Answer): void {
    const index = this.#pending.indexOf(correlation)
    if (this.#servingAs[index] !== correlation || this.#serving[index] === null) return
    this.#serving[index] = null
    this.refuse(correlation, answer)
  }

  /** The channel is gone: every waiting call fails, everything being served is cancelled. */
  close(code: 'unreachable' | 'crashed', why: string): void {
    if (this.#closed !== null) return
    this.#closed = why
    this.#writer.close()
    for (const pending of this.#pending.drain()) pending.finish(err(code, why))
    for (const served of this.#serving) served?.abandon(why)
    this.#serving.length = 0
    this.#watches.close({ reason: code, detail: why })
  }

  #refusal(ref: ActorRef, row: Row): Answer | null {
    const refuse = (code: 'unreachable' | 'busy' | 'unsupported', why: string) =>
      err(code, `${ref.name} ${row.name}: ${why}`)
    if (this.#closed !== null) return refuse('unreachable', this.#closed)
    if (this.#pending.isFull) return refuse('busy', `${this.#pending.used} calls are in flight`)
    const why = this.#options.objection?.(ref.protocol, row.call.since) ?? null
    return why === null ? null : refuse('unsupported', why)
  }

  #send(
    kind: number,
    { ref, row, correlation, timeout_ms }: Outgoing,
    request: unknown,
  ): Answer | null {
    try {
      const number = this.#bindings.isBound(ref) ? ref.number : this.#bindRef(ref)
      const header = this.#writer.head(kind, correlation, number ?? 0)
      header.op = row.call.op
      header.remaining_ms = Math.min(frame.remaining_ms_max, Math.ceil(Math.max(0, timeout_ms)))
      if (number !== null && this.#writer.send(row.request, request, ref.parent)) return null
    } catch (error) {
      if (!(error instanceof Misfit) && !(error instanceof FrameError)) throw error
      const why = explainMisfit(row.call.request, request, error)
      return err('invalid', `${ref.name} ${row.name}: the request breaks its schema: ${why}`)
    }
    return err('busy', `${ref.name} ${row.name}: the channel can take no more now`)
  }

  #bindRef(ref: ActorRef): number | null {
    const number = this.#bind(ref.host, ref.protocol.name, ref.id)
    if (number !== null) this.#bindings.remember(ref, number)
    return number
  }

  /** The number of an actor at the other end; null when it cannot be told now. */
  #bind(host: string, protocol: string, actor: string): number | null {
    const { number, isNew } = this.#bindings.numberOf(host, protocol, actor)
    if (!isNew) return number
    this.#writer.head(kinds.bind, 0, number)
    let isSent = false
    try {
      isSent = this.#writer.send(frame.bindCodec, [host, protocol, actor], null)
    } catch (cause) {
      throw new Misfit(`an actor's name cannot be sent`, { cause })
    } finally {
      if (!isSent) this.#bindings.forget(number)
    }
    return isSent ? number : null
  }

  /** Sends what the other end waits for. Throws Misfit. */
  #must(header: Header, codec: Codec, value: unknown): void {
    if (this.#closed !== null) return
    if (header.kind === kinds.reply && this.#writer.isOverfull) {
      // Not `busy`: that would say that nothing was done.
      this.refuse(header.correlation, err('unreachable', 'too many replies wait to be read'))
      return
    }
    try {
      this.#writer.must(codec, value)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.refuse(header.correlation, err('invalid', `the reply cannot be sent: ${error.message}`))
    }
  }

  #serve(): void {
    const { header } = this.#incoming
    const isCall = header.kind === kinds.call
    const index = this.#pending.indexOf(header.correlation)
    if (isCall && (index >= limits.link_inflight_max || (this.#serving[index] ?? null) !== null)) {
      throw new FrameError(`correlation ${header.correlation} is taken`)
    }
    const bound = this.#bindings.at(header.target)
    this.#incoming.bound = bound
    const { refusal } = bound
    if (refusal === null || refusal.ok) this.#options.host.serve(this.#incoming)
    else if (isCall) this.refuse(header.correlation, refusal)
    else this.#options.host.late(`${nameOf(bound)}: ${refusal.detail}`)
  }

  #finish(): void {
    const { header } = this.#incoming
    const pending = this.#pending.free(header.correlation)
    if (pending === null) this.#options.host.late('a reply came to a call that was over')
    else this.#takeReply(pending)
  }

  #takeReply(pending: Pending): void {
    try {
      pending.take(this.#incoming.header.kind, this.#incoming.cursor)
    } catch (error) {
      pending.finish(err('invalid', `the answer makes no sense: ${explain(error)}`))
      throw error
    }
  }

  #watchFor(watch: number, bound: Bound): void {
    const { host } = this.#options
    const begin = (watcher: (down: Down) => void) => host.watch(bound, watcher)
    this.#watches.serve(watch, bound, begin, (down) => {
      const value = [down.reason, frame.shorten(down.detail)]
      this.#must(this.#writer.head(kinds.down, watch), frame.failureCodec, value)
    })
  }

  #cancelServed(why: string): void {
    const { correlation } = this.#incoming.header
    const index = this.#pending.indexOf(correlation)
    if (this.#servingAs[index] !== correlation) return
    this.#serving[index]?.abandon(why)
    this.#serving[index] = null
  }
}

const nothing = new Uint8Array(0)
