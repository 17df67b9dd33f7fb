/**
 * Virtual time. Everything that happens is an event at a true time that only the world knows; after each
 * event all promises are let come to rest, so that a seed has one history.
 */
import { createHash } from 'node:crypto'
import { seededRandom, type Random } from '#runtime/random.ts'

interface Event {
  readonly at_ms: number
  readonly order: number
  /** Null when it was taken back. */
  run: (() => void) | null
}

/** Something that must never happen has happened. */
export class Violation extends Error {}

export class World {
  readonly random: Random
  readonly trace: Trace
  now_ms = 0
  /** Events so far. */
  steps = 0
  #order = 0
  readonly #heap: Event[] = []
  #failure: Error | null = null

  constructor(seed: number, trace: Trace) {
    this.random = seededRandom(seed)
    this.trace = trace
  }

  /** A sequence of its own, so that one part's chances do not depend on how much another one draws. */
  fork(): Random {
    return seededRandom(Math.floor(this.random.next() * 2 ** 32))
  }

  /** What ends the run; the first counts. */
  fail(error: Error): void {
    this.#failure ??= error
  }

  /** Notes what happened, by whom. */
  note(who: string, what: string): void {
    this.trace.add(`${this.now_ms.toFixed(3)} ${who} ${what}`)
  }

  /** Calls back after `delay_ms` of true time; the returned function takes it back. */
  after(delay_ms: number, run: () => void): () => void {
    const event = { at_ms: this.now_ms + Math.max(0, delay_ms), order: this.#order, run }
    this.#order += 1
    push(this.#heap, event)
    return () => {
      ;(event as Event).run = null
    }
  }

  /** Lets true time pass, one event after the other; `check` looks at the world after each. */
  async run(for_ms: number, check: () => void): Promise<void> {
    const end_ms = this.now_ms + for_ms
    await settle()
    for (let next = this.#heap[0]; next !== undefined; next = this.#heap[0]) {
      if (next.at_ms > end_ms) break
      pop(this.#heap)
      if (next.run === null) continue
      this.now_ms = next.at_ms
      this.steps += 1
      next.run()
      await settle()
      check()
      if (this.#failure !== null) throw this.#failure
    }
    this.now_ms = end_ms
  }
}

/** Ends when no promise and no microtask is left to go on: the event loop's next turn, at no time. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

const isBefore = (one: Event, other: Event): boolean =>
  one.at_ms < other.at_ms || (one.at_ms === other.at_ms && one.order < other.order)

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1
  while (at > 0) {
    const up = (at - 1) >> 1
    const above = heap[up]
    if (above === undefined || !isBefore(event, above)) break
    heap[at] = above
    at = up
  }
  heap[at] = event
}

function pop(heap: Event[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let below = 2 * at + 1
    const left = heap[below]
    if (left === undefined) break
    const right = heap[below + 1]
    const least = right !== undefined && isBefore(right, left) ? right : left
    if (least === right) below += 1
    if (!isBefore(least, last)) break
    heap[at] = least
    at = below
  }
  heap[at] = last
}

/** What happened, line by line; its hash tells two histories apart. */
export class Trace {
  readonly #hash = createHash('sha256')
  readonly #print: ((line: string) => void) | null
  #waiting: string[] = []
  lines = 0

  constructor(print: ((line: string) => void) | null = null) {
    this.#print = print
  }

  add(line: string): void {
    this.lines += 1
    this.#print?.(line)
    if (this.#waiting.push(line) >= 256) this.#flush()
  }

  /** Ends the trace. */
  digest(): string {
    this.#flush()
    return this.#hash.digest('hex')
  }

  #flush(): void {
    this.#hash.update(`${this.#waiting.join('\n')}\n`)
    this.#waiting = []
  }
}

/** How long a machine's clock says that true time took, and what its wall shows. */
export class HostTime {
  readonly rate: number
  /** What somebody has set the wall clock by. */
  jumped_ms = 0
  readonly #world: World
  readonly #offset_ms: number

  /** It starts anywhere and runs faster or slower by up to `drift`, a share of one. */
  constructor(world: World, drift: number) {
    this.#world = world
    this.rate = 1 + drift * (2 * world.random.next() - 1)
    this.#offset_ms = Math.floor(world.random.next() * 1e9)
  }

  monotonic(): number {
    return this.#offset_ms + this.#world.now_ms * this.rate
  }
  now(): number {
    return 1_600_000_000_000 + this.jumped_ms + Math.floor(this.#world.now_ms * this.rate)
  }
}

/** A thread's or a process's life: what it waits for dies with it, and waits while it is stopped. */
export class Life {
  readonly world: World
  readonly parent: Life | null
  /** How many callbacks wait. */
  waiting = 0
  isSilent = false
  readonly #ends = new Set<() => void>()
  #isOver = false
  #stoppedUntil = 0

  constructor(world: World, parent: Life | null = null) {
    this.world = world
    this.parent = parent
    parent?.onEnd(() => {
      this.end(parent.isSilent)
    })
  }

  get isOver(): boolean {
    return this.#isOver
  }
  /** Until when nothing of it runs, by true time: SIGSTOP, a long collection. */
  get stopped_until(): number {
    return Math.max(this.#stoppedUntil, this.parent?.stopped_until ?? 0)
  }

  get isStopped(): boolean {
    return this.stopped_until > this.world.now_ms
  }

  /** Begins a stop, unless it is stopped already: what waits for its end keeps its order. */
  stop(for_ms: number): void {
    if (!this.isStopped) this.#stoppedUntil = this.world.now_ms + for_ms
  }

  /** `isSilent`: its machine lost its power, and nobody is told. */
  end(isSilent = false): void {
    if (this.#isOver) return
    this.#isOver = true
    this.isSilent = isSilent
    const ends = [...this.#ends]
    this.#ends.clear()
    for (const ended of ends) ended()
  }

  /** Calls back when it ends, also by its parent's end; the returned function takes it back. */
  onEnd(ended: () => void): () => void {
    this.#ends.add(ended)
    return () => {
      this.#ends.delete(ended)
    }
  }

  /** Calls back after `delay_ms` of true time, if it still lives then. */
  after(delay_ms: number, callback: () => void): () => void {
    let cancel: (() => void) | null = null
    const drop = () => {
      if (cancel === null) return
      cancel()
      cancel = null
      this.waiting -= 1
    }
    const arrive = () => {
      if (this.isOver) return
      const wait_ms = this.stopped_until - this.world.now_ms
      if (wait_ms > 0) {
        cancel = this.world.after(wait_ms, arrive)
        return
      }
      cancel = null
      this.waiting -= 1
      callback()
    }
    this.waiting += 1
    cancel = this.world.after(delay_ms, arrive)
    return drop
  }
}
