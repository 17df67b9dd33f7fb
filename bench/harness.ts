/**
 * Measures side by side: candidates take turns, round by round, so that a machine whose speed
 * drifts slows all of them. What counts is the median of the rounds' ratios, not one fast run.
 */
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

export interface Comparison {
  readonly unit: string
  readonly rounds: number
  /** Each does its work and gives back its measurement. The first is ours. */
  readonly candidates: Readonly<Record<string, (round: number) => number | Promise<number>>>
}
/** What we want to reach: a ratio to a peer, or a value where `peer` is null. Nothing asserts it. */
export interface Bar {
  readonly peer: string | null
  readonly at: 'least' | 'most'
  readonly value: number
}
export interface Metric {
  readonly name: string
  readonly unit: string
  readonly bars: readonly Bar[]
}
/** Several measurements of the same work, by their metrics' names. */
export type Values = Readonly<Record<string, number>>
export interface Comparisons {
  readonly metrics: readonly Metric[]
  readonly rounds: number
  /** Which candidate is ours; null while we have none, so that peers are measured alone. */
  readonly own: string | null
  readonly candidates: Readonly<Record<string, (round: number) => Promise<Values>>>
}
export interface Result {
  readonly name: string
  readonly unit: string
  /** The median; null where only peers were measured. */
  readonly value: number | null
  readonly min: number | null
  readonly max: number | null
  /** Given where there are at least 100 values. */
  readonly p99: number | null
  /** Our measurement over each peer's, the median of the rounds. */
  readonly ratios: Readonly<Record<string, number>>
  /** The peers' own medians. */
  readonly peers: Readonly<Record<string, number>>
  readonly bars: readonly Bar[]
}

export class Harness {
  readonly results: Result[] = []
  readonly skipped: Array<{ readonly name: string; readonly why: string }> = []
  readonly #say: (line: string) => void

  /** `say` is told what is going on, for people who wait. */
  constructor(say: (line: string) => void) {
    this.#say = say
  }

  /** Runs all candidates once unmeasured, then in turns. */
  async compare(name: string, comparison: Comparison): Promise<void> {
    const { unit, rounds } = comparison
    const candidates = Object.entries(comparison.candidates).map(
      ([key, measure]) =>
        [key, async (round: number) => ({ [name]: await measure(round) })] as const,
    )
    await this.compareAll(name, {
      metrics: [{ name, unit, bars: [] }],
      rounds,
      own: candidates[0]?.[0] ?? null,
      candidates: Object.fromEntries(candidates),
    })
  }

  /** The same where one piece of work has several measurements. */
  async compareAll(name: string, comparisons: Comparisons): Promise<void> {
    this.#say(name)
    const { metrics, rounds, own } = comparisons
    const candidates = Object.entries(comparisons.candidates)
    const measured = new Map<string, Values[]>(candidates.map(([key]) => [key, []]))
    for (let round = 0; round <= rounds; round += 1) {
      for (const [key, measure] of candidates) {
        const values = await measure(round)
        if (round > 0) measured.get(key)?.push(values)
      }
    }
    for (const metric of metrics) {
      const of = (key: string) =>
        (measured.get(key) ?? []).map((values) => values[metric.name] ?? Number.NaN)
      const ours = own === null ? [] : of(own)
      const ratios: Record<string, number> = {}
      const peers: Record<string, number> = {}
      for (const [peer] of candidates.filter(([key]) => key !== own)) {
        const theirs = of(peer)
        peers[peer] = median(theirs)
        if (own === null) continue
        ratios[peer] = median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)))
      }
      this.#add(metric, ours, { ratios, peers })
    }
  }

  /** Takes measurements that have no peer. */
  record(name: string, unit: string, values: readonly number[]): void {
    this.#say(name)
    this.#add({ name, unit, bars: [] }, values, { ratios: {}, peers: {} })
  }

  /** Says what could not be measured here, and why. */
  skip(name: string, why: string): void {
    this.skipped.push({ name, why })
  }

  #add(metric: Metric, values: readonly number[], against: Pick<Result, 'ratios' | 'peers'>): void {
    const sorted = values.toSorted((a, b) => a - b)
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null
    const p99 = sorted.length >= 100 ? at(0.99) : null
    const value = sorted.length === 0 ? null : median(sorted)
    this.results.push({ ...metric, value, min: at(0), max: at(1), p99, ...against })
  }
}

/** The middle of the values; of two middles, their mean. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2
}

/** What a reader needs to know of the machine. */
export function hostFacts() {
  const [cpu] = cpus()
  return {
    cpus: cpus().length,
    model: cpu?.model ?? 'unknown',
    memory_bytes: totalmem(),
    kernel: release(),
    node: process.version,
    load: loadavg(),
    kvm: readable('/dev/kvm'),
  }
}

function readable(path: string): boolean {
  try {
    readFileSync(path, { flag: 'r' })
    return true
  } catch (error) {
    // A device cannot be read like a file; that it is there is what counts.
    return error instanceof Error && 'code' in error && error.code !== 'ENOENT'
  }
}
