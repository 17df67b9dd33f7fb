/**
 * A small world for actor tests: one system in this thread, a journal in memory, and whatever
 * behaviours the test adds. Every message goes through the mailbox and its schemas.
 *
 *   const world = new World()
 *   world.add(disk, { block: simBlock() })
 *   const answer = await world.ref(diskProtocol, id).call('get', null, soon)
 *   await world.restart()        // as after kill -9: the journal stays, the actors are made anew
 */
import { journal } from '#actors/journal.ts'
import type { Behaviour, Ref } from '#runtime/actor/actor.ts'
import { systemClock, type Clock } from '#runtime/clock.ts'
import { Journal, type Entry } from '#runtime/journal/journal.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import type { Protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'

export const soon = { timeout_ms: 5_000 } as const

export class World {
  readonly journal = new Journal(':memory:')
  readonly lines: LogLine[] = []
  readonly #clock: Clock
  readonly #host: string
  readonly #added: Array<(system: System) => void> = []
  #system: System

  constructor(clock: Clock = systemClock, host = 'here') {
    this.#clock = clock
    this.#host = host
    this.#system = this.#make()
  }

  /** What is journaled, by `kind/id`. */
  get entries(): ReadonlyMap<string, Entry> {
    return new Map(this.journal.list(null).map((entry) => [`${entry.kind}/${entry.id}`, entry]))
  }

  get system(): System {
    return this.#system
  }

  /** Adds a behaviour, now and after every restart. */
  add<P extends Protocol, S, D>(added: Behaviour<P, S, D>, deps: D, id?: string): void {
    const add = (system: System) => {
      system.add(added, deps, id)
    }
    this.#added.push(add)
    add(this.#system)
  }

  ref<P extends Protocol>(protocol: P, id: string): Ref<P> {
    return this.#system.ref(protocol, id)
  }

  /** All actors are gone and made anew; what they journaled and the backends' world stay. */
  async restart(): Promise<void> {
    await this.#system.stop()
    this.#system = this.#make()
    for (const add of this.#added) add(this.#system)
  }

  async stop(): Promise<void> {
    await this.#system.stop()
  }

  #make(): System {
    const system = new System({
      host: this.#host,
      thread: 'main',
      clock: this.#clock,
      random: systemRandom,
      log: memoryLog(this.lines),
      routes: {},
      toThread: () => null,
      toHost: () => null,
    })
    system.add(journal, { journal: this.journal }, 'sled')
    return system
  }
}
