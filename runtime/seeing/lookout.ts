/**
 * Looks at one thread. Counting costs nothing while nobody looks: latencies and the loop's delay are
 * measured only for as long as the last look asked for.
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { limits } from '#config/limits.ts'
import { Caller } from '../actor/caller.ts'
import type { Cell } from '../actor/cell.ts'
import type { Clock } from '../clock.ts'
import { Message } from '../actor/message.ts'
import type { Kind } from '../actor/services.ts'
import type { Supervisor } from '../actor/supervisor.ts'
import type { System } from '../actor/system.ts'
import { seen_max, shown, type ActorSeen, type CallSeen, type ChannelSeen } from './snapshot.ts'
import type { KindSeen, ThreadSeen } from './snapshot.ts'

export interface LookoutOptions {
  readonly thread: string
  readonly system: System
  readonly clock: Clock
  /** This thread's ways to others. */
  readonly channels: () => readonly ChannelSeen[]
  /** What else is counted here: names in snake case, values that only grow. */
  readonly counters: () => Readonly<Record<string, number>>
}

/** How many actors are looked at before others have their turn. */
const cells_a_turn = 5_000
const dead_letters_max = 16

export class Lookout {
  readonly #options: LookoutOptions
  #stopMeasuring: (() => void) | null = null
  #measuredUntil_ms = 0
  #delay: ReturnType<typeof monitorEventLoopDelay> | null = null
  #loop = performance.eventLoopUtilization()

  constructor(options: LookoutOptions) {
    this.#options = options
  }

  /** The thread as it is now. Messages are measured for `measure_ms` from now, at least. */
  async look(measure_ms: number): Promise<ThreadSeen> {
    const { thread, system, channels, counters } = this.#options
    // What is measured is the time between two beats of a timer.
    const delay_p99_ms =
      this.#delay === null
        ? null
        : Math.max(0, this.#delay.percentile(99) / 1e6 - limits.seeing_delay_ms)
    const loop = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(loop, this.#loop)
    this.#loop = loop
    if (measure_ms > 0) this.#measure(measure_ms)
    const { kinds, actors } = await this.#actors()
    return {
      name: thread,
      answers: true,
      blocked_in: null,
      utilization: Math.max(0, utilization),
      delay_p99_ms,
      kinds,
      actors,
      calls: this.#calls(),
      natives: this.#natives(),
      rows: system.observer.rows.slice(0, seen_max.rows),
      channels: [...channels()],
      dead_letters: {
        count: system.deadLetters.count,
        last: system.deadLetters.last.slice(-dead_letters_max).map(shown),
      },
      counters: { ...counters() },
    }
  }

  #measure(measure_ms: number): void {
    const { system, clock } = this.#options
    system.observer.measures = true
    if (this.#delay === null) {
      this.#delay = monitorEventLoopDelay({ resolution: limits.seeing_delay_ms })
      this.#delay.enable()
    }
    this.#measuredUntil_ms = Math.max(this.#measuredUntil_ms, clock.monotonic() + measure_ms)
    if (this.#stopMeasuring === null) this.#stopLater(measure_ms)
  }

  #stopLater(in_ms: number): void {
    const { system, clock } = this.#options
    this.#stopMeasuring = clock.after(in_ms, () => {
      const left_ms = this.#measuredUntil_ms - clock.monotonic()
      if (left_ms > 0) {
        this.#stopLater(left_ms)
        return
      }
      this.#stopMeasuring = null
      system.observer.measures = false
      this.#delay?.disable()
      this.#delay = null
    })
  }

  /** Ends measuring at once, with the thread. */
  close(): void {
    this.#stopMeasuring?.()
    this.#delay?.disable()
  }

  async #actors(): Promise<Pick<ThreadSeen, 'kinds' | 'actors'>> {
    const kinds: KindSeen[] = []
    let worth: Worth[] = []
    let left = cells_a_turn
    for (const kind of this.#options.system.kinds.values()) {
      const sum = { depth: 0, handled: kind.handled }
      for (const cell of kind.cells.values()) {
        sum.depth += cell.depth
        sum.handled += cell.handled
        worth.push({ cell, points: pointsOf(cell) })
        if (worth.length > 2 * seen_max.actors) worth = best(worth)
        left -= 1
        if (left > 0) continue
        left = cells_a_turn
        const { promise, resolve } = Promise.withResolvers<void>()
        this.#options.clock.defer(resolve)
        await promise
      }
      kinds.push({ ...describe(kind), ...sum })
    }
    const actors = best(worth).map(({ cell }) => this.#actor(cell))
    return { kinds: kinds.slice(0, seen_max.kinds), actors }
  }

  #actor(cell: Cell): ActorSeen {
    const { running } = cell
    const info = cell.inspect()
    return {
      ...info,
      name: shown(info.name),
      last_failure: info.last_failure === null ? null : shown(info.last_failure),
      running:
        running === null || running.waits_ms === null
          ? null
          : {
              message: running.row.name,
              for_ms: this.#age(running.waits_ms),
            },
    }
  }

  #calls(): CallSeen[] {
    const calls: CallSeen[] = []
    for (const waiting of this.#options.system.deadlines.entries()) {
      if (!(waiting instanceof Caller)) continue
      const { ref, row, timeout_ms, expires_ms } = waiting
      calls.push({
        to_host: shown(ref.host),
        to_actor: shown(ref.name),
        message: row.name,
        by: whoOf(ref.work),
        for_ms: this.#age(expires_ms - timeout_ms),
        timeout_ms,
      })
    }
    return calls.toSorted((a, b) => b.for_ms - a.for_ms).slice(0, seen_max.calls)
  }

  #natives(): ThreadSeen['natives'] {
    const running = [...this.#options.system.natives.running].slice(0, seen_max.natives)
    return running.map(({ name, by, began_ms }) => ({
      name: shown(name),
      actor: by instanceof Message ? shown(by.cell.name) : '',
      what: shown(by?.what ?? ''),
      for_ms: this.#age(began_ms),
    }))
  }

  #age(since_ms: number): number {
    return Math.max(0, this.#options.clock.monotonic() - since_ms)
  }
}

interface Worth {
  readonly cell: Cell
  readonly points: number
}

/** What is stuck or in trouble is worth most, then what is busiest. */
function pointsOf(cell: Cell): number {
  const trouble = cell.isQuiet && cell.depth === 0 ? 0 : 2 ** 40
  return trouble + cell.depth * 2 ** 20 + cell.handled
}

const best = (all: readonly Worth[]): Worth[] =>
  all.toSorted((a, b) => b.points - a.points).slice(0, seen_max.actors)

function describe(kind: Kind): Pick<KindSeen, 'name' | 'group' | 'actors' | 'crashes'> {
  const path: string[] = []
  for (let at: Supervisor | null = kind.supervisor; at !== null; at = at.parent) {
    path.unshift(at.name)
  }
  return {
    name: kind.protocol.name,
    group: path.length === 0 ? null : shown(path.join('/')),
    actors: kind.cells.size,
    crashes: kind.crashes,
  }
}

function whoOf(work: Caller['ref']['work']): CallSeen['by'] {
  if (work === null) return null
  return {
    what: shown(work.what),
    actor: work instanceof Message ? shown(work.cell.name) : null,
    is_running: work instanceof Message && work.cell.running === work,
  }
}
