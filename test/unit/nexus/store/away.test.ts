/** A database that goes away and comes back: callers are told, nothing crashes, nothing acknowledged is lost. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { openStore } from '#actors/nexus/store/open.ts'
import { readStoreUrl, shownUrl } from '#actors/nexus/store/url.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { until } from '#test/kit/rack.ts'
import { soon } from '#test/kit/world.ts'
import { diskBody, instanceBody, project, TestNexus } from '../kit.ts'

let postgres: Postgres
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
})
beforeEach(async () => {
  // One that failed may have left it away.
  await postgres.start()
})
after(async () => {
  await postgres.stop()
})

test('while the database is away requests are 503, and work again when it is back', async (t) => {
  const nexus = await TestNexus.during(t, () => undefined, url)
  await nexus.ok('POST', '/organizations', { name: 'kept', description: '' })
  await postgres.kill()
  const requests = [
    ['GET', '/organizations/kept', undefined],
    ['GET', '/organizations', undefined],
    ['POST', '/organizations', { name: 'lost', description: '' }],
    ['DELETE', '/organizations/kept', undefined],
  ] as const
  for (const [method, path, body] of requests) {
    const answer = await nexus.call(method, path, body)
    assert.equal(answer.status, 503, answer.text)
    const { request_id, ...rest } = answer.json
    assert.equal(request_id, answer.headers['x-request-id'])
    assert.deepEqual(rest, { error_code: 'ServiceNotAvailable', message: 'Service Unavailable' })
  }
  await postgres.start()
  const seen = await nexus.ok('GET', '/organizations')
  assert.deepEqual(
    seen.items.map(({ name }: { name: string }) => name),
    ['kept'],
  )
})

test('while the database is away what sleds say is refused with `busy`, crashes nothing, and is taken later', async (t) => {
  const nexus = await TestNexus.during(t, () => undefined, url)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  const { id } = await nexus.ok('POST', `${project}/instances`, instanceBody())
  const runState = async (): Promise<string> =>
    (await nexus.ok('GET', `${project}/instances/myinst`)).run_state
  await until('it runs', 10_000, async () => ((await runState()) === 'running' ? true : null))
  await postgres.kill()
  nexus.vmm.exit(id)
  const [sled_id = ''] = nexus.connected
  const ref = nexus.world.ref(nexusProtocol, 'nexus')
  const runtime = { run_state: 'stopped', gen: 1, time_updated_ms: 1 } as const
  const hello = { sled_id, address: 'fd00::1', port: 1, platform: 'sim' } as const
  const counts = { activated: 1, flush: 0, read: 0, read_bytes: 0, write: 0, write_bytes: 0 }
  const samples = [{ disk_id: id, time_ms: 2, start_ms: 1, ...counts }]
  const fence = { nexus: sled_id, saga_id: id, owner: 'nobody' }
  // More often than a crashing actor would be started again.
  for (let times = 0; times < 8; times += 1) {
    const answers = await Promise.all([
      ref.call('sled_up', hello, soon),
      ref.call('instance_report', { sled_id, instance_id: id, runtime }, soon),
      ref.call('disk_samples', { samples }, soon),
      ref.call('reconcile', { sled_id }, soon),
      ref.call('is_wanted', { fence, instance: null }, soon),
    ])
    assert.deepEqual(
      answers.map((answer) => (answer.ok ? null : answer.error)),
      ['busy', 'busy', 'busy', 'busy', 'unavailable'],
    )
  }
  await postgres.start()
  await until('the report is taken', 10_000, async () =>
    (await runState()) === 'stopped' ? true : null,
  )
  assert.deepEqual(
    nexus.world.lines.filter(({ message }) => message === 'actor crashed'),
    [],
  )
})

test('what was acknowledged while the database was killed again and again is there', async (t) => {
  const nexus = await TestNexus.during(t, () => undefined, url)
  const acknowledged: string[] = []
  const statuses = new Set<number>()
  let isOver = false
  const client = async (number: number) => {
    for (let at = 0; !isOver; at += 1) {
      const name = `c${number}-${at}`
      const answer = await nexus.call('POST', '/organizations', { name, description: '' })
      statuses.add(answer.status)
      if (answer.status === 201) acknowledged.push(name)
      // Gives the others their turn also while every request fails at once.
      await systemClock.sleep(5)
    }
  }
  const clients = Array.from({ length: 8 }, async (_, number) => {
    await client(number)
  })
  for (let kills = 0; kills < 3; kills += 1) {
    const so_far = acknowledged.length
    await until('requests get through', 20_000, () =>
      acknowledged.length > so_far + 10 ? true : null,
    )
    await postgres.kill()
    await postgres.start()
  }
  isOver = true
  await Promise.all(clients)
  assert.deepEqual([...statuses].toSorted(), [201, 503])
  const { items } = await nexus.ok('GET', '/organizations?limit=10000')
  const there = new Set(items.map(({ name }: { name: string }) => name))
  assert.deepEqual(
    acknowledged.filter((name) => !there.has(name)),
    [],
  )
})

test('a store whose database comes later is waited for, and the log says so without the password', async () => {
  await postgres.kill()
  const lines: LogLine[] = []
  const secret = url.replace('luge@', 'luge:hush%20hush@')
  const { store, ready } = openStore({ url: secret, clock: systemClock, log: memoryLog(lines) })
  await assert.rejects(store.selectFrom('rack').selectAll().execute(), /does not answer/)
  await until('the log says that it waits', 10_000, () =>
    lines.some(({ message }) => message === 'the store is waited for') ? true : null,
  )
  await postgres.start()
  await ready
  assert.deepEqual(await store.selectFrom('rack').selectAll().execute(), [])
  assert.ok(!JSON.stringify(lines).includes('hush'), JSON.stringify(lines))
  await store.destroy()
})

test('no URL shows its password, neither in what is said of it nor in errors about it', async () => {
  const shown = shownUrl(readStoreUrl('postgres://nexus:hush@db.example/luge?sslkey=hush'))
  assert.equal(shown, 'postgres://nexus@db.example/luge')
  for (const wrong of ['postgres://u:hush@', 'postgres://u:hush@[', 'mysql://u:hush@h/d', 'hush']) {
    assert.throws(
      () => readStoreUrl(wrong),
      (error) => error instanceof Error && !String(error.stack).includes('hush'),
    )
  }
  const nobody = await postgres.newDatabase()
  const { ready } = openStore({
    url: nobody.replace('luge@', 'nobody:hush@'),
    clock: systemClock,
    log: memoryLog(),
  })
  await assert.rejects(ready, (error) => {
    const text = JSON.stringify(error, Object.getOwnPropertyNames(error))
    return text.includes('cannot be used') && !text.includes('hush')
  })
})
