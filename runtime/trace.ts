/**
 * Traces in W3C form (www.w3.org/TR/trace-context): every message may carry the span that caused it.
 * Nothing is made while nobody traces.
 */
import type { Random } from './random.ts'

/** One piece of work, as far as it travels. */
export interface Span {
  /** 32 hexadecimal digits. */
  readonly trace_id: string
  /** 16 hexadecimal digits. */
  readonly span_id: string
}

/** A span that has ended. Times are Unix milliseconds. */
export interface FinishedSpan extends Span {
  readonly parent_id: string | null
  readonly name: string
  readonly began_ms: number
  readonly ended_ms: number
  /** Null for success; otherwise the failure's code. */
  readonly failure: string | null
}

/** Where finished spans go. */
export interface Tracer {
  /** Whether a trace that begins here is to be recorded. */
  readonly sample: () => boolean
  readonly finished: (span: FinishedSpan) => void
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A span under `parent`, or the first one of a new trace. */
export function childOf(parent: Span | null, random: Random): Span {
  return {
    trace_id: parent?.trace_id ?? hex(random.bytes(16)),
    span_id: hex(random.bytes(8)),
  }
}

/** Reads a `traceparent` header; null when it is none. */
export function readTraceparent(text: string): Span | null {
  const [, trace_id, span_id] =
    /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/.exec(text) ?? []
  if (trace_id === undefined || span_id === undefined) return null
  if (/^0+$/.test(trace_id) || /^0+$/.test(span_id) || text.startsWith('ff')) return null
  return { trace_id, span_id }
}

/** The `traceparent` header of a recorded span. */
export const traceparent = (span: Span): string => `00-${span.trace_id}-${span.span_id}-01`
