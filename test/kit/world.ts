/**
 * A small world for actor tests: one system in this thread, a journal in memory, and whatever
 * behaviours the test adds. Every message goes through the mailbox and its schemas.
 *
 *   const world = new World()
 *   world.add(disk, { block: simBlock() })
 *   const answer = await world.ref(diskProtocol, id).call('get', null, soon)
 *   await world.restart()        // as after kill -9: the journal stays, the actors are made anew
 */
import { journalProtocol } from '#actors/journal.protocol.ts'
import { behaviour, type Behaviour, type Ref } from '#runtime/actor.ts'
import { systemClock, type Clock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import type { Protocol } from '#runtime/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/system.ts'

export const soon = { timeout_ms: 5_000 } as const

interface Entry {
  readonly kind: string
  readonly id: string
  readonly document: unknown
}

/** The journal's messages over a Map that outlives a world's restarts. */
const memoryJournal = behaviour({
  protocol: journalProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 1_000,
    thread: 'main',
    activation: 'start',
  },
  init: (context: { readonly deps: { readonly entries: Map<string, Entry> } }) =>
    context.deps.entries,
  invariant: () => undefined,
  handlers: {
    get: (_context, entries, { kind, id }) => ({
      state: entries,
      result: ok(entries.get(`${kind}/${id}`)?.document ?? null),
    }),
    list: (_context, entries, { kind }) => ({
      state: entries,
      result: ok([...entries.values()].filter((entry) => kind === null || entry.kind === kind)),
    }),
    put: (_context, entries, entry) => {
      entries.set(`${entry.kind}/${entry.id}`, structuredClone(entry))
      return { state: entries, result: ok(null) }
    },
    remove: (_context, entries, { kind, id }) => {
      entries.delete(`${kind}/${id}`)
      return { state: entries, result: ok(null) }
    },
  },
})

export class World {
  readonly entries = new Map<string, Entry>()
  readonly lines: LogLine[] = []
  readonly #clock: Clock
  readonly #added: Array<(system: System) => void> = []
  #system: System

  constructor(clock: Clock = systemClock) {
    this.#clock = clock
    this.#system = this.#make()
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
      host: 'here',
      thread: 'main',
      clock: this.#clock,
      random: systemRandom,
      log: memoryLog(this.lines),
      routes: {},
      toThread: () => null,
      toHost: () => null,
    })
    system.add(memoryJournal, { entries: this.entries }, 'sled')
    return system
  }
}
