/**
 * Whose turn it is: actors with messages wait in one queue and handle a few at a time. The queue is
 * worked off in a microtask; after enough messages it lets timers and sockets have a turn first.
 */
import type { Clock } from '../clock.ts'

export interface Runnable {
  /** Who is next in the queue: it is linked through those who wait, and so costs no memory. */
  behind: Runnable | null
  /** Handles up to `quantum` messages; gives back how many. */
  turn(quantum: number): number
}

const quantum = 64
/** Node's queueMicrotask makes an object for its diagnostics each time; a promise does without. */
const soon = Promise.resolve()
/** About a millisecond of work. */
const messages_a_turn_max = 4_096

export class Scheduler {
  readonly #clock: Clock
  #first: Runnable | null = null
  #last: Runnable | null = null
  #left = messages_a_turn_max
  #isScheduled = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Queues an actor that has messages. */
  add(runnable: Runnable): void {
    if (this.#last === null) this.#first = runnable
    else this.#last.behind = runnable
    this.#last = runnable
    if (this.#isScheduled) return
    this.#isScheduled = true
    if (this.#left > 0) void soon.then(this.#run)
    else this.#yield()
  }

  readonly #run = (): void => {
    for (let next = this.#first; next !== null; next = this.#first) {
      this.#first = next.behind
      if (this.#first === null) this.#last = null
      next.behind = null
      this.#left -= next.turn(quantum)
      if (this.#left <= 0 && this.#first !== null) {
        this.#yield()
        return
      }
    }
    this.#isScheduled = false
  }

  #yield(): void {
    this.#clock.defer(() => {
      this.#left = messages_a_turn_max
      this.#run()
    })
  }
}
