/**
 * A bounded queue with two lanes. Urgent messages are taken first; beyond the bound the newest is
 * refused, so that a slow actor costs its callers a `busy` at once and no memory.
 */
import type { Lane } from './protocol.ts'

export class Mailbox<T> {
  readonly #max: number
  readonly #urgent: T[] = []
  readonly #normal: T[] = []

  constructor(max: number) {
    this.#max = max
  }

  get depth(): number {
    return this.#urgent.length + this.#normal.length
  }

  /** False when the mailbox is full. */
  push(lane: Lane, message: T): boolean {
    if (this.depth >= this.#max) return false
    if (lane === 'urgent') this.#urgent.push(message)
    else this.#normal.push(message)
    return true
  }

  /** The next message, urgent ones first; null when there is none. */
  take(): T | null {
    return this.#urgent.shift() ?? this.#normal.shift() ?? null
  }

  /** Empties it and returns what was waiting. */
  drain(): readonly T[] {
    return [...this.#urgent.splice(0), ...this.#normal.splice(0)]
  }
}
