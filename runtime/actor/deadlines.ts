/**
 * Deadlines of calls. Nearly all calls of a program share a handful of time limits, and calls with the
 * same limit expire in the order in which they were made: a list for each limit, and one alarm for
 * each list, set for its first entry. Adding and removing touch two neighbours and no timer.
 */
import type { Alarm, Clock } from '../clock.ts'

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
  readonly timeout_ms: number
  readonly #clock: Clock
  first: Expiring | null = null
  last: Expiring | null = null

  constructor(clock: Clock, timeout_ms: number) {
    this.#clock = clock
    this.timeout_ms = timeout_ms
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
      forget(entry)
      entry.expire()
    }
  }
}

/**
 * When a time limit that begins now is over: at once when it is no time, otherwise rounded up to whole
 * milliseconds, because a number with a fraction would be an object of its own.
 */
export const endOf = (now_ms: number, timeout_ms: number): number =>
  timeout_ms > 0 ? Math.ceil(now_ms + timeout_ms) : Math.floor(now_ms)

/** Takes an entry out of its list, if it is in one: it will not expire. */
export function forget(entry: Expiring): void {
  const { list, before, behind } = entry
  if (list === null) return
  if (before === null) list.first = behind
  else before.behind = behind
  if (behind === null) list.last = before
  else behind.before = before
  entry.before = null
  entry.behind = null
  entry.list = null
  if (list.first === null) list.alarm.clear()
}

/** This many different limits are counted exactly; those that come later are rounded up. */
const exact_max = 64

export class Deadlines {
  readonly #clock: Clock
  readonly #lists = new Map<number, List>()
  #recent: List | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Lets an entry expire after `timeout_ms`: at once when that is no time. Beyond the limits that have
   * lists of their own an entry may wait longer than its limit, by a sixty-fourth part at most.
   */
  add(entry: Expiring, timeout_ms: number): void {
    // Callers come in crowds with the same limit.
    if (this.#recent?.timeout_ms !== timeout_ms) {
      this.#recent = this.#lists.get(timeout_ms) ?? this.#listFor(timeout_ms > 0 ? timeout_ms : 0)
    }
    const list = this.#recent
    entry.expires_ms = endOf(this.#clock.monotonic(), list.timeout_ms)
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

  /** What may still expire, for people: in each list, what expires first comes first. */
  *entries(): Iterable<Expiring> {
    for (const { first } of this.#lists.values()) {
      for (let entry = first; entry !== null; entry = entry.behind) yield entry
    }
  }

  #listFor(wanted_ms: number): List {
    const timeout_ms = this.#lists.size < exact_max ? wanted_ms : coarse(wanted_ms)
    const found = this.#lists.get(timeout_ms)
    if (found !== undefined) return found
    const made = new List(this.#clock, timeout_ms)
    this.#lists.set(timeout_ms, made)
    return made
  }
}

/** The next of 64 steps in each power of two, so that there are few limits whatever callers choose. */
function coarse(timeout_ms: number): number {
  if (timeout_ms <= 1) return Math.ceil(timeout_ms)
  if (!Number.isFinite(timeout_ms)) return timeout_ms
  const step = 2 ** (Math.floor(Math.log2(timeout_ms)) - 6)
  return Math.ceil(timeout_ms / step) * step
}
