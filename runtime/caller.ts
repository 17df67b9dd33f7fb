/** A caller that waits: its promise, its deadline, its signal. It is answered once, whatever comes. */
import type { CallOptions } from './actor.ts'
import type { Deadlines, Expiring } from './deadlines.ts'
import type { Answer } from './message.ts'
import type { Row } from './protocol.ts'
import type { ActorRef } from './ref.ts'
import { err } from './result.ts'

export abstract class Caller implements Expiring {
  expires_ms = 0
  before: Expiring | null = null
  behind: Expiring | null = null
  list: Expiring['list'] = null
  readonly promise: Promise<Answer>
  readonly row: Row
  readonly ref: ActorRef
  readonly timeout_ms: number
  readonly #deadlines: Deadlines
  #resolve: ((answer: Answer) => void) | null = null
  #listening: { readonly signal: AbortSignal; readonly listener: () => void } | null = null

  constructor(ref: ActorRef, row: Row, options: CallOptions, deadlines: Deadlines) {
    this.row = row
    this.ref = ref
    this.#deadlines = deadlines
    this.timeout_ms = options.timeout_ms
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve
    })
    deadlines.add(this, options.timeout_ms)
    if (options.signal !== undefined) {
      const { signal } = options
      const listener = () => {
        this.#giveUp('cancelled', 'the caller gave up')
      }
      signal.addEventListener('abort', listener)
      this.#listening = { signal, listener }
    }
  }

  get isWaiting(): boolean {
    return this.#resolve !== null
  }
  get what(): string {
    return `${this.ref.name} ${this.row.name}`
  }

  finish(answer: Answer): void {
    const resolve = this.#resolve
    if (resolve === null) return
    this.#resolve = null
    this.#deadlines.remove(this)
    this.#listening?.signal.removeEventListener('abort', this.#listening.listener)
    resolve(answer)
  }

  expire(): void {
    this.#giveUp('deadline', `no answer within ${this.timeout_ms} ms`)
  }

  /** Tells whoever works on it that nobody waits any more. */
  protected abstract cancel(): void

  #giveUp(code: 'deadline' | 'cancelled', why: string): void {
    if (this.#resolve === null) return
    this.cancel()
    this.finish(err(code, `${this.what}: ${why}`))
  }
}
