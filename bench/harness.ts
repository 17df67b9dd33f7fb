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
export interface Result {
  readonly name: string
  readonly unit: string
  /** The median. */
  readonly value: number
  readonly min: number
  readonly max: number
  /** Given where there are at least 100 values. */
  readonly p99: number | null
  /** Our measurement over each peer's, the median of the rounds. */
  readonly ratios: Readonly<Record<string, number>>
  /** The peers' own medians. */
  readonly peers: Readonly<Record<string, number>>
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
    this.#say(name)
    const { unit, rounds } = comparison
    const candidates = Object.entries(comparison.candidates)
    const values = new Map<string, number[]>(candidates.map(([key]) => [key, []]))
    for (let round = 0; round <= rounds; round += 1) {
      for (const [key, measure] of candidates) {
        const value = await measure(round)
        if (round > 0) values.get(key)?.push(value)
      }
    }
    const [first, ...peers] = candidates
    const own = values.get(first?.[0] ?? '') ?? []
    const ratios: Record<string, number> = {}
    const medians: Record<string, number> = {}
    for (const [peer] of peers) {
      const theirs = values.get(peer) ?? []
      ratios[peer] = median(own.map((value, round) => value / (theirs[round] ?? Number.NaN)))
      medians[peer] = median(theirs)
    }
    this.#add(name, unit, own, { ratios, peers: medians })
  }

  /** Takes measurements that have no peer. */
  record(name: string, unit: string, values: readonly number[]): void {
    this.#say(name)
    this.#add(name, unit, values, { ratios: {}, peers: {} })
  }

  /** Says what could not be measured here, and why. */
  skip(name: string, why: string): void {
    this.skipped.push({ name, why })
  }

  #add(
    name: string,
    unit: string,
    values: readonly number[],
    against: Pick<Result, 'ratios' | 'peers'>,
  ): void {
    const sorted = values.toSorted((a, b) => a - b)
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
    const p99 = sorted.length >= 100 ? at(0.99) : null
    const value = median(sorted)
    this.results.push({ name, unit, value, min: at(0), max: at(1), p99, ...against })
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
