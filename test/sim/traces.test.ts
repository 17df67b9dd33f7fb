/** One instance create on a rack is one trace: from HTTP through its saga to the sled's native calls. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Collector, type CollectedSpan } from '#test/kit/collector.ts'
import { TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('sim')
const trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'
const caller_id = '00f067aa0ba902b7'
let collector: Collector
let project = ''

before(async () => {
  collector = await Collector.start()
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url
  await rack.up()
  delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT']
  project = await rack.prepare()
})
after(async () => {
  await rack.destroy()
  await collector.stop()
})

/** The spans of the trace so far. */
const traced = () => collector.spans.filter(({ traceId }) => traceId === trace_id)
const attribute = ({ attributes }: CollectedSpan, wanted: string) =>
  attributes.find(({ key }) => key === wanted)?.value.stringValue

async function create(traceparent: string, name: string): Promise<void> {
  assert.ok(rack.ready !== null)
  const response = await fetch(`${rack.ready.external}${project}/instances`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${rack.ready.token}`,
      'content-type': 'application/json',
      traceparent,
    },
    body: JSON.stringify({
      name,
      description: 'x',
      hostname: name,
      memory: 1_073_741_824,
      ncpus: 1,
    }),
  })
  assert.equal(response.status, 201, await response.text())
}

/** Names from the outermost span to this one. */
function pathOf(span: CollectedSpan): readonly string[] {
  const parent = traced().find(({ spanId }) => spanId === span.parentSpanId)
  return [...(parent === undefined ? [] : pathOf(parent)), `${span.service} ${span.name}`]
}

test('one instance create is one trace, each span under the one that caused it', async () => {
  await create(`00-${trace_id}-${caller_id}-01`, 'seen')
  const start = await until(
    'the native start arrives at the collector',
    20_000,
    () => traced().find(({ name }) => name === 'vmm.start') ?? null,
  )
  await until(
    'the request arrives too',
    20_000,
    () =>
      traced().find(
        ({ service, kind, name }) =>
          service === 'luge-nexus' && kind === 2 && name.startsWith('POST'),
      ) ?? null,
  )
  await until(
    'so does the message that the start was part of',
    20_000,
    () => traced().find(({ name }) => name === 'instance.advance') ?? null,
  )
  assert.deepEqual(pathOf(start), [
    'luge-nexus POST /organizations/{organization_name}/projects/{project_name}/instances',
    'luge-nexus instance-create instance_ensure',
    'luge-sled instance.ensure_fenced',
    'luge-sled instance.advance',
    'luge-sled vmm.start',
  ])
  // Before it began, the sled has asked back.
  const asked = await until(
    'the question whether the start is wanted',
    20_000,
    () => traced().find(({ name }) => name === 'nexus.is_wanted') ?? null,
  )
  assert.deepEqual(pathOf(asked).slice(-2), [
    'luge-sled instance.ensure_fenced',
    'luge-nexus nexus.is_wanted',
  ])
  // On other threads of the sled, too.
  const port = await until(
    'the port',
    20_000,
    () => traced().find(({ name }) => name === 'ports.ensurePort') ?? null,
  )
  assert.deepEqual(pathOf(port).slice(-3), [
    'luge-sled instance.advance',
    'luge-sled vnic.ensure',
    'luge-sled ports.ensurePort',
  ])
  assert.equal(attribute(port, 'thread.name'), 'net')
  const journaled = traced().filter(({ name }) => name === 'journal.put')
  assert.ok(journaled.length > 0)
  const roots = () =>
    traced()
      .filter(({ parentSpanId }) => !traced().some(({ spanId }) => spanId === parentSpanId))
      .map(({ parentSpanId }) => parentSpanId)
  // Each process sends what it has in its own time, parents and children in any order.
  await until('all hang on the caller’s own span', 20_000, () =>
    roots().every((parent) => parent === caller_id) ? true : null,
  )
  for (const span of traced()) {
    assert.ok(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano), span.name)
  }
})

test('a trace that its caller does not record leaves nothing', async () => {
  const unsampled = '5bf92f3577b34da6a3ce929d0e0e4736'
  await create(`00-${unsampled}-${caller_id}-00`, 'unseen')
  // What came later has arrived: what was before it would have, too.
  const later = '6bf92f3577b34da6a3ce929d0e0e4736'
  await create(`00-${later}-${caller_id}-01`, 'later')
  await until('a later trace', 20_000, () =>
    collector.spans.some(({ traceId, name }) => traceId === later && name === 'vmm.start')
      ? true
      : null,
  )
  assert.ok(!collector.spans.some(({ traceId }) => traceId === unsampled))
})

test('a collector that is away costs nobody anything, and gets what was kept when it is back', async () => {
  const { port } = collector
  await collector.stop()
  const id = '7bf92f3577b34da6a3ce929d0e0e4736'
  await create(`00-${id}-${caller_id}-01`, 'kept')
  collector = await Collector.start(port)
  await until('what was kept', 40_000, () =>
    collector.spans.some(({ traceId, name }) => traceId === id && name === 'vmm.start')
      ? true
      : null,
  )
})
