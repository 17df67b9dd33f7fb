/**
 * A bounded queue with two lanes, linked through the messages themselves: an empty one costs next to
 * nothing. Urgent messages are taken first; beyond the bound the newest is refused, so that a slow
 * actor costs its callers a `busy` at once and no memory.
 */
import type { Lane } from './protocol.ts'

export interface Linked {
  next: this | null
}

export class Mailbox<T extends Linked> {
  #first: T | null = null
  #last: T | null = null
  #lastUrgent: T | null = null
  depth = 0

  /** False when `max` messages wait already. */
  push(lane: Lane, message: T, max: number): boolean {
    if (this.depth >= max) return false
    this.depth += 1
    const before = lane === 'urgent' ? this.#lastUrgent : this.#last
    if (before === null) {
      message.next = this.#first
      this.#first = message
    } else {
      message.next = before.next
      before.next = message
    }
    if (message.next === null) this.#last = message
    if (lane === 'urgent') this.#lastUrgent = message
    return true
  }

  /** The next message, urgent ones first; null when there is none. */
  take(): T | null {
    const first = this.#first
    if (first === null) return null
    this.depth -= 1
    this.#first = first.next
    if (this.#first === null) this.#last = null
    if (this.#lastUrgent === first) this.#lastUrgent = null
    first.next = null
    return first
  }
}
