/**
 * What an actor waits for besides its messages: timers, the end of actors that it watches; and who waits
 * for its own end. Most actors never need any of it.
 */
import type { Down, Ref } from './actor.ts'
import type { Cell } from './cell.ts'
import type { Log } from '../log.ts'
import { Message, type Asker } from './message.ts'
import type { Protocol } from './protocol.ts'
import type { Span } from '../trace.ts'

export class Attention {
  /** The lease's, for a virtual actor. */
  generation = 0
  /** Counts its lives: what an earlier one left running must not touch this one. */
  life = 0
  log: Log | null = null
  /** When it was restarted, within the period. */
  restarts: number[] = []
  restarts_total = 0
  last_failure: string | null = null
  /** What `init` works on, while it does. */
  starting: Message | null = null
  /** Answers that were promised and have not come yet. */
  late = 0
  /** Called when the handler that runs has ended. */
  settled: (() => void) | null = null
  readonly #cell: Cell
  readonly #cancels = new Set<() => void>()
  readonly #watchers = new Set<(down: Down) => void>()

  constructor(cell: Cell) {
    this.#cell = cell
  }

  /** Tells the actor something later. */
  after(delay_ms: number, name: string, request: unknown, parent: Span | null): () => void {
    const cancel = this.#cell.services.clock.after(delay_ms, () => {
      this.#cancels.delete(cancel)
      tellSelf(this.#cell, { name, request }, parent)
    })
    return this.#keep(cancel)
  }

  /** Tells the actor something when another one is there no more; `failed` when it cannot be said what. */
  monitor(
    target: Ref<Protocol>,
    name: string,
    request: (down: Down) => unknown,
    failed: (error: unknown) => void,
  ): () => void {
    let isOver = false
    let cancel: (() => void) | null = null
    const takeBack = this.#keep(() => {
      isOver = true
      cancel?.()
    })
    cancel = this.#cell.services.monitor(target, (down) => {
      if (isOver) return
      takeBack()
      try {
        tellSelf(this.#cell, { name, request: request(down) }, null)
      } catch (error) {
        // Whoever is down must not suffer from who watched it.
        failed(error)
      }
    })
    return takeBack
  }

  watch(watcher: (down: Down) => void): () => void {
    this.#watchers.add(watcher)
    return () => {
      this.#watchers.delete(watcher)
    }
  }

  /** The actor waits for nothing any more. */
  clear(): void {
    for (const cancel of this.#cancels) cancel()
    this.#cancels.clear()
  }

  /** Whoever watches the actor hears of its end, once. */
  tell(down: Down): void {
    const watchers = [...this.#watchers]
    this.#watchers.clear()
    for (const watcher of watchers) watcher(down)
  }

  #keep(cancel: () => void): () => void {
    this.#cancels.add(cancel)
    return () => {
      if (this.#cancels.delete(cancel)) cancel()
    }
  }
}

function tellSelf(
  cell: Cell,
  { name, request }: { readonly name: string; readonly request: unknown },
  parent: Span | null,
): void {
  const row = cell.kind.protocol.rows.get(name)
  if (row === undefined) throw new Error(`${cell.name} has no message ${name}`)
  const message = new Message(cell, row, request, toSelf)
  const { observer } = cell.services
  if (observer.isLooking) observer.came(message, parent)
  cell.deliver(message)
}

/** Nobody waits for what an actor tells itself; a failure is logged, unless it is being stopped. */
const toSelf: Asker = {
  settle: ({ cell, row }, answer) => {
    if (answer.ok || cell.isGone) return
    cell.log.warn('message to self failed', { message: row.name, detail: answer.detail })
  },
}
