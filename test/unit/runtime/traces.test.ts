/** Spans: what begins one, what carries it on, and how they leave the process. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { otlpUrl, telemetryOf } from '#config/seeing.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { NativeDeps } from '#runtime/actor/native_calls.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { seededRandom } from '#runtime/random.ts'
import { err, ok } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Exporter, otlpSender, SpanBuffer, type Sent } from '#runtime/seeing/exporter.ts'
import type { System } from '#runtime/actor/system.ts'
import { readTraceparent, Tracer, type FinishedSpan } from '#runtime/trace.ts'
import { Collector } from '#test/kit/collector.ts'
import { until } from '#test/kit/rack.ts'
import { aloneSystem } from '#test/kit/alone.ts'

const trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'
const span_id = '00f067aa0ba902b7'

test('a traceparent is read as W3C has it, and anything else is none', () => {
  assert.deepEqual(readTraceparent(`00-${trace_id}-${span_id}-01`), {
    trace_id,
    span_id,
    is_sampled: true,
  })
  assert.equal(readTraceparent(`00-${trace_id}-${span_id}-00`)?.is_sampled, false)
  assert.equal(readTraceparent(`01-${trace_id}-${span_id}-03-more`)?.is_sampled, true)
  const wrong = [
    '',
    `00-${trace_id}-${span_id}`,
    `00-${trace_id}-${span_id}-01-more`,
    `ff-${trace_id}-${span_id}-01`,
    `00-${trace_id.toUpperCase()}-${span_id}-01`,
    `00-${'0'.repeat(32)}-${span_id}-01`,
    `00-${trace_id}-${'0'.repeat(16)}-01`,
    `00-${trace_id}-${span_id}-01\n`,
  ]
  assert.deepEqual(
    wrong.map(readTraceparent),
    wrong.map(() => null),
  )
})

const tracer = (finished: (span: FinishedSpan) => void, sample_ratio = 1) =>
  new Tracer({
    clock: systemClock,
    random: seededRandom(1),
    sample_ratio,
    service: 'test',
    host: 'here',
    thread: 'main',
    finished,
  })
const request = { name: 'GET /', kind: 'server', attributes: {} } as const

test('the ratio decides for traces that begin here, and their caller for all others', () => {
  const spans: FinishedSpan[] = []
  const some = tracer((span) => spans.push(span), 0.25)
  const count = 2_000
  for (let turn = 0; turn < count; turn += 1) some.receive(null, request)?.end(null)
  assert.ok(spans.length > 0.2 * count && spans.length < 0.3 * count, `${spans.length}`)
  assert.equal(some.receive(`00-${trace_id}-${span_id}-00`, request), null)
  some.receive(`00-${trace_id}-${span_id}-01`, request)?.end('503')
  assert.equal(spans.at(-1)?.trace_id, trace_id)
  assert.equal(spans.at(-1)?.parent_id, span_id)
  assert.equal(spans.at(-1)?.failure, '503')
  assert.equal(tracer((span) => spans.push(span), 0).receive(null, request), null)
})

const machineProtocol = protocol('machine', 1, {
  start: call(1, {
    request: Type.Object({ id: Type.String() }),
    reply: nothing,
    errors: ['broken'],
  }),
  go: call(2, { request: nothing, reply: nothing, errors: ['broken'] }),
  later: call(3, { request: nothing, reply: nothing, errors: [] }),
})
/** A backend that keeps something to itself, as the real ones do. */
class Motor {
  readonly #started: string[] = []
  readonly kinds = new Set(['motor'])
  async start(id: string) {
    this.#started.push(id)
    return this.#started.length > 1 ? err('broken', 'it runs already') : ok(null)
  }
  look(): number {
    return this.#started.length
  }
}
type MachineContext = Context<
  { readonly motor: Motor; readonly speed: number },
  typeof machineProtocol
>
const machine = behaviour({
  protocol: machineProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 2,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 8,
    thread: 'main',
    activation: 'by_id',
  },
  init: (context: MachineContext) => {
    assert.equal(context.deps.motor.look(), 0)
    return null
  },
  invariant: () => undefined,
  handlers: {
    start: async (context, state, { id }) => {
      assert.equal(context.deps.speed, 3)
      assert.ok(context.deps.motor.kinds.has('motor'), 'what is no function is as it was')
      context.after(0, 'go', null)
      context.after(1, 'later', null)
      return { state, result: await context.deps.motor.start(id) }
    },
    go: async (context, state) => ({ state, result: await context.deps.motor.start('again') }),
    later: (_context, state) => ({ state, result: ok(null) }),
  },
})

function traced(finished: (span: FinishedSpan) => void): System {
  const system = aloneSystem()
  system.add(machine, new NativeDeps({ motor: new Motor(), speed: 3 }, ['motor']))
  system.observer.tracer = tracer(finished)
  return system
}
const soon = { timeout_ms: 5_000 }

test('a message, its native calls and what the actor does next are spans of one trace', async () => {
  const spans: FinishedSpan[] = []
  const system = traced((span) => spans.push(span))
  const work = { what: 'GET /', span: { trace_id, span_id } }
  const started = await system
    .ref(machineProtocol, 'a', null, work)
    .call('start', { id: 'x' }, soon)
  assert.deepEqual(started, ok(null))
  const found = await until('the second start', 5_000, () =>
    spans.filter(({ name }) => name === 'machine.go').length === 1 ? spans : null,
  )
  const named = (name: string) => found.find((span) => span.name === name)
  assert.equal(named('machine.start')?.parent_id, span_id)
  assert.equal(named('motor.start')?.parent_id, named('machine.start')?.span_id)
  assert.equal(named('machine.go')?.parent_id, named('machine.start')?.span_id)
  assert.equal(named('machine.go')?.failure, 'broken')
  assert.equal(found.findLast(({ name }) => name === 'motor.start')?.failure, 'broken')
  assert.ok(found.every((span) => span.trace_id === trace_id))
  assert.equal(named('machine.later'), undefined, 'what comes later is another piece of work')
  assert.equal(named('motor.look'), undefined, 'no message caused the start')
  assert.equal(system.natives.running.size, 0)
})

test('what nobody traces makes no spans', async () => {
  const spans: FinishedSpan[] = []
  const system = traced((span) => spans.push(span))
  await system.ref(machineProtocol, 'a').call('start', { id: 'x' }, soon)
  assert.deepEqual(spans, [])
})

const span = (at: number): FinishedSpan => ({
  trace_id,
  span_id: String(at).padStart(16, '0'),
  parent_id: null,
  name: 'x',
  kind: 'internal',
  began_ms: 1_700_000_000_000.25,
  ended_ms: 1_700_000_000_001.5,
  failure: 'busy',
  service: 'sled',
  host: 'here',
  attributes: { 'thread.name': 'net' },
})

test('spans arrive at a collector in the form that OTLP gives them', async () => {
  const collector = await Collector.start()
  const sent = await otlpSender(`${collector.url}/`)([span(1)], AbortSignal.timeout(5_000))
  assert.equal(sent, 'sent')
  assert.deepEqual(collector.spans, [
    {
      service: 'luge-sled',
      traceId: trace_id,
      spanId: '0000000000000001',
      name: 'x',
      kind: 1,
      startTimeUnixNano: '1700000000000250000',
      endTimeUnixNano: '1700000000001500000',
      attributes: [{ key: 'thread.name', value: { stringValue: 'net' } }],
      status: { code: 2, message: 'busy' },
    },
  ])
  collector.status = 400
  assert.equal(await otlpSender(collector.url)([span(1)], AbortSignal.timeout(5_000)), 'refused')
  collector.status = 503
  assert.equal(await otlpSender(collector.url)([span(1)], AbortSignal.timeout(5_000)), 'again')
  await collector.stop()
})

test('what finds no room is dropped and counted, and an outage is one line in the log', async () => {
  const buffer = new SpanBuffer()
  for (let at = 0; at < limits.spans_waiting_max + 5; at += 1) buffer.add(span(at))
  assert.equal(buffer.dropped, 5)
  const lines: LogLine[] = []
  let answer: Sent | 'throws' = 'throws'
  let tries = 0
  const got: FinishedSpan[] = []
  const exporter = new Exporter({
    clock: systemClock,
    log: memoryLog(lines),
    take: async () => buffer.take(),
    dropped: () => buffer.dropped,
    send: async (spans) => {
      tries += 1
      assert.ok(spans.length <= limits.spans_batch_max)
      if (answer === 'throws') throw new Error('nobody listens')
      if (answer === 'sent') got.push(...spans)
      return answer
    },
  })
  await until('two tries', 10_000, () => (tries >= 2 ? true : null))
  buffer.add(span(0))
  await until('one more than there is room for', 10_000, () =>
    exporter.counters['spans_dropped'] === 5 + 1 ? true : null,
  )
  assert.equal(lines.filter(({ level }) => level === 'warn').length, 1)
  answer = 'sent'
  await until('all are sent', 20_000, () =>
    exporter.counters['spans_sent'] === limits.spans_waiting_max ? true : null,
  )
  assert.equal(got.length, limits.spans_waiting_max)
  answer = 'refused'
  buffer.add(span(1))
  await exporter.close()
  assert.equal(exporter.counters['spans_dropped'], 5 + 2, 'the last ones are offered at the end')
})

test('the environment goes before the configuration, and nothing is traced by default', () => {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }
  assert.equal(telemetryOf(undefined, {}), null)
  assert.equal(telemetryOf(undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: '' }), null)
  assert.deepEqual(telemetryOf(undefined, env), {
    otlp_url: 'http://127.0.0.1:4318',
    sample_ratio: 1,
  })
  assert.deepEqual(telemetryOf({ otlp_url: 'http://x', sample_ratio: 0.5 }, env), {
    otlp_url: 'http://127.0.0.1:4318',
    sample_ratio: 0.5,
  })
  for (const wrong of ['collector:4318', 'http://', 'http:// x']) assert.ok(!fits(otlpUrl, wrong))
})
