/** Where a process shows itself: what is measured, and what is traced. */
import { Type, type Static } from 'typebox'

const text = Type.String({ minLength: 1, maxLength: 4096 })

/** Where metrics are served over plain HTTP, to whoever asks: loopback, or the underlay. */
export const metricsListen = Type.Object(
  { address: text, port: Type.Integer({ minimum: 0, maximum: 65_535 }) },
  { additionalProperties: false },
)
export type MetricsListen = Static<typeof metricsListen>

export const otlpUrl = Type.String({ pattern: '^https?://[^\\s/]+', maxLength: 1024 })

export const telemetry = Type.Object(
  {
    /**
     * Base URL of an OTLP/HTTP collector; spans go to its `/v1/traces`. Absent: whoever cannot reach
     * one hands its spans to a sled that can.
     */
    otlp_url: Type.Optional(otlpUrl),
    /** The share of traces beginning here that is recorded. */
    sample_ratio: Type.Number({ minimum: 0, maximum: 1 }),
  },
  { additionalProperties: false },
)
export type Telemetry = Static<typeof telemetry>

/** What the environment says goes before what the configuration says. Null: nothing is traced. */
export function telemetryOf(
  configured: Telemetry | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Telemetry | null {
  const otlp_url = env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? ''
  if (otlp_url === '') return configured ?? null
  return { otlp_url, sample_ratio: configured?.sample_ratio ?? 1 }
}
