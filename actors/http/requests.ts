/** HTTP requests that were answered, counted by operation and status, with how long they took. */
import type { Snapshot } from '#runtime/seeing/snapshot.ts'

type Counted = Snapshot['http'][number]
/** What was counted, and how many of it lie in each bin: below the first edge, between two, from the last on. */
export interface Latencies extends Counted {
  readonly bins: readonly number[]
}

const first_decade = -6
const last_decade = 3
/** The edges of latencies' bins in seconds: nine to a decade, from 1 µs to 1000 s (spec/02 §18). */
export const latencyEdges: readonly number[] = [
  ...Array.from({ length: last_decade - first_decade }, (_, decade) =>
    Array.from({ length: 9 }, (_none, step) => Number(`${step + 1}e${first_decade + decade}`)),
  ).flat(),
  10 ** last_decade,
]

export class RequestCounts {
  readonly #counts = new Map<string, Counted & { readonly bins: number[] }>()

  /** `operation` is one of the declared ones, so that there are few. */
  add(operation: string, status: number, ms: number): void {
    const key = `${status} ${operation}`
    const known = this.#counts.get(key)
    const bins = known?.bins ?? Array.from({ length: latencyEdges.length + 1 }, () => 0)
    const beyond = latencyEdges.findIndex((edge) => ms / 1000 < edge)
    const bin = beyond === -1 ? latencyEdges.length : beyond
    bins[bin] = (bins[bin] ?? 0) + 1
    const { count, sum_ms } = known ?? { count: 0, sum_ms: 0 }
    this.#counts.set(key, { operation, status, count: count + 1, sum_ms: sum_ms + ms, bins })
  }

  get all(): Snapshot['http'] {
    return this.latencies.map(({ bins: _bins, ...counted }) => counted)
  }

  get latencies(): readonly Latencies[] {
    return [...this.#counts.values()]
  }
}
