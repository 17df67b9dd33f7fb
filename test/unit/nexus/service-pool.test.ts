/** The pool of the rack's own services, ranges of every pool, and updates, which this rack has none of. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { plantRack } from '#actors/nexus/store/built-in.ts'
import { TestNexus, unprivileged } from './kit.ts'

let nexus: TestNexus
let pool = ''
const [first, last] = ['10.0.0.10', '10.0.0.20']
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  const { rack_id } = nexus.services.config
  pool = `/system/ip-pools-service/${rack_id}`
  for (let starts = 0; starts < 2; starts += 1) {
    await plantRack(nexus.services.store, { rack_id, now_ms: 0 })
  }
})
after(async () => {
  await nexus.stop()
})
const message = async (url: string, body: unknown) => {
  const { status, json } = await nexus.call('POST', url, body)
  return [status, json.message]
}

test('every rack has one pool for its services, which is not among the others', async () => {
  const seen = await nexus.ok('GET', pool)
  assert.equal(seen.name, 'oxide-service-pool')
  assert.equal(seen.description, 'IP Pool for Oxide Services')
  assert.equal(seen.project_id, null)
  const { items } = await nexus.ok('GET', '/system/ip-pools')
  assert.deepEqual(
    items.map(({ name }: { name: string }) => name),
    ['mypool'],
  )
  assert.equal((await nexus.call('GET', '/system/ip-pools/oxide-service-pool')).status, 404)
  assert.deepEqual(await nexus.ok('GET', `/system/by-id/ip-pools/${seen.id}`), seen)
  const taken = { name: 'oxide-service-pool', description: '' }
  assert.equal((await nexus.call('POST', '/system/ip-pools', taken)).status, 400)
})

test('another rack has no pool here, nor has this one for those who may not read the fleet', async () => {
  const other = '11111111-1111-4111-8111-111111111111'
  const unknown = await nexus.call('GET', pool.replace(/[^/]+$/, other))
  assert.equal(unknown.status, 404)
  assert.equal(unknown.json.message, `not found: rack with id "${other}"`)
  assert.equal((await nexus.call('GET', pool, undefined, unprivileged)).status, 404)
})

test('its ranges overlap with no other, whichever pool has it, and go when nobody uses them', async () => {
  const made = await nexus.call('POST', `${pool}/ranges/add`, { first, last })
  assert.equal(made.status, 201)
  assert.deepEqual(made.json.range, { first, last })
  const overlap = 'The provided IP range 10.0.0.20-10.0.0.30 overlaps with an existing range'
  for (const url of [pool, '/system/ip-pools/mypool']) {
    const body = { first: '10.0.0.20', last: '10.0.0.30' }
    assert.deepEqual(await message(`${url}/ranges/add`, body), [400, overlap])
  }
  assert.deepEqual(
    await message(`${pool}/ranges/add`, { first: '172.20.15.230', last: '172.20.15.230' }),
    [400, 'The provided IP range 172.20.15.230-172.20.15.230 overlaps with an existing range'],
  )
  const listed = await nexus.ok('GET', `${pool}/ranges`)
  assert.deepEqual(listed.items, [made.json])
  const next = await nexus.ok('GET', `${pool}/ranges?page_token=${listed.next_page}`)
  assert.deepEqual(next, { items: [], next_page: null })
  assert.deepEqual(await message(`${pool}/ranges/remove`, { first, last: first }), [
    400,
    `The provided range ${first}-${first} does not exist`,
  ])
  assert.equal((await nexus.call('POST', `${pool}/ranges/remove`, { first, last })).status, 204)
  assert.deepEqual((await nexus.ok('GET', `${pool}/ranges`)).items, [])
})

test('a range with an address of the rack itself is refused, but not in the pool of its services', async () => {
  const body = { first: '172.20.15.200', last: '172.20.15.226' }
  assert.deepEqual(await message('/system/ip-pools/mypool/ranges/add', body), [
    400,
    'The provided IP range 172.20.15.200-172.20.15.226 contains 172.20.15.225, which the rack itself uses',
  ])
  const loopback = { first: '127.0.0.1', last: '127.0.0.1' }
  const [status] = await message('/system/ip-pools/mypool/ranges/add', loopback)
  assert.equal(status, 400)
  assert.equal((await nexus.call('POST', `${pool}/ranges/add`, body)).status, 201)
  assert.equal((await nexus.call('POST', `${pool}/ranges/remove`, body)).status, 204)
})

test('a range that runs backwards is refused, after it was seen whose pool it is', async () => {
  const body = { first: last, last: first }
  for (const url of [pool, '/system/ip-pools/mypool']) {
    for (const verb of ['add', 'remove']) {
      assert.deepEqual(await message(`${url}/ranges/${verb}`, body), [
        400,
        'unable to parse JSON body: IP address ranges must be non-decreasing',
      ])
      const refused = await nexus.call('POST', `${url}/ranges/${verb}`, body, unprivileged)
      assert.equal(refused.status, 404)
    }
  }
})

test('a pool of that name from before stays its owner’s', async (t) => {
  const other = await TestNexus.during(t)
  await other.ok('POST', '/system/ip-pools', { name: 'oxide-service-pool', description: 'mine' })
  const { rack_id } = other.services.config
  await plantRack(other.services.store, { rack_id, now_ms: 0 })
  assert.equal((await other.ok('GET', '/system/ip-pools/oxide-service-pool')).description, 'mine')
  const { name } = await other.ok('GET', `/system/ip-pools-service/${rack_id}`)
  assert.equal(name, `oxide-service-pool-${rack_id}`)
  const stranger = { rack_id: '11111111-1111-4111-8111-111111111111', now_ms: 0 }
  await assert.rejects(plantRack(other.services.store, stranger), /the store is that of rack/)
})

test('a rack without an update repository says so', async () => {
  assert.deepEqual(await message('/system/updates/refresh', undefined), [
    400,
    'updates system not configured',
  ])
})
