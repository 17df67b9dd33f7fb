/**
 * A bounded queue with two lanes, linked through the messages themselves: an empty one costs next to
 * nothing. Urgent messages are taken first; beyond the bound the newest is refused, so that a slow
 * actor costs its callers a `busy` at once and no memory.
 */
export interface Linked {
  next: this | null
  readonly isUrgent: boolean
}

export class Mailbox<T extends Linked> {
  /** The last message, whose next is the first one again. */
  #last: T | null = null
  #lastUrgent: T | null = null
  depth = 0

  /** False when `max` messages wait already. */
  push(message: T, max: number): boolean {
    if (this.depth >= max) return false
    this.depth += 1
    const last = this.#last
    if (last === null) {
      message.next = message
      this.#last = message
    } else {
      // What comes behind the last one and is not the last itself is the first.
      const before = message.isUrgent ? (this.#lastUrgent ?? last) : last
      message.next = before.next
      before.next = message
      if (!message.isUrgent || this.#lastUrgent === last) this.#last = message
    }
    if (message.isUrgent) this.#lastUrgent = message
    return true
  }

  /** The next message, urgent ones first; null when there is none. */
  take(): T | null {
    const last = this.#last
    if (last === null) return null
    this.depth -= 1
    const first = last.next ?? last
    if (first === last) this.#last = null
    else last.next = first.next
    if (this.#lastUrgent === first) this.#lastUrgent = null
    first.next = null
    return first
  }
}
