/** A row of a table of measurements: the work, who does it besides us, and what we want to reach. */
import type { Entrant, Measurement } from './contestant.ts'
import type { Bar } from './harness.ts'

/** How a metric is read off a measurement. */
export const metrics = {
  rate: { unit: '1/s', of: (m: Measurement) => (m.operations / m.wall_ns) * 1e9 },
  time: { unit: 'ns', of: (m: Measurement) => m.wall_ns / m.operations },
  cpu: { unit: 'ns CPU', of: (m: Measurement) => m.cpu_ns / m.operations },
  p50: { unit: 'µs', of: (m: Measurement) => (m.p50_ns ?? Number.NaN) / 1000 },
  p99: { unit: 'µs', of: (m: Measurement) => (m.p99_ns ?? Number.NaN) / 1000 },
  worst: { unit: 'ms', of: (m: Measurement) => (m.max_ns ?? Number.NaN) / 1e6 },
  memory: { unit: 'bytes', of: (m: Measurement) => m.bytes ?? Number.NaN },
} as const
export type MetricName = keyof typeof metrics

export interface Scenario {
  readonly name: string
  /** `oversubscribed`: two busy processes more than the machine would have otherwise. */
  readonly regime: 'free cores' | 'oversubscribed'
  readonly metrics: { readonly [M in MetricName]?: readonly Bar[] }
  readonly ours: Entrant
  readonly peers: readonly Entrant[]
  /** How many operations a round has; null: as many as fill a round's time. */
  readonly operations: number | null
}

export const least = (peer: string | null, value: number): Bar => ({ peer, at: 'least', value })
export const most = (peer: string | null, value: number): Bar => ({ peer, at: 'most', value })
