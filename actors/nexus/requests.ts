/** HTTP requests that were answered, counted by operation and status. */
import type { Snapshot } from '#runtime/seeing/snapshot.ts'

type Counted = Snapshot['http'][number]

export class RequestCounts {
  readonly #counts = new Map<string, Counted>()

  /** `operation` is one of the declared ones, so that there are few. */
  add(operation: string, status: number, ms: number): void {
    const key = `${status} ${operation}`
    const { count, sum_ms } = this.#counts.get(key) ?? { count: 0, sum_ms: 0 }
    this.#counts.set(key, { operation, status, count: count + 1, sum_ms: sum_ms + ms })
  }

  get all(): Snapshot['http'] {
    return [...this.#counts.values()]
  }
}
