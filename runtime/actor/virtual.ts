/**
 * Virtual actors: made by their first message on the host where they belong, one activation at a time
 * in the whole cluster, each under a lease with a fencing generation. An actor whose lease is not
 * surely held any more handles nothing; what it writes to the store carries its generation, so that
 * the store refuses what a stopped or slow host writes too late (runtime/cluster).
 */
import type { Cell } from './cell.ts'
import type { Log } from '../log.ts'
import type { Result } from '../result.ts'

/** The right to run one actor. */
export interface Tenure {
  readonly name: string
  readonly generation: number
}

/** Who says where virtual actors belong and who may run them. */
export interface Homes {
  /** This host. */
  readonly here: string
  /** The host where an actor belongs now, as far as this one knows; null when nobody can say. */
  readonly home: (kind: string, id: string) => string | null
  /** Takes an actor that belongs here. */
  readonly claim: (kind: string, id: string) => Promise<Result<Tenure, string>>
  /**
   * `held`: it may act now. `doubtful`: it may not, but may again. `lost`: never again. Told by the
   * clock alone.
   */
  readonly standing: (tenure: Tenure) => 'held' | 'doubtful' | 'lost'
  readonly release: (tenure: Tenure) => Promise<unknown>
  /** Calls back when members have come or gone, or when this one's own session has ended. */
  readonly onChange: (callback: () => void) => () => void
}

export class VirtualActors {
  readonly #homes: Homes
  readonly #log: Log
  readonly #tenures = new Map<Cell, Tenure>()
  readonly #stopWatching: () => void

  constructor(homes: Homes, log: Log) {
    this.#homes = homes
    this.#log = log
    this.#stopWatching = homes.onChange(() => {
      this.#review()
    })
  }

  home(kind: string, id: string): string | null {
    return this.#homes.home(kind, id)
  }

  /** Takes the lease that an actor needs before its `init`. */
  async claim(cell: Cell): Promise<Result<Tenure, string>> {
    const claimed = await this.#homes.claim(cell.kind.protocol.name, cell.id)
    if (claimed.ok) this.#tenures.set(cell, claimed.value)
    return claimed
  }

  /** Whether an actor may handle a message now. */
  holds(cell: Cell): boolean {
    const tenure = this.#tenures.get(cell)
    return tenure !== undefined && this.#homes.standing(tenure) === 'held'
  }

  /** An actor has stopped here: others may have it. */
  release(cell: Cell): void {
    const tenure = this.#tenures.get(cell)
    if (tenure === undefined) return
    this.#tenures.delete(cell)
    this.#homes.release(tenure).catch((error: unknown) => {
      this.#log.warn('a lease could not be given back', { name: tenure.name, why: String(error) })
    })
  }

  stop(): void {
    this.#stopWatching()
  }

  /** Ends what is not ours any more, and what belongs elsewhere by now: it begins anew there. */
  #review(): void {
    for (const [cell, tenure] of this.#tenures) {
      const { name } = cell.kind.protocol
      const home = this.#homes.home(name, cell.id)
      if (this.#homes.standing(tenure) === 'lost') {
        void cell.stop('stopped', 'crashed', 'its lease is lost')
      } else if (home !== null && home !== this.#homes.here) {
        void cell.stop('stopped', 'ended', 'it belongs to another host now')
      }
    }
  }
}
