/**
 * Looks at messages while somebody wants to know: how long each kind of message takes, and, for
 * traces, what caused what. Nobody looking costs a test of one flag a message.
 */
import type { Answer, Message } from './message.ts'
import type { Span, Tracer } from '../trace.ts'

/** How one row of a protocol does. Times in milliseconds. */
export interface RowStats {
  readonly name: string
  readonly count: number
  readonly failures: number
  readonly sum_ms: number
  readonly p50_ms: number
  readonly p99_ms: number
  readonly max_ms: number
}

/** Counts by powers of the square root of two, from a microsecond on. */
class Histogram {
  readonly #counts = new Uint32Array(64)
  count = 0
  failures = 0
  sum_ms = 0
  max_ms = 0

  add(ms: number): void {
    this.count += 1
    this.sum_ms += ms
    this.max_ms = Math.max(this.max_ms, ms)
    const bucket = ms <= 0.001 ? 0 : Math.min(63, Math.ceil(2 * Math.log2(ms * 1_000)))
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
  }

  quantile(share: number): number {
    let left = this.count * share
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count
      if (left <= 0) return Math.min(this.max_ms, 2 ** (bucket / 2) / 1_000)
    }
    return this.max_ms
  }
}

export class Observer {
  /** Null while nobody traces. */
  tracer: Tracer | null = null
  #rows: Map<string, Histogram> | null = null

  get isLooking(): boolean {
    return this.#rows !== null || this.tracer !== null
  }

  /** Begins or ends counting times; what was counted goes when it ends. */
  set measures(isOn: boolean) {
    this.#rows = isOn ? (this.#rows ?? new Map()) : null
  }

  /** A message has come; `parent` is the work that sent it. */
  came(message: Message, parent: Span | null): void {
    message.came_ms = performance.now()
    const { tracer } = this
    if (tracer === null || parent === null) return
    const { protocol, name } = message.row
    message.span = tracer.begin(parent, {
      name: `${protocol}.${name}`,
      kind: 'server',
      attributes: { 'luge.actor': message.cell.name },
    })
  }

  /** It has been answered. */
  answered(message: Message, answer: Answer): void {
    if (this.#rows !== null) this.#count(this.#rows, message, answer)
    message.span?.end(answer.ok ? null : answer.error)
  }

  get rows(): readonly RowStats[] {
    return [...(this.#rows ?? [])].map(([name, histogram]) => ({
      name,
      count: histogram.count,
      failures: histogram.failures,
      sum_ms: histogram.sum_ms,
      p50_ms: histogram.quantile(0.5),
      p99_ms: histogram.quantile(0.99),
      max_ms: histogram.max_ms,
    }))
  }

  #count(rows: Map<string, Histogram>, message: Message, answer: Answer): void {
    const name = `${message.row.protocol}.${message.row.name}`
    const found = rows.get(name)
    const histogram = found ?? new Histogram()
    if (found === undefined) rows.set(name, histogram)
    histogram.add(performance.now() - (message.came_ms ?? 0))
    if (!answer.ok) histogram.failures += 1
  }
}
