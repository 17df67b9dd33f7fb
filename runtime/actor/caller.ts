/**
 * Who is answered. A `Caller` waits, for an actor of its thread or for the other end of a channel: its
 * promise, its deadline, its signal. It is answered once, whatever comes. Who is answered at once
 * has none of these.
 */
import { readPair, type Outgoing, type Pending } from '../channel/calls.ts'
import type { Channel } from '../channel/channel.ts'
import { Misfit, type Cursor } from '../codec/cursor.ts'
import { forget, type Deadlines, type Expiring } from './deadlines.ts'
import { Message, type Answer, type Asker } from './message.ts'
import { isDeliveryFailure, type Row } from './protocol.ts'
import type { ActorRef } from './ref.ts'
import { err, ok } from '../result.ts'
import { kinds } from '../wire/frame.ts'

type Resolve = (answer: Answer) => void
// A function for each promise would cost more than the promise.
let captured: Resolve | null = null
const capture = (resolve: Resolve) => {
  captured = resolve
}

/** Actors share no memory: what crosses is copied. Throws Misfit. */
const copyOf = ({ row }: Message, answer: Answer): Answer =>
  answer.ok ? ok(row.reply.copy(answer.value)) : answer

const tooLate: Asker = {
  settle: ({ cell, row }) => {
    cell.services.late(`${cell.name} ${row.name}: nobody waits`)
  },
}

/**
 * Takes answers that come while their messages are delivered, as most do: for those nobody need be made who
 * waits.
 */
export const atOnce: Asker = {
  settle: (message, answer) => {
    message.answer = copyOf(message, answer)
    message.asker = tooLate
  },
}

export class Caller implements Expiring, Asker, Outgoing, Pending {
  expires_ms = 0
  before: Expiring | null = null
  behind: Expiring | null = null
  list: Expiring['list'] = null
  readonly row: Row
  readonly ref: ActorRef
  readonly timeout_ms: number
  /** The channel's number for it; 0 while it waits for a message of this thread. */
  correlation = 0
  #waitsFor: Message | Channel | null = null
  #resolve: Resolve | null = null
  #answer: Answer | null = null
  #listening: { readonly signal: AbortSignal; readonly listener: () => void } | null = null

  constructor(ref: ActorRef, row: Row, timeout_ms: number) {
    this.row = row
    this.ref = ref
    this.timeout_ms = timeout_ms
  }

  get isAnswered(): boolean {
    return this.#answer !== null
  }
  get what(): string {
    return `${this.ref.name} ${this.row.name}`
  }

  waitForMessage(message: Message): void {
    this.#waitsFor = message
    message.asker = this
  }
  waitForChannel(channel: Channel, correlation: number): void {
    this.#waitsFor = channel
    this.correlation = correlation
  }

  /** The answer; from now on its time runs, if it is not there yet. */
  answer(deadlines: Deadlines, signal: AbortSignal | undefined): Promise<Answer> {
    if (this.#answer !== null) return Promise.resolve(this.#answer)
    const promise = new Promise<Answer>(capture)
    this.#resolve = captured
    deadlines.add(this, this.timeout_ms)
    if (signal !== undefined) this.#listenTo(signal)
    return promise
  }

  /** The answer of an actor of this thread. */
  settle(message: Message, answer: Answer): void {
    if (this.isAnswered) tooLate.settle(message, answer)
    else this.finish(copyOf(message, answer))
  }

  /** The answer that a channel brought. */
  take(kind: number, cursor: Cursor): void {
    if (kind === kinds.failure) {
      const [code, detail] = readPair(cursor)
      const isKnown = isDeliveryFailure(code) || this.row.call.errors.includes(code)
      this.finish(
        isKnown ? err(code, detail) : err('invalid', `${this.what}: undeclared failure ${code}`),
      )
      return
    }
    try {
      this.finish(ok(this.row.reply.read(cursor)))
    } catch (error) {
      if (!(error instanceof Misfit)) throw error
      this.finish(err('invalid', `${this.what}: the reply breaks its schema: ${error.message}`))
    }
  }

  finish(answer: Answer): void {
    if (this.#answer !== null) return
    this.#answer = answer
    const resolve = this.#resolve
    if (resolve === null) return
    this.#resolve = null
    forget(this)
    this.#listening?.signal.removeEventListener('abort', this.#listening.listener)
    resolve(answer)
  }

  expire(): void {
    this.#giveUp('deadline', `no answer within ${this.timeout_ms} ms`)
  }

  #listenTo(signal: AbortSignal): void {
    const listener = () => {
      this.#giveUp('cancelled', 'the caller gave up')
    }
    signal.addEventListener('abort', listener)
    this.#listening = { signal, listener }
  }

  /** Also tells whoever works on it that nobody waits any more. */
  #giveUp(code: 'deadline' | 'cancelled', why: string): void {
    if (this.isAnswered) return
    const at = this.#waitsFor
    if (at instanceof Message) at.cancel('the caller gave up')
    else at?.abandon(this.correlation)
    this.finish(err(code, `${this.what}: ${why}`))
  }
}
