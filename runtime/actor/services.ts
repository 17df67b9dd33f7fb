/** What a system gives to the actors that it runs, and what it knows of each kind of them. */
import type { AnyBehaviour, Down, Ref } from './actor.ts'
import type { Cell } from './cell.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { NativeCalls } from './native_calls.ts'
import type { Observer } from './observer.ts'
import type { Protocol } from './protocol.ts'
import type { Random } from '../random.ts'
import type { Scheduler } from './scheduler.ts'
import type { Supervisor } from './supervisor.ts'
import type { Work } from '../trace.ts'
import type { VirtualActors } from './virtual.ts'

export type Phase = 'starting' | 'idle' | 'ready' | 'busy' | 'down' | 'stopped'

/** An actor, for people. */
export interface CellInfo {
  readonly name: string
  readonly phase: Phase
  readonly depth: number
  readonly handled: number
  readonly restarts: number
  readonly last_failure: string | null
}

/** All actors of one protocol in this thread. */
export interface Kind {
  readonly protocol: Protocol
  readonly behaviour: AnyBehaviour
  /** The behaviour's, in the order of the protocol's rows. */
  readonly handlers: ReadonlyArray<AnyBehaviour['handlers'][string] | undefined>
  readonly deps: unknown
  readonly services: Services
  readonly cells: Map<string, Cell>
  /** Who decides when its actor crashes; null for actors that a message makes. */
  readonly supervisor: Supervisor | null
  /** Who keeps the leases of virtual actors; null for all others. */
  readonly virtual: VirtualActors | null
  crashes: number
  /** What actors that are gone have handled. */
  handled: number
  /** How often idle ones were looked for; see System's passivation. */
  sweep: number
}

export interface Services {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly scheduler: Scheduler
  readonly ref: <P extends Protocol>(
    protocol: P,
    id: string,
    host: string | null,
    work: Work | null,
  ) => Ref<P>
  /** Watches an actor anywhere; returns a function that ends the watch. */
  readonly monitor: (target: Ref<Protocol>, watcher: (down: Down) => void) => () => void
  /** An actor is gone and may be forgotten. */
  readonly ended: (cell: Cell) => void
  /** An actor is down after a crash; `isWithin` its own restart budget or not. */
  readonly crashed: (cell: Cell, isWithin: boolean, why: string) => void
  readonly observer: Observer
  readonly natives: NativeCalls
  /** An answer came when nobody waited for it any more. */
  readonly late: (what: string) => void
}
