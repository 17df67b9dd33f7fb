/** A database that goes away and comes back: callers are told, nothing crashes, nothing acknowledged is lost. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openStore } from '#actors/nexus/store/open.ts'
import { readStoreUrl, shownUrl } from '#actors/nexus/store/url.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { until } from '#test/kit/rack.ts'
import { TestNexus } from '../kit.ts'

let postgres: Postgres
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
})
after(async () => {
  await postgres.stop()
})

test('while the database is away requests are 503, and work again when it is back', async () => {
  const nexus = await TestNexus.start(() => undefined, url)
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
  await nexus.stop()
})

test('what was acknowledged while the database was killed again and again is there', async () => {
  const nexus = await TestNexus.start(() => undefined, url)
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
  await nexus.stop()
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
