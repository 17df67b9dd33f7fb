/** What could be delivered to nobody, or came too late: counted, and the last ones kept to look at. */
const kept_max = 64

export class DeadLetters {
  count = 0
  readonly #last: string[] = []

  /** Adds one: whom it was for, and why it was not delivered. */
  add(what: string): void {
    this.count += 1
    this.#last.push(what)
    if (this.#last.length > kept_max) this.#last.shift()
  }

  /** The last ones, the oldest first. */
  get last(): readonly string[] {
    return this.#last
  }
}
