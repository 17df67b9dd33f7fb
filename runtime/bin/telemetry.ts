/** How a process traces, by its configuration. Null everywhere means that nothing is traced. */
import type { Telemetry } from '#config/seeing.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { Exporter, otlpSender, SpanBuffer, type ExporterOptions } from '#runtime/seeing/exporter.ts'
import { Tracer, type FinishedSpan } from '#runtime/trace.ts'

export interface Tracing {
  readonly tracer: Tracer
  readonly buffer: SpanBuffer
}

/** What one thread traces with. */
export function makeTracing(
  telemetry: Telemetry,
  at: { readonly service: string; readonly host: string; readonly thread: string },
): Tracing {
  const buffer = new SpanBuffer()
  const tracer = new Tracer({
    clock: systemClock,
    random: systemRandom,
    sample_ratio: telemetry.sample_ratio,
    ...at,
    finished: buffer.add,
  })
  return { tracer, buffer }
}

/** Brings what `tracing` and `others` have to the configured collector, or else to `instead`. */
export function makeExporter(
  telemetry: Telemetry,
  tracing: Tracing,
  more: {
    readonly log: Log
    readonly others: () => Promise<readonly FinishedSpan[]>
    readonly instead: ExporterOptions['send'] | null
  },
): Exporter | null {
  const send = telemetry.otlp_url === undefined ? more.instead : otlpSender(telemetry.otlp_url)
  if (send === null) {
    more.log.warn('spans go nowhere: telemetry.otlp_url is not set')
    return null
  }
  const take = async () => [...tracing.buffer.take(), ...(await more.others())]
  const dropped = () => tracing.buffer.dropped
  return new Exporter({ take, send, dropped, clock: systemClock, log: more.log })
}
