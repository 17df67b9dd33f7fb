/** Nexus' internal API over TLS, as curl sees it with the rack's certificates, another's, or none. */
import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import { after, before, test } from 'node:test'
import { internalProblem } from '#config/wire.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { http, mutual } from '#runtime/tls/secure.ts'
import { TestAuthority } from '#test/kit/certificates.ts'
import { curl, type CurlOptions } from '#test/kit/curl.ts'
import { freePort } from '#test/kit/rack.ts'
import type { Internal } from '#runtime/bin/internal.ts'
import { nexusInternal } from '#runtime/bin/nexus_internal.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

const sled_id = '44444444-4444-4444-8444-444444444444'
const rack = new TestAuthority()
let nexus: TestNexus
let host = ''
let internal: Internal
let identity: Identity
let as: CurlOptions
const call = async (where: Parameters<typeof curl>[1], body?: unknown) =>
  await curl(as, where, body)
const lines: Parameters<typeof memoryLog>[0] = []

before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  const { services } = nexus
  host = services.config.id
  const [own, sled] = [await rack.host(host), await rack.host(sled_id)]
  const log = memoryLog(lines)
  const opened = await Identity.open({ files: own, host, clock: systemClock, log })
  assert.ok(opened.ok)
  identity = opened.value
  const port = await freePort()
  const at = { address: '127.0.0.1', port }
  const config = { ...services.config, internal: { at, plain: false } }
  const made = nexusInternal({ ...services, config, log }, { system: nexus.world.system, identity })
  assert.ok(made !== null)
  internal = made
  await internal.open()
  as = { at: { port }, host, as: sled, authority: own.authority }
  const { rack_id } = services.config
  await services.store
    .insertInto('rack')
    .values({ id: rack_id, time_created_ms: 1, time_modified_ms: 1 })
    .execute()
})
after(async () => {
  await internal.close()
  identity.close()
  await nexus.stop()
})

const id = (digit: number) => `${digit}`.repeat(8) + '-0000-4000-8000-000000000000'
const now = '2022-11-11T00:00:00.000Z'
const sa_address = '[fd00:1122:3344:101::1]:12345'

test('a sled and what it has is recorded, again and again to the same effect', async () => {
  const sled = `/sled-agents/${sled_id}` as const
  const early = await call(`PUT ${sled}/zpools/${id(1)}`, { size: 2 ** 40 })
  assert.equal(early.status, 404)
  assert.equal(early.json.message, `not found: sled with id "${sled_id}"`)
  for (const role of ['gimlet', 'scrimlet']) {
    assert.equal((await call(`POST ${sled}`, { sa_address, role })).status, 204)
  }
  for (const size of [2 ** 40, 2 ** 41]) {
    const put = await call(`PUT ${sled}/zpools/${id(1)}`, { size })
    assert.deepEqual([put.status, put.json], [200, {}])
  }
  const dataset = { address: '[fd00:1122:3344:101::5]:32345', kind: 'crucible' }
  const lost = await call(`PUT /zpools/${id(2)}/dataset/${id(3)}`, dataset)
  assert.equal(lost.json.message, `not found: zpool with id "${id(2)}"`)
  for (const kind of ['crucible', 'cockroach']) {
    const put = await call(`PUT /zpools/${id(1)}/dataset/${id(3)}`, { ...dataset, kind })
    assert.deepEqual(put.json, { reservation: null, quota: null })
  }
  const { store } = nexus
  const row = await store.selectFrom('sled').selectAll().executeTakeFirstOrThrow()
  assert.deepEqual([row.ip, row.port, row.role], ['fd00:1122:3344:101::1', 12345, 'scrimlet'])
  const pools = await store.selectFrom('zpool').selectAll().execute()
  assert.deepEqual(
    pools.map(({ size_bytes }) => size_bytes),
    [2 ** 41],
  )
  const datasets = await store.selectFrom('dataset').selectAll().execute()
  assert.deepEqual(
    datasets.map(({ ip, port, kind }) => [ip, port, kind]),
    [['fd00:1122:3344:101::5', 32345, 'cockroach']],
  )
  const other = await call(`POST /sled-agents/${id(9)}`, { sa_address, role: 'gimlet' })
  assert.equal(other.status, 404)
})

test('a rack is initialized with its services, all of them or none', async () => {
  const { rack_id } = nexus.services.config
  const service = { service_id: id(4), sled_id, address: 'fd00:1122:3344:101::4', kind: 'nexus' }
  const where = `PUT /racks/${rack_id}/initialization-complete` as const
  const stranger = { ...service, service_id: id(5), sled_id: id(9) }
  assert.equal((await call(where, [service, stranger])).status, 404)
  const { store } = nexus
  assert.deepEqual(await store.selectFrom('service').selectAll().execute(), [])
  assert.equal((await call(where, [service])).status, 204)
  const [row, ...more] = await store.selectFrom('service').selectAll().execute()
  assert.deepEqual([row?.kind, more], ['nexus', []])
  const found = await store.selectFrom('rack').select('initialized').executeTakeFirstOrThrow()
  assert.equal(Boolean(found.initialized), true)
  assert.equal((await call(`PUT /racks/${id(9)}/initialization-complete`, [])).status, 404)
})

test('an instance’s and a disk’s reports count by their generation', async () => {
  const image = await nexus.ok('GET', '/system/images/alpine')
  const disk = await nexus.ok('POST', `${project}/disks`, diskBody(image.id))
  const made = await nexus.ok('POST', `${project}/instances`, { ...instanceBody(), start: false })
  const runtime = {
    ...{ sled_id, propolis_id: id(6), ncpus: 2, memory: 2 ** 30, hostname: 'myinst' },
    ...{ time_updated: now, dst_propolis_id: null, propolis_addr: null, migration_id: null },
  }
  const state = async () => (await nexus.ok('GET', `${project}/instances/myinst`)).run_state
  const report = async (run_state: string, gen: number) =>
    await call(`PUT /instances/${made.id}`, { ...runtime, run_state, gen })
  assert.equal((await report('repairing', 100)).status, 204)
  assert.equal(await state(), 'repairing')
  assert.equal((await report('failed', 99)).status, 204)
  assert.equal(await state(), 'repairing')
  const none = await call(`PUT /instances/${id(9)}`, { ...runtime, run_state: 'failed', gen: 1 })
  assert.equal(none.json.message, `not found: instance with id "${id(9)}"`)

  const seen = async () => (await nexus.ok('GET', `${project}/disks/alpine`)).state
  const tell = async (disk_state: object, gen: number) =>
    await call(`PUT /disks/${disk.id}`, { disk_state, gen, time_updated: now })
  assert.equal((await tell({ state: 'detaching', instance: made.id }, 5)).status, 204)
  assert.deepEqual(await seen(), { state: 'detaching', instance: made.id })
  assert.equal((await tell({ state: 'attached', instance: made.id }, 5)).status, 204)
  assert.equal((await seen()).state, 'detaching')
  for (const wrong of [{ state: 'attached', instance: id(9) }, { state: 'destroyed' }]) {
    const answer = await tell(wrong, 6)
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, /does not go with what is asked of the disk/)
  }
  assert.equal((await tell({ state: 'attached', instance: made.id }, 7)).status, 204)
  assert.equal((await seen()).state, 'attached')
})

test('no report brings a disk back that is being deleted', async () => {
  const image = await nexus.ok('GET', '/system/images/alpine')
  const { id: disk_id } = await nexus.ok('POST', `${project}/disks`, diskBody(image.id, 'going'))
  nexus.block.faults.add('destroy')
  assert.equal((await nexus.call('DELETE', `${project}/disks/going`)).status, 503)
  for (const state of ['detached', 'faulted']) {
    const report = { disk_state: { state }, gen: 9, time_updated: now }
    assert.equal((await call(`PUT /disks/${disk_id}`, report)).status, 400, state)
  }
  const { state } = await nexus.ok('GET', `${project}/disks/going`)
  assert.equal(state.state, 'destroyed')
  nexus.block.faults.clear()
  await nexus.ok('DELETE', `${project}/disks/going`)
})

test('a producer goes to the first collector, which is told of it', async () => {
  const producer = {
    ...{ id: id(7), address: '[fd00:1122:3344:101::7]:4444', base_route: '/collect' },
    interval: { secs: 10, nanos: 5 },
  }
  const alone = await call('POST /metrics/producers', producer)
  assert.equal(alone.status, 503)
  assert.equal(alone.json.message, 'no oximeter collectors available')
  const told: any[] = []
  const own = identity.credentials
  const collector = createServer({ ...mutual(own, http) }, (request, response) => {
    let text = ''
    request.on('data', (data: Buffer) => (text += data.toString()))
    request.on('end', () => {
      told.push([request.url, JSON.parse(text)])
      response.writeHead(204).end()
    })
  })
  const port = await freePort()
  const registered = { collector_id: id(8), address: `127.0.0.1:${port}` }
  const deaf = await call('POST /metrics/collectors', registered)
  assert.equal(deaf.status, 503)
  assert.match(deaf.json.message, /^the collector at 127\.0\.0\.1:\d+ did not take the producer: /)
  await new Promise<void>((done) => collector.listen(port, '127.0.0.1', done))
  try {
    assert.equal((await call('POST /metrics/collectors', registered)).status, 204)
    assert.equal((await call('POST /metrics/producers', producer)).status, 204)
    const nexusItself = {
      ...{ id: host, address: '[fd00:1122:3344:101::4]:12221', base_route: '/metrics/collect' },
      interval: { secs: 10, nanos: 0 },
    }
    assert.deepEqual(told, [
      ['/producers', nexusItself],
      ['/producers', producer],
    ])
    assert.equal((await call('POST /metrics/collectors', registered)).status, 204)
    assert.equal(told.length, 4)
  } finally {
    collector.close()
  }
})

test('Nexus’ own measurements are histograms of its requests, one for each face, route and status', async () => {
  const { status, json } = await call(`GET /metrics/collect/${host}`)
  assert.equal(status, 200)
  assert.equal(json[0].status, 'ok')
  const of = (name: string) =>
    json[0].info.filter((one: any) => one.target.fields[0].value.value === name)
  assert.ok(of('nexus-external').length > 0)
  const zpool = of('nexus-internal').filter((one: any) =>
    one.metric.fields[0].value.value.endsWith('/zpools/:zpool_id'),
  )
  const counts = zpool.map((one: any) => [
    one.metric.fields[2].value.value,
    one.measurement.datum.datum.n_samples,
  ])
  assert.deepEqual(counts.toSorted(), [
    [200, 2],
    [404, 1],
  ])
  const { bins, n_samples } = zpool[0].measurement.datum.datum
  assert.equal(bins.length, 83)
  assert.deepEqual(bins[0].range, { type: 'range_to', end: 1e-6 })
  assert.deepEqual(bins[10].range, { type: 'range', start: 1e-5, end: 2e-5 })
  assert.deepEqual(bins[82].range, { type: 'range_from', start: 1000 })
  const sum = bins.reduce((total: number, { count }: { count: number }) => total + count, 0)
  assert.equal(sum, n_samples)
  assert.equal((await call(`GET /metrics/collect/${id(9)}`)).status, 404)
})

test('what there is none of is not found', async () => {
  const parent = await call(`POST /volume/${id(1)}/remove-read-only-parent`)
  assert.deepEqual([parent.status, parent.json.error_code], [404, 'ObjectNotFound'])
  const artifact = await call('GET /artifacts/zone/nexus/1')
  assert.equal(artifact.json.message, 'not found: artifact with name "zone/nexus/1"')
})

test('bad input is a 4xx that names the fault', async () => {
  const sled = `PUT /sled-agents/${sled_id}/zpools` as const
  for (const [where, body, message] of [
    [`${sled}/${id(1)}`, '{', /^unable to parse JSON body: EOF/],
    [`${sled}/${id(1)}`, {}, /missing field `size`/],
    [`${sled}/${id(1)}`, { size: -1 }, /size/],
    [`${sled}/${id(1)}`, '{"size":1,"size":2}', /duplicate field `size`/],
    [`${sled}/${id(1)}`, '{"size":18446744073709551616}', /expected at most/],
    [`${sled}/nope`, { size: 1 }, /^bad parameter in URL path: UUID parsing failed/],
    [`POST /sled-agents/${sled_id}`, { sa_address: '::1', role: 'gimlet' }, /socket address/],
    [`POST /sled-agents/${sled_id}`, { sa_address, role: 'king' }, /unknown variant `king`/],
    ['GET /artifacts/zone/nexus/x', undefined, /invalid digit found in string/],
    ['GET /artifacts/file/nexus/1', undefined, /unknown variant `file`/],
    [
      `PUT /disks/${id(1)}`,
      { disk_state: { state: 'attached' }, gen: 1, time_updated: now },
      /missing field `instance`/,
    ],
    [
      `PUT /disks/${id(1)}`,
      { disk_state: { state: 'detached' }, gen: 1, time_updated: 'yesterday' },
      /time_updated|date-time/,
    ],
    [`PUT /racks/${id(1)}/initialization-complete`, '['.repeat(500), /recursion limit/],
    ['POST /metrics/producers', 'x'.repeat(1_100_000), /request body exceeded maximum size/],
  ] as const) {
    const answer = await call(where, body)
    assert.equal(answer.status, 400, `${where}: ${answer.text}`)
    assert.match(answer.json.message, message)
  }
  assert.equal((await call('DELETE /metrics/producers')).status, 405)
  assert.equal((await call('GET /organizations')).status, 404)
})

test('the document is of the internal API alone', async () => {
  const { json } = await call('GET /openapi.json')
  assert.equal(json.info.title, 'Nexus internal API')
  assert.equal(Object.keys(json.paths).length, 11)
})

test('whoever has no certificate of this rack, or of no host that may come, gets nothing', async () => {
  const foreign = await new TestAuthority().host(sled_id)
  const guest = await rack.host('some-other-host')
  const why = 'some-other-host is a host of this rack, but none that the configuration here names'
  for (const who of [guest, null, foreign]) {
    const answer = await curl({ ...as, as: who }, 'GET /openapi.json')
    assert.notEqual(answer.exit, 0)
    assert.equal(answer.text, '')
    assert.match(answer.stderr, /certificate required|unknown ca|reset|empty reply|eof/i)
  }
  assert.ok(JSON.stringify(lines).includes(why))
  const deceived = await curl({ ...as, authority: foreign.authority }, 'GET /openapi.json')
  assert.match(deceived.stderr, /certificate/, 'the other side is checked as well')
})

test('a certificate that is revoked lets nobody in from then on', async () => {
  assert.equal((await call('GET /openapi.json')).status, 200)
  await rack.revoke(sled_id, [host])
  assert.ok((await identity.reload()).ok)
  const answer = await call('GET /openapi.json')
  assert.notEqual(answer.exit, 0)
  assert.equal(answer.text, '')
})

test('plain HTTP beyond loopback is for development', () => {
  const at = { address: 'fd00:1122:3344:101::4', port: 12221 }
  assert.match(internalProblem({ at, plain: true }, false) ?? '', /^internal: plain HTTP on fd00/)
  assert.equal(internalProblem({ at, plain: true }, true), null)
  assert.equal(internalProblem({ at, plain: false }, false), null)
  assert.equal(internalProblem({ at: { ...at, address: '::1' }, plain: true }, false), null)
})
