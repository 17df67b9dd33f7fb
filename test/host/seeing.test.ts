/** Seeing into a real rack: Nexus in its zone is looked at, measured and traced like every other process. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Collector } from '#test/kit/collector.ts'
import { attempt, freePort, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('linux')
const trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'
const luge = async (...words: readonly string[]) =>
  await sh(join(repository, 'tools/luge'), [...words, '--state', rack.state])
const ports = { sled_port: 0, nexus_port: 0 }
let collector: Collector
let project = ''

interface Status {
  readonly zones: ReadonlyArray<{ readonly name: string; readonly pid: number | null }>
}

before(async () => {
  collector = await Collector.start()
  ports.sled_port = await freePort()
  ports.nexus_port = await freePort()
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = collector.url
  await rack.up({ metrics: ports })
  delete process.env['OTEL_EXPORTER_OTLP_ENDPOINT']
  project = await rack.prepare()
})
after(async () => {
  await rack.destroy()
  await collector.stop()
})

test('top sees Nexus through its zone’s mount', async () => {
  const text = await luge('top')
  assert.match(
    text,
    new RegExp(`^sled [0-9a-f-]{36} {2}pid ${rack.supervisorPid} .* links 1 up 0 down`, 'm'),
  )
  assert.match(text, /^nexus [0-9a-f-]{36} {2}pid \d+ /m)
  assert.match(text, /^nexus → host [0-9a-f-]{36} +up /m)
})

test('Nexus’ metrics are on the underlay alone, and a sled’s on loopback', async () => {
  const { zones } = JSON.parse(await luge('rack', 'status', '--json')) as Status
  const zone = zones.find(({ name }) => name === 'oxz_nexus')?.pid ?? 0
  assert.ok(zone > 0)
  const within = (...args: readonly string[]) =>
    attempt('nsenter', ['--target', String(zone), '--net', ...args])
  const addresses = within('ip', '-6', '-o', 'address', 'show', 'scope', 'global').stdout
  const address = /inet6 (fd[0-9a-f:]+)\//.exec(addresses)?.[1] ?? ''
  const curl = ['curl', '--silent', '--show-error', '--fail', '--max-time', '10']
  const own = within(...curl, `http://[${address}]:${ports.nexus_port}/metrics`)
  assert.equal(own.status, 0, own.stderr)
  assert.match(own.stdout, /^process_resident_memory_bytes\{service="nexus"/m)
  assert.match(
    own.stdout,
    /^luge_http_request_seconds_count\{service="nexus",.*status="201"\} [1-9]/m,
  )
  const [command = '', ...args] = curl
  assert.notEqual(
    attempt(command, [...args, `http://127.0.0.1:${ports.nexus_port}/metrics`]).status,
    0,
  )
  const sled = await fetch(`http://127.0.0.1:${ports.sled_port}/metrics`)
  assert.match(await sled.text(), /^process_resident_memory_bytes\{service="sled"/m)
})

test('spans of Nexus, which reaches no collector, arrive by way of the sled', async () => {
  assert.ok(rack.ready !== null)
  const response = await fetch(`${rack.ready.external}${project}/disks`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${rack.ready.token}`,
      'content-type': 'application/json',
      traceparent: `00-${trace_id}-00f067aa0ba902b7-01`,
    },
    body: JSON.stringify({
      name: 'seen',
      description: 'x',
      size: 1_073_741_824,
      disk_source: { type: 'blank', block_size: 512 },
    }),
  })
  assert.equal(response.status, 201, await response.text())
  const of = (service: string, name: RegExp) =>
    collector.spans.find(
      (span) => span.traceId === trace_id && span.service === service && name.test(span.name),
    )
  const request = await until(
    'the request’s span',
    30_000,
    () => of('luge-nexus', /^POST .*\/disks$/) ?? null,
  )
  assert.equal(request.parentSpanId, '00f067aa0ba902b7')
  const made = await until(
    'the volume’s span',
    30_000,
    () => of('luge-sled', /^disk\.ensure_fenced$/) ?? null,
  )
  const saga = await until(
    'the span of the saga’s node',
    30_000,
    () => collector.spans.find(({ spanId }) => spanId === made.parentSpanId) ?? null,
  )
  assert.equal(saga.service, 'luge-nexus')
})
