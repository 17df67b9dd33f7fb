/** A typed way to an actor. What the way there is at the moment is remembered from call to call. */
import type { CallOptions } from './actor.ts'
import type { Cell } from './cell.ts'
import type { Answer } from './message.ts'
import type { Protocol, Row } from './protocol.ts'
import { err } from '../result.ts'
import type { Span, Work } from '../trace.ts'

/** What a ref asks of its system. */
export interface Router {
  readonly ask: (ref: ActorRef, row: Row, request: unknown, options: CallOptions) => Promise<Answer>
  readonly tell: (ref: ActorRef, row: Row, request: unknown) => void
}

export class ActorRef {
  readonly router: Router
  readonly protocol: Protocol
  readonly id: string
  /** Empty for this host. */
  readonly host: string
  /** On whose behalf it calls; null when that is nobody in particular. */
  readonly work: Work | null
  /** The actor, while it is one of this thread. */
  cell: Cell | null = null
  /** Its number on the channel that it was used on last, and the name that the number was given to. */
  number = 0
  key = ''
  /** The message that it was used for last: most are used for one again and again. */
  #row: Row | null = null
  #elsewhere: ActorRef | null = null

  constructor(
    router: Router,
    protocol: Protocol,
    at: { id: string; host: string },
    work: Work | null,
  ) {
    this.router = router
    this.protocol = protocol
    this.id = at.id
    this.host = at.host
    this.work = work
  }

  /** What its calls are a part of; null while nobody traces. */
  get parent(): Span | null {
    return this.work === null ? null : this.work.span
  }
  /** The same actor, on a host that is named. */
  at(host: string): ActorRef {
    if (this.#elsewhere?.host !== host) {
      this.#elsewhere = new ActorRef(this.router, this.protocol, { id: this.id, host }, this.work)
    }
    return this.#elsewhere
  }

  get name(): string {
    return `${this.protocol.name}/${this.id}`
  }

  call(name: string, request: unknown, options: CallOptions): Promise<Answer> {
    const row = this.#rowOf(name)
    if (row === null) {
      return Promise.resolve(err('unsupported', `${this.name} ${name}: no such message`))
    }
    if (options.signal?.aborted === true) {
      return Promise.resolve(err('cancelled', `${this.name} ${name}: the caller gave up`))
    }
    return this.router.ask(this, row, request, options)
  }

  cast(name: string, request: unknown): void {
    const row = this.#rowOf(name)
    if (row === null) throw new Error(`${this.name} has no message ${name}`)
    this.router.tell(this, row, request)
  }

  #rowOf(name: string): Row | null {
    if (this.#row?.name !== name) this.#row = this.protocol.rows.get(name) ?? null
    return this.#row
  }
}
