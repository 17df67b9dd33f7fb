/**
 * Traces in W3C form (www.w3.org/TR/trace-context): every message may carry the span that caused it.
 * A trace begins where a request comes from outside; nothing is made while nobody traces, nor for a
 * trace that is not sampled.
 */
import type { Clock } from './clock.ts'
import type { Random } from './random.ts'

/** One piece of work, as far as it travels. */
export interface Span {
  /** 32 hexadecimal digits. */
  readonly trace_id: string
  /** 16 hexadecimal digits. */
  readonly span_id: string
}

/** On whose behalf something is asked for. */
export interface Work {
  /** For people: `disk/1 attach`, or `POST /organizations`. */
  readonly what: string
  /** Null while nobody traces it. */
  readonly span: Span | null
}

/** `server`: it was asked for from elsewhere. `internal`: a part of that. */
export type SpanKind = 'server' | 'internal'

/** A span that has ended. Times are Unix milliseconds. */
export interface FinishedSpan extends Span {
  readonly parent_id: string | null
  readonly name: string
  readonly kind: SpanKind
  readonly began_ms: number
  readonly ended_ms: number
  /** Null for success; otherwise the failure's code. */
  readonly failure: string | null
  /** Where it was. */
  readonly service: string
  readonly host: string
  readonly attributes: Readonly<Record<string, string>>
}

/** A piece of work that is recorded. */
export interface OpenSpan extends Span {
  /** It has ended; `failure` is the code, null for success. Only the first end counts. */
  readonly end: (failure: string | null) => void
}

export interface TracerOptions {
  readonly clock: Clock
  readonly random: Random
  /** The share of traces beginning here that is recorded, from 0 to 1. */
  readonly sample_ratio: number
  /** Where it is: on every span of this tracer. */
  readonly service: string
  readonly host: string
  readonly thread: string
  /** Takes what has ended; must not throw. */
  readonly finished: (span: FinishedSpan) => void
}
interface Begun {
  readonly name: string
  readonly kind: SpanKind
  readonly attributes: Readonly<Record<string, string>>
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** Where spans of one thread are made. */
export class Tracer {
  readonly #options: TracerOptions

  constructor(options: TracerOptions) {
    this.#options = options
  }

  /** Begins a span of the trace that `parent` belongs to. */
  begin(parent: Span, begun: Begun): OpenSpan {
    return this.#open(parent.trace_id, parent.span_id, begun)
  }

  /**
   * Begins a span for a request from outside. Who sent a `traceparent` has decided whether it is
   * recorded; otherwise the trace begins here, and the ratio decides. Null: it is not recorded.
   */
  receive(header: string | null, begun: Begun): OpenSpan | null {
    const caller = header === null ? null : readTraceparent(header)
    if (caller !== null) return caller.is_sampled ? this.begin(caller, begun) : null
    const { random, sample_ratio } = this.#options
    // The ratio of trace ids, as other programs take it: the last 32 bits are random enough.
    if (sample_ratio <= 0) return null
    const trace_id = hex(random.bytes(16))
    const share = Number.parseInt(trace_id.slice(24), 16) / 2 ** 32
    return share < sample_ratio ? this.#open(trace_id, null, begun) : null
  }

  #open(trace_id: string, parent_id: string | null, begun: Begun): OpenSpan {
    const { clock, random, finished, service, host, thread } = this.#options
    const span_id = hex(random.bytes(8))
    const began_ms = clock.now()
    // The wall clock may be set meanwhile.
    const began = performance.now()
    let isOpen = true
    const end = (failure: string | null) => {
      if (!isOpen) return
      isOpen = false
      finished({
        trace_id,
        span_id,
        parent_id,
        name: begun.name,
        kind: begun.kind,
        began_ms,
        ended_ms: began_ms + performance.now() - began,
        failure,
        service,
        host,
        attributes: { 'thread.name': thread, ...begun.attributes },
      })
    }
    return { trace_id, span_id, end }
  }
}

/** Reads a `traceparent` header; null when it is none. */
export function readTraceparent(text: string): (Span & { readonly is_sampled: boolean }) | null {
  const [, version, trace_id, span_id, flags = '00', rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text) ?? []
  if (trace_id === undefined || span_id === undefined) return null
  if (/^0+$/.test(trace_id) || /^0+$/.test(span_id)) return null
  // Later versions may say more behind the flags; this one must not.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return null
  return { trace_id, span_id, is_sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}
