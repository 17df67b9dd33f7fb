/**
 * What really happened, as only a simulation can know it, and what must therefore hold. Whatever does not
 * hold ends the run.
 */
import type { Down } from '#runtime/actor/actor.ts'
import { isDeliveryFailure } from '#runtime/actor/protocol.ts'

import { Violation, type Life, type World } from './world.ts'

/** A call that does not end by its deadline and this much is lost. By true time. */
const late_ms_max = 50

const noop = () => undefined

interface Deed {
  readonly generation: number
  readonly author: string
}
/** A watch that somebody set. */
export interface Watching {
  readonly what: string
  /** How many channels lie between the watcher and the watched. */
  readonly hops: number
  told: Down | null
  isTakenBack: boolean
  takeBack: () => void
}
export interface Counts {
  calls: number
  answered: number
  /** By code. */
  readonly failures: Map<string, number>
  acknowledged: number
  deeds: number
  stale: number
  told: number
}

export class Truth {
  readonly counts: Counts = {
    calls: 0,
    answered: 0,
    failures: new Map(),
    acknowledged: 0,
    deeds: 0,
    stale: 0,
    told: 0,
  }
  readonly watching = new Set<Watching>()
  readonly #world: World
  /** What every place must have for ever. */
  readonly #acknowledged = new Map<string, Set<string>>()
  /** What every place has. */
  readonly #kept = new Map<string, readonly string[]>()
  readonly #newest = new Map<string, Deed>()
  readonly #notes = new Map<string, number>()
  readonly #open = new Map<number, string>()

  constructor(world: World) {
    this.#world = world
  }

  wrong(what: string): void {
    this.#world.fail(new Violation(what))
  }
  hold(condition: boolean, what: string): void {
    if (!condition) this.wrong(what)
  }

  /** Calls that have not ended. */
  get open(): readonly string[] {
    return [...this.#open.values()]
  }
  get places(): readonly string[] {
    return [...this.#acknowledged.keys()]
  }

  /** A list of operations is durable as it says here: nothing acknowledged is missing, nothing is there twice. */
  keeps(place: string, list: readonly string[]): void {
    this.#kept.set(place, list)
    const there = new Set(list)
    this.hold(there.size === list.length, `${place} has something twice: ${list.join(' ')}`)
    this.#complete(place, there)
  }

  /** Somebody was told that an operation is done. */
  acknowledge(place: string, op: string): void {
    this.counts.acknowledged += 1
    this.#world.note(place, `acknowledged ${op}`)
    const there = this.#acknowledged.get(place) ?? new Set()
    this.#acknowledged.set(place, there.add(op))
    const isKept = this.#kept.get(place)?.includes(op) === true
    this.hold(isKept, `${op} was acknowledged and is not durable at ${place}`)
  }

  /** What was acknowledged so far: a list that is read later has all of it. */
  expected(place: string): readonly string[] {
    return [...(this.#acknowledged.get(place) ?? [])]
  }
  read(place: string, expected: readonly string[], list: readonly string[]): void {
    const there = new Set(list)
    const missing = expected.filter((op) => !there.has(op))
    this.hold(missing.length === 0, `${place} was read without ${missing.join(' ')}`)
    this.hold(there.size === list.length, `${place} was read with something twice`)
  }

  /** A handler begins: its caller still waits, as far as can be known there. */
  begins(
    context: {
      readonly deadline_ms: number
      readonly signal: AbortSignal
      readonly clock: { readonly monotonic: () => number }
    },
    what: string,
  ): void {
    const late_ms = context.clock.monotonic() - context.deadline_ms
    this.hold(late_ms < 0, `${what} was begun ${late_ms} ms after its deadline`)
    this.hold(!context.signal.aborted, `${what} was begun after it was cancelled`)
  }

  /** Somebody acted under a lease: never after a newer one, and only one under each. */
  deed(place: string, deed: Deed): void {
    this.counts.deeds += 1
    this.#world.note(place, `deed ${deed.author}/${deed.generation}`)
    const before = this.#newest.get(place)
    const isNewer = before === undefined || deed.generation > before.generation
    const isSame = deed.generation === before?.generation && deed.author === before.author
    this.hold(
      isNewer || isSame,
      `${place}: ${deed.author}/${deed.generation} acted after ${before?.author}/${before?.generation}`,
    )
    this.#newest.set(place, deed)
  }

  /** Messages of one caller to one actor come in order. */
  noted(way: string, n: number): void {
    const before = this.#notes.get(way) ?? 0
    this.hold(n > before, `${way}: note ${n} came after ${before}`)
    this.#notes.set(way, n)
  }

  /** Follows a call to its end: it ends once, by its deadline. */
  async follow<T extends { readonly ok: boolean; readonly error?: string }>(
    life: Life,
    what: string,
    limit: { readonly timeout_ms: number; readonly rate: number },
    call: () => Promise<T>,
  ): Promise<T> {
    this.counts.calls += 1
    const number = this.counts.calls
    this.#open.set(number, what)
    this.#world.note(what, `call ${number}`)
    const forget = life.onEnd(() => {
      this.#open.delete(number)
    })
    this.#expect(life, number, limit.timeout_ms / limit.rate + late_ms_max)
    const answer = await call()
    const code = answer.ok ? 'ok' : (answer.error ?? '')
    this.#world.note(what, `end ${number} ${code}`)
    this.#open.delete(number)
    forget()
    if (answer.ok) this.counts.answered += 1
    else this.counts.failures.set(code, (this.counts.failures.get(code) ?? 0) + 1)
    this.hold(code !== 'invalid' && code !== 'unsupported', `${what} ended with ${code}`)
    if (!answer.ok && !isDeliveryFailure(code)) this.counts.stale += Number(code === 'stale')
    return answer
  }

  /** Somebody watches an actor. */
  watch(
    life: Life,
    about: { readonly what: string; readonly hops: number },
    begin: (watcher: (down: Down) => void) => () => void,
  ): Watching {
    const { what } = about
    const watching: Watching = { ...about, told: null, isTakenBack: false, takeBack: noop }
    this.watching.add(watching)
    life.onEnd(() => {
      this.watching.delete(watching)
    })
    const stop = begin((down) => {
      this.hold(watching.told === null, `the watcher of ${what} was told twice`)
      this.hold(!watching.isTakenBack, `a watch of ${what} that was taken back told something`)
      watching.told = down
      this.counts.told += 1
      this.watching.delete(watching)
      this.#world.note(what, `down ${down.reason}`)
    })
    watching.takeBack = () => {
      stop()
      watching.isTakenBack = true
      this.watching.delete(watching)
    }
    return watching
  }

  #expect(life: Life, number: number, within_ms: number): void {
    this.#world.after(within_ms, () => {
      const what = this.#open.get(number)
      if (what === undefined) return
      // A process that does not run ends nothing; when it goes on it has a moment.
      const stopped_ms = life.stopped_until - this.#world.now_ms
      if (stopped_ms > -late_ms_max) this.#expect(life, number, stopped_ms + late_ms_max)
      else this.wrong(`call ${number} (${what}) has not ended ${late_ms_max} ms after its deadline`)
    })
  }

  #complete(place: string, there: ReadonlySet<string>): void {
    const missing = this.expected(place).filter((op) => !there.has(op))
    this.hold(missing.length === 0, `${place} has lost ${missing.join(' ')}`)
  }
}
