/**
 * A message on its way through an actor. While it is handled it is also the handler's context, so
 * that time limit, cancellation and trace are those of this message and of no other.
 */
import type { Context, Down, Ref } from './actor.ts'
import type { Cell } from './cell.ts'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'
import type { Linked } from './mailbox.ts'
import type { Protocol, Row } from './protocol.ts'
import type { Random } from './random.ts'
import type { Result } from './result.ts'
import { NativeDeps } from './native_calls.ts'
import type { OpenSpan, Work } from './trace.ts'

export type Answer = Result<unknown, string>

/** Whoever waits for the answer to a message. */
export interface Asker {
  /** Throws Misfit when the answer breaks the message's row: then nothing was answered. */
  readonly settle: (message: Message, answer: Answer) => void
}

/** What an actor is given outside of any message: in `init` and `stop`. */
export class Standing implements Context<unknown>, Work {
  readonly cell: Cell
  /** Null while nobody traces. */
  span: OpenSpan | null = null
  /** When it began to wait for something, in the clock's monotonic milliseconds; 0 before. */
  waits_ms = 0

  constructor(cell: Cell) {
    this.cell = cell
  }

  get id(): string {
    return this.cell.id
  }
  get what(): string {
    return `${this.cell.name} starting`
  }
  get deps(): unknown {
    const { deps } = this.cell.kind
    return deps instanceof NativeDeps ? deps.for(this) : deps
  }
  get clock(): Clock {
    return this.cell.services.clock
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
  get signal(): AbortSignal {
    return never
  }
  get deadline_ms(): number {
    return Number.POSITIVE_INFINITY
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
}

export class Message extends Standing implements Linked {
  next: this | null = null
  readonly row: Row
  readonly request: unknown
  readonly expires_ms: number
  readonly asker: Asker
  /** The channel's number for it; 0 for a message of this thread. */
  readonly correlation: number
  /** When it came, while somebody measures; otherwise 0. */
  came_ms = 0
  #cancelled: string | null = null
  #abort: AbortController | null = null

  constructor(
    cell: Cell,
    what: { readonly row: Row; readonly request: unknown; readonly expires_ms: number },
    asker: Asker,
    correlation: number,
  ) {
    super(cell)
    this.row = what.row
    this.request = what.request
    this.expires_ms = what.expires_ms
    this.asker = asker
    this.correlation = correlation
  }

  get cancelled(): string | null {
    return this.#cancelled
  }
  override get what(): string {
    return `${this.cell.name} ${this.row.name}`
  }
  override get deadline_ms(): number {
    return this.expires_ms
  }
  override get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController()
      if (this.#cancelled !== null) this.#abort.abort(new Error(this.#cancelled))
    }
    return this.#abort.signal
  }

  /** Nobody waits for it any more, or something more urgent has come. */
  cancel(why: string): void {
    this.#cancelled ??= why
    this.#abort?.abort(new Error(why))
  }
}

const never = new AbortController().signal
