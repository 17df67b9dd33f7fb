/**
 * Whose turn it is. While no actor of its thread handles anything, an actor that gets a message handles
 * it at once, before its sender goes on; otherwise it waits in one queue, and each handles a few
 * messages at a time. After enough messages timers and sockets have a turn first.
 */
import type { Clock } from '../clock.ts'

export interface Runnable {
  /** Who is next in the queue: it is linked through those who wait, and so costs no memory. */
  behind: Runnable | null
  /** Handles up to `quantum` messages; gives back how many. */
  turn(quantum: number): number
}

const quantum = 64
/** About a millisecond of work. */
const messages_a_turn_max = 4_096

export class Scheduler {
  readonly #clock: Clock
  #first: Runnable | null = null
  #last: Runnable | null = null
  #left = messages_a_turn_max
  /** An actor handles messages, or waits until it may. */
  #isBusy = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether an actor may handle a message now; if so, `end` must follow when it has. */
  begin(): boolean {
    if (this.#isBusy || this.#left <= 0) return false
    this.#isBusy = true
    this.#left -= 1
    return true
  }

  /** Those who were queued meanwhile have their turns. */
  end(): void {
    for (let next = this.#first; next !== null; next = this.#first) {
      if (this.#left <= 0) {
        this.#yield()
        return
      }
      this.#first = next.behind
      if (this.#first === null) this.#last = null
      next.behind = null
      this.#left -= next.turn(quantum)
    }
    this.#isBusy = false
  }

  /** Gives an actor that has messages its turn: now, or after those who wait already. */
  add(runnable: Runnable): void {
    if (this.#last === null) this.#first = runnable
    else this.#last.behind = runnable
    this.#last = runnable
    if (this.#isBusy) return
    this.#isBusy = true
    this.end()
  }

  #yield(): void {
    this.#clock.defer(() => {
      this.#left = messages_a_turn_max
      this.end()
    })
  }
}
