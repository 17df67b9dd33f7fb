/**
 * Deadlines of calls. Nearly all calls of a program share a handful of time limits, and calls with the
 * same limit expire in the order in which they were made: a list for each limit, and one alarm for
 * each list, set for its first entry. Adding and removing touch two neighbours and no timer.
 */
import type { Alarm, Clock } from './clock.ts'

/** Something that may expire. It is in one list at most. */
export interface Expiring {
  expires_ms: number
  before: Expiring | null
  behind: Expiring | null
  list: List | null
  /** Called once, when the time has come; it has been removed by then. */
  expire(): void
}

class List {
  readonly alarm: Alarm
  readonly #clock: Clock
  readonly timeout_ms: number
  first: Expiring | null = null
  last: Expiring | null = null

  constructor(clock: Clock, timeout_ms: number) {
    this.timeout_ms = timeout_ms
    this.#clock = clock
    this.alarm = clock.alarm(() => {
      this.#ring()
    })
  }

  #ring(): void {
    const now_ms = this.#clock.monotonic()
    for (let entry = this.first; entry !== null; entry = this.first) {
      if (entry.expires_ms > now_ms) {
        this.alarm.set(entry.expires_ms)
        return
      }
      remove(this, entry)
      entry.expire()
    }
  }
}

function remove(list: List, entry: Expiring): void {
  const { before, behind } = entry
  if (before === null) list.first = behind
  else before.behind = behind
  if (behind === null) list.last = before
  else behind.before = before
  entry.before = null
  entry.behind = null
  entry.list = null
  if (list.first === null) list.alarm.clear()
}

/** Beyond this many different limits, lists that are empty are dropped. */
const lists_max = 64

export class Deadlines {
  readonly #clock: Clock
  readonly #lists = new Map<number, List>()
  #recent: List | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** How many wait; for those who look for leaks. */
  get waiting(): number {
    let count = 0
    for (const list of this.#lists.values()) {
      for (let entry = list.first; entry !== null; entry = entry.behind) count += 1
    }
    return count
  }

  /** Lets an entry expire after `timeout_ms`. */
  add(entry: Expiring, timeout_ms: number): void {
    // Callers come in crowds with the same limit.
    if (this.#recent?.timeout_ms !== timeout_ms) {
      this.#recent = this.#lists.get(timeout_ms) ?? this.#make(timeout_ms)
    }
    const list = this.#recent
    // Whole milliseconds, rounded up: a number with a fraction would be an object of its own.
    entry.expires_ms = Math.ceil(this.#clock.monotonic() + timeout_ms)
    entry.list = list
    entry.before = list.last
    if (list.last === null) {
      list.first = entry
      list.alarm.set(entry.expires_ms)
    } else {
      list.last.behind = entry
    }
    list.last = entry
  }

  /** Takes an entry out, if it is still in. */
  remove(entry: Expiring): void {
    if (entry.list !== null) remove(entry.list, entry)
  }

  /** What may still expire, for people: in each list, what expires first comes first. */
  *entries(): Iterable<Expiring> {
    for (const { first } of this.#lists.values()) {
      for (let entry = first; entry !== null; entry = entry.behind) yield entry
    }
  }

  #make(timeout_ms: number): List {
    if (this.#lists.size >= lists_max) {
      for (const [limit, list] of this.#lists) if (list.first === null) this.#lists.delete(limit)
    }
    const made = new List(this.#clock, timeout_ms)
    this.#lists.set(timeout_ms, made)
    return made
  }
}
