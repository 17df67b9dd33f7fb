/**
 * A message on its way through an actor. While it is handled it is also the handler's context, so
 * that time limit, cancellation and trace are those of this message and of no other.
 */
import type { Context, Down, Ref } from './actor.ts'
import type { Cell } from './cell.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { Linked } from './mailbox.ts'
import { call, nothing, Row, type Protocol } from './protocol.ts'
import type { Random } from '../random.ts'
import type { Result } from '../result.ts'
import { NativeDeps } from './native_calls.ts'
import type { OpenSpan, Work } from '../trace.ts'

export type Answer = Result<unknown, string>

/** Whoever waits for the answer to a message. */
export interface Asker {
  /** Throws Misfit when the answer breaks the message's row: then nothing was answered. */
  readonly settle: (message: Message, answer: Answer) => void
}

/** What few messages have: a message costs as much as the memory that it takes. */
class Seldom {
  span: OpenSpan | null = null
  came_ms: number | null = null
  cancelled: string | null = null
  abort: AbortController | null = null
}

/**
 * One class, and no other above it: what a derived class takes to make is a third of what a message
 * costs altogether.
 */
export class Message implements Context<unknown>, Work, Linked {
  readonly cell: Cell
  readonly row: Row
  readonly request: unknown
  asker: Asker
  next: this | null = null
  /** When nobody waits for its answer any more, in whole monotonic milliseconds; 0 for never. */
  expires_ms = 0
  /** The channel's number for it while its caller waits; 0 for a message of this thread. */
  correlation = 0
  /** When its handler began to wait for something, in monotonic milliseconds; null before. */
  waits_ms: number | null = null
  /** The answer, if it came while the message was delivered. */
  answer: Answer | null = null
  #seldom: Seldom | null = null

  constructor(cell: Cell, row: Row, request: unknown, asker: Asker) {
    this.cell = cell
    this.row = row
    this.request = request
    this.asker = asker
  }

  /** What an actor is given in `init` and `stop`, when there is no message. */
  static standing(cell: Cell, name: 'init' | 'stop'): Message {
    return new Message(cell, standing[name], null, nobody)
  }

  get isUrgent(): boolean {
    return this.row.call.lane === 'urgent'
  }
  get id(): string {
    return this.cell.id
  }
  get deps(): unknown {
    const { deps } = this.cell.kind
    return deps instanceof NativeDeps ? deps.for(this) : deps
  }
  get clock(): Clock {
    return this.cell.services.natives.clockOf(this)
  }
  get random(): Random {
    return this.cell.services.random
  }
  get log(): Log {
    return this.cell.log
  }
  get generation(): number {
    return this.cell.generation
  }

  ref<P extends Protocol>(protocol: P, id: string, host: string | null = null): Ref<P> {
    return this.cell.services.ref(protocol, id, host, this)
  }
  after(delay_ms: number, name: string, request: unknown): () => void {
    return this.cell.after(delay_ms, { name, request }, this)
  }
  monitor(target: Ref<Protocol>, name: string, request: (down: Down) => unknown): () => void {
    return this.cell.monitor(target, name, request)
  }
  get what(): string {
    return `${this.cell.name} ${this.row.name}`
  }
  get deadline_ms(): number {
    return this.expires_ms === 0 ? Number.POSITIVE_INFINITY : this.expires_ms
  }

  /** Null while nobody traces. */
  get span(): OpenSpan | null {
    return this.#seldom?.span ?? null
  }
  set span(span: OpenSpan) {
    this.#more.span = span
  }
  /** When it came, while somebody measures; otherwise null. */
  get came_ms(): number | null {
    return this.#seldom?.came_ms ?? null
  }
  set came_ms(ms: number) {
    this.#more.came_ms = ms
  }
  get cancelled(): string | null {
    return this.#seldom?.cancelled ?? null
  }
  get signal(): AbortSignal {
    const more = this.#more
    if (more.abort === null) {
      more.abort = new AbortController()
      if (more.cancelled !== null) more.abort.abort(new Error(more.cancelled))
    }
    return more.abort.signal
  }
  get #more(): Seldom {
    return (this.#seldom ??= new Seldom())
  }

  /** Its caller waits no more: there is nobody to answer. */
  abandon(why: string): void {
    this.correlation = 0
    this.cancel(why)
  }

  /** Nobody waits for it any more, or something more urgent has come. */
  cancel(why: string): void {
    const more = this.#more
    more.cancelled ??= why
    more.abort?.abort(new Error(why))
  }
}

const nobody: Asker = { settle: () => undefined }
const none = call(0, { request: nothing, reply: nothing, errors: [] })
const standing = {
  init: new Row('', 'init', none, 0),
  stop: new Row('', 'stop', none, 0),
}
