/**
 * What a process lets be seen of it, and what it takes to make others seen. Served on control sockets;
 * a sled serves it to Nexus too.
 */
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { call, nothing, protocol } from '../actor/protocol.ts'
import { snapshot } from './snapshot.ts'

const text = Type.String({ maxLength: 512 })
const finishedSpan = Type.Object({
  trace_id: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  span_id: Type.String({ pattern: '^[0-9a-f]{16}$' }),
  parent_id: Type.Union([Type.String({ pattern: '^[0-9a-f]{16}$' }), Type.Null()]),
  name: text,
  kind: Type.Enum(['server', 'internal']),
  began_ms: Type.Number(),
  ended_ms: Type.Number(),
  failure: Type.Union([text, Type.Null()]),
  service: text,
  host: text,
  attributes: Type.Record(Type.String({ maxLength: 128 }), text),
})

/** One actor a process, id `process`. */
export const seeingProtocol = protocol('seeing', 1, {
  snapshot: call(1, {
    /** How long, from now, messages are measured for the next look; 0 leaves it as it is. */
    request: Type.Object({ measure_ms: Type.Integer({ minimum: 0, maximum: 300_000 }) }),
    reply: snapshot,
    errors: [],
    idempotent: true,
  }),
  /** Takes spans of a process that reaches no collector itself. */
  export_spans: call(2, {
    request: Type.Object({ spans: Type.Array(finishedSpan, { maxItems: limits.spans_batch_max }) }),
    reply: nothing,
    errors: ['not_traced'],
    idempotent: false,
  }),
})
