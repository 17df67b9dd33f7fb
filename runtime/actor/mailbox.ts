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
  depth = 0

  /** False when `max` messages wait already. */
  push(message: T, max: number): boolean {
    if (this.depth >= max) return false
    this.depth += 1
    const last = this.#last
    if (last === null) {
      message.next = message
      this.#last = message
      return true
    }
    const before = message.isUrgent ? this.#lastUrgent(last) : last
    message.next = before.next
    before.next = message
    if (before === last && (!message.isUrgent || last.isUrgent)) this.#last = message
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
    first.next = null
    return first
  }

  /** What an urgent message goes behind: the last urgent one; or the last of all, before whose next is the front. */
  #lastUrgent(last: T): T {
    let before = last
    for (let at = last.next; at?.isUrgent === true; at = at.next) {
      before = at
      if (at === last) break
    }
    return before
  }
}
