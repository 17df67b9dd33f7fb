/**
 * Finished spans on their way out of the process. Everything is bounded: what finds no room is
 * dropped and counted, nobody waits for it, and a collector that is away ends nothing.
 */
import { limits } from '#config/limits.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { explain } from '../result.ts'
import type { FinishedSpan } from '../trace.ts'

/** Where the spans of a thread wait to be fetched. */
export class SpanBuffer {
  dropped = 0
  #spans: FinishedSpan[] = []

  readonly add = (span: FinishedSpan): void => {
    if (this.#spans.length >= limits.spans_waiting_max) this.dropped += 1
    else this.#spans.push(span)
  }

  /** Gives away what there is. */
  take(): readonly FinishedSpan[] {
    const taken = this.#spans
    this.#spans = []
    return taken
  }
}

/** `again`: whoever takes them is away or busy now. `refused`: nobody will ever take these. */
export type Sent = 'sent' | 'again' | 'refused'

export interface ExporterOptions {
  /** Fetches what has ended since the last time; may fail. */
  readonly take: () => Promise<readonly FinishedSpan[]>
  /** Delivers a few; may fail, which counts as `again`. */
  readonly send: (spans: readonly FinishedSpan[], signal: AbortSignal) => Promise<Sent>
  /** What was dropped before it could be fetched. */
  readonly dropped: () => number
  readonly clock: Clock
  readonly log: Log
}

export class Exporter {
  readonly #options: ExporterOptions
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  #waiting: FinishedSpan[] = []
  #isAway = false
  #sent = 0
  #dropped = 0

  constructor(options: ExporterOptions) {
    this.#options = options
    this.#done = this.#run()
  }

  get counters(): Readonly<Record<string, number>> {
    return { spans_sent: this.#sent, spans_dropped: this.#dropped + this.#options.dropped() }
  }

  /** Sends what is there, once, and ends. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#done
    await this.#fetch()
    await this.#deliver(AbortSignal.timeout(limits.spans_close_ms_max))
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#stop
    let pause_ms: number = limits.spans_pause_ms_min
    while (!signal.aborted) {
      await clock.sleep(pause_ms, signal)
      await this.#fetch()
      await this.#deliver(signal)
      pause_ms = this.#isAway
        ? Math.min(limits.spans_pause_ms_max, pause_ms * 2)
        : limits.spans_pause_ms_min
    }
  }

  async #fetch(): Promise<void> {
    try {
      const taken = await this.#options.take()
      const room = Math.max(0, limits.spans_waiting_max - this.#waiting.length)
      this.#waiting.push(...taken.slice(0, room))
      this.#dropped += Math.max(0, taken.length - room)
    } catch (error) {
      this.#options.log.debug('spans were not fetched', { why: explain(error) })
    }
  }

  async #deliver(signal: AbortSignal): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, limits.spans_batch_max)
      const sent = await this.#send(batch, signal)
      if (sent === 'again') return
      this.#waiting.splice(0, batch.length)
      if (sent === 'sent') this.#sent += batch.length
      else this.#dropped += batch.length
    }
  }

  async #send(batch: readonly FinishedSpan[], signal: AbortSignal): Promise<Sent> {
    const { send, log } = this.#options
    let why = 'it takes no more now'
    let sent: Sent = 'again'
    try {
      sent = await send(batch, signal)
    } catch (error) {
      why = explain(error)
    }
    // An outage is worth one line, not one a second.
    if (sent === 'again' && !this.#isAway) log.warn('spans wait for their collector', { why })
    if (sent === 'refused') log.warn('the collector refused spans', { spans: batch.length })
    this.#isAway = sent === 'again'
    return sent
  }
}

/** Delivers to an OTLP/HTTP collector, as JSON (opentelemetry.io/docs/specs/otlp, 1.x). */
export function otlpSender(base_url: string): ExporterOptions['send'] {
  const url = `${base_url.replace(/\/+$/, '')}/v1/traces`
  return async (spans, signal) => {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(otlpBody(spans)),
      signal: AbortSignal.any([signal, AbortSignal.timeout(limits.spans_send_ms_max)]),
    })
    await answer.body?.cancel()
    if (answer.ok) return 'sent'
    return answer.status === 429 || answer.status >= 500 ? 'again' : 'refused'
  }
}

/** An ExportTraceServiceRequest. */
function otlpBody(spans: readonly FinishedSpan[]): object {
  const byHost = Map.groupBy(spans, ({ service, host }) => `${service} ${host}`)
  return {
    resourceSpans: [...byHost.values()].map((group) => ({
      resource: {
        attributes: attributesOf({
          'service.name': `luge-${group[0]?.service ?? ''}`,
          'service.instance.id': group[0]?.host ?? '',
        }),
      },
      scopeSpans: [{ scope: { name: 'luge' }, spans: group.map(otlpSpan) }],
    })),
  }
}

const kindNumbers = { internal: 1, server: 2 } as const

const otlpSpan = (span: FinishedSpan): object => ({
  traceId: span.trace_id,
  spanId: span.span_id,
  ...(span.parent_id === null ? {} : { parentSpanId: span.parent_id }),
  name: span.name,
  kind: kindNumbers[span.kind],
  startTimeUnixNano: nanoseconds(span.began_ms),
  endTimeUnixNano: nanoseconds(span.ended_ms),
  attributes: attributesOf(span.attributes),
  status: span.failure === null ? {} : { code: 2, message: span.failure },
})

/** Uint64 in JSON is a string. A double holds today's microseconds exactly. */
const nanoseconds = (ms: number): string => String(BigInt(Math.round(ms * 1_000)) * 1_000n)

const attributesOf = (attributes: Readonly<Record<string, string>>) =>
  Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } }))
