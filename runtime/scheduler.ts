/**
 * Whose turn it is: actors with messages wait in one queue and handle a few at a time. The queue is
 * worked off in a microtask; after enough messages it lets timers and sockets have a turn first.
 */
import type { Clock } from './clock.ts'

export interface Runnable {
  /** Handles up to `quantum` messages; gives back how many. */
  readonly turn: (quantum: number) => number
}

const quantum = 64
/** Node's queueMicrotask makes an object for its diagnostics each time; a promise does without. */
const soon = Promise.resolve()
/** About a millisecond of work. */
const messages_a_turn_max = 4_096

export class Scheduler {
  readonly #clock: Clock
  #queue: Runnable[] = []
  #taken = 0
  #left = messages_a_turn_max
  #isScheduled = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Queues an actor that has messages. */
  add(runnable: Runnable): void {
    this.#queue.push(runnable)
    if (this.#isScheduled) return
    this.#isScheduled = true
    if (this.#left > 0) void soon.then(this.#run)
    else this.#yield()
  }

  readonly #run = (): void => {
    for (let next = this.#queue[this.#taken]; next !== undefined; next = this.#queue[this.#taken]) {
      this.#taken += 1
      this.#left -= next.turn(quantum)
      if (this.#left <= 0 && this.#taken < this.#queue.length) {
        this.#forget()
        this.#yield()
        return
      }
    }
    this.#queue.length = 0
    this.#taken = 0
    this.#isScheduled = false
  }

  #yield(): void {
    this.#clock.defer(() => {
      this.#left = messages_a_turn_max
      this.#run()
    })
  }

  #forget(): void {
    this.#queue.splice(0, this.#taken)
    this.#taken = 0
  }
}
