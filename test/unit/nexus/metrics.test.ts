/** What guests ask of their disks, as sleds count it and the API shows it. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { limits } from '#config/limits.ts'
import { isoTime } from '#runtime/clock.ts'
import { until } from '#test/kit/rack.ts'
import { soon } from '#test/kit/world.ts'
import { diskBody, instanceBody, project, TestNexus, unprivileged } from './kit.ts'

const metrics = ['activated', 'flush', 'read', 'read_bytes', 'write', 'write_bytes'] as const
const counted = { flush: 1, read: 20, read_bytes: 10_240, write: 3, write_bytes: 1_536 }
let nexus: TestNexus
let disk_id = ''

async function begin(t: TestContext): Promise<void> {
  nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  disk_id = (await nexus.ok('POST', `${project}/disks`, diskBody(image_id))).id
}
/** A test on a Nexus of its own. A hook would be one of all files, where they run in one process. */
function testAnew(name: string, work: () => Promise<void>): void {
  test(name, async (t) => {
    await begin(t)
    await work()
  })
}

const url = (metric: string, query: string) =>
  `${project}/disks/alpine/metrics/${metric}${query === '' ? '' : `?${query}`}`
const between = (start_ms: number, end_ms: number) =>
  `start_time=${isoTime(start_ms)}&end_time=${isoTime(end_ms)}`
const list = async (metric: string, query: string) => await nexus.ok('GET', url(metric, query))
const problem = async (query: string) => {
  const { status, json } = await nexus.call('GET', url('read', query))
  return `${status} ${json.message}`
}
/** Tells Nexus of one count a second, as a sled does. */
async function tell(from_ms: number, count: number): Promise<void> {
  const samples = Array.from({ length: count }, (_, index) => ({
    disk_id,
    time_ms: from_ms + index * 1_000,
    start_ms: from_ms - 5_000,
    activated: 1,
    ...counted,
    read: index,
  }))
  for (let begun = 0; begun < count; begun += limits.instance_disks_max) {
    const some = samples.slice(begun, begun + limits.instance_disks_max)
    const told = await nexus.world
      .ref(nexusProtocol, 'nexus')
      .call('disk_samples', { samples: some }, soon)
    assert.ok(told.ok)
  }
}

testAnew('a running guest’s disks are counted from its start on', async () => {
  const before_ms = nexus.services.clock.now()
  nexus.vmm.counted = counted
  await nexus.ok('POST', `${project}/instances`, instanceBody())
  const query = between(before_ms, before_ms + 60_000)
  const first = await until('a count', 5_000, async () => {
    const { items } = await list('read', query)
    return items.length > 0 ? items[0] : null
  })
  assert.ok(Date.parse(first.datum.datum.start_time) >= before_ms)
  assert.ok(first.timestamp >= first.datum.datum.start_time)
  const expected = { activated: 1, ...counted }
  for (const metric of metrics) {
    const { items } = await list(metric, query)
    assert.equal(items[0].datum.type, 'cumulative_i64')
    assert.equal(items[0].datum.datum.value, expected[metric])
  }
})

testAnew('the start is within, the end is not, and pages go on where they stopped', async () => {
  const from_ms = nexus.services.clock.now() - 60_000
  await tell(from_ms, 10)
  await tell(from_ms, 10)
  const whole = await list('read', between(from_ms, from_ms + 9_000))
  assert.deepEqual(
    whole.items.map((item: any) => item.datum.datum.value),
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
  )
  assert.deepEqual(whole.items[0], {
    timestamp: isoTime(from_ms),
    datum: { type: 'cumulative_i64', datum: { start_time: isoTime(from_ms - 5_000), value: 0 } },
  })
  const seen: unknown[] = []
  let query = `limit=4&${between(from_ms, from_ms + 9_000)}`
  for (let pages = 0; query !== ''; pages += 1) {
    assert.ok(pages < 5, 'the list ends')
    const { items, next_page } = await list('read', query)
    seen.push(...items)
    query = next_page === null ? '' : `limit=4&page_token=${next_page}`
  }
  assert.deepEqual(seen, whole.items)
  const zone = `start_time=${isoTime(from_ms).replace('Z', '%2B00:00')}&end_time=${isoTime(from_ms + 1)}`
  assert.equal((await list('read', zone)).items.length, 1)
})

testAnew('nothing was measured, or between nothing: an empty page', async () => {
  const now_ms = nexus.services.clock.now()
  const empty = { items: [], next_page: null }
  assert.deepEqual(await list('write', between(now_ms - 1_000, now_ms)), empty)
  await tell(now_ms - 5_000, 3)
  assert.deepEqual(await list('write', between(now_ms, now_ms - 10_000)), empty)
})

testAnew(
  'a query without its times, or with a token of somebody’s own making, is refused',
  async () => {
    const now = isoTime(nexus.services.clock.now())
    const place = '400 unable to parse query string: '
    assert.equal(await problem(''), `${place}missing field \`start_time\``)
    assert.equal(await problem(`start_time=${now}`), `${place}missing field \`end_time\``)
    assert.match(await problem('start_time=yesterday&end_time=now'), /^400 unable to parse query/)
    for (const last_seen of ['x', `${now}/x`, now, `${now}/${now}/${now}`, '/']) {
      const token = JSON.stringify({ v: 'v1', page_start: { last_seen } })
      assert.equal(
        await problem(`page_token=${Buffer.from(token).toString('base64url')}`),
        '400 failed to parse pagination token: corrupted token',
      )
    }
    const unknown = await nexus.call('GET', url('latency', between(0, 1)))
    assert.equal(unknown.status, 400)
    const hidden = await nexus.call('GET', url('read', between(0, 1)), undefined, unprivileged)
    assert.equal(hidden.status, 404)
  },
)

testAnew('what is older than a day is let go of with what comes next', async () => {
  const now_ms = nexus.services.clock.now()
  await tell(now_ms - limits.disk_samples_kept_ms - 10_000, 3)
  await tell(now_ms, 1)
  const { items } = await list('read', between(0, now_ms + 1_000))
  assert.deepEqual(
    items.map(({ timestamp }: { timestamp: string }) => timestamp),
    [isoTime(now_ms)],
  )
})

testAnew('the series are those of disks, in pages', async () => {
  const { items } = await nexus.ok('GET', '/timeseries/schema')
  assert.deepEqual(
    items.map((each: any) => each.timeseries_name),
    metrics.map((name) => `crucible_upstairs:${name}`),
  )
  assert.deepEqual(items[0].field_schema, [{ name: 'upstairs_uuid', source: 'target', ty: 'uuid' }])
  assert.equal(items[0].datum_type, 'cumulative_i64')
  const first = await nexus.ok('GET', '/timeseries/schema?limit=4')
  const rest = await nexus.ok('GET', `/timeseries/schema?page_token=${first.next_page}`)
  assert.deepEqual([...first.items, ...rest.items], items)
  assert.equal((await nexus.call('GET', '/timeseries/schema', undefined, unprivileged)).status, 403)
})
