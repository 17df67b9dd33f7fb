/** Where free addresses are looked for, and that all are found, none twice. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { allocateIp, type ExternalIp } from '#actors/nexus/networking/external-ips.ts'
import { placesToTry } from '#actors/nexus/networking/places.ts'
import { transact } from '#actors/nexus/store/transact.ts'
import { seededRandom } from '#runtime/random.ts'
import { instanceBody, project, TestNexus } from './kit.ts'

let nexus: TestNexus
let project_id: string
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  project_id = (await nexus.ok('GET', project)).id
})
after(async () => {
  await nexus.stop()
})

const random = seededRandom(20_221_111)
const groups = (count: number, tries: number, size = 16) => {
  // Only chance is asked of the services.
  const services = { ...nexus.services, random }
  return [...placesToTry(count, size, { services, store: null as never, tries })]
}

test('the groups hold every place once, and a few of the lowest before', () => {
  for (const count of [0, 1, 5, 15, 16, 17, 250, 10_000]) {
    for (const [tries, size] of [
      [1, 16],
      [2, 16],
      [1, 2],
      [2, 1],
    ] as const) {
      const places = groups(count, tries, size).flatMap(({ others }) => others)
      assert.equal(places.length, count)
      assert.equal(new Set(places).size, count)
      assert.ok(places.every((place) => place >= 0 && place < count))
    }
  }
  const [first, ...later] = groups(10_000, 1)
  assert.deepEqual(
    first?.lowest,
    Array.from({ length: 16 }, (_, place) => place),
  )
  assert.ok(later.every(({ lowest }) => lowest.length === 0))
})

test('who was in the way is not met again at the lowest place', () => {
  const begins = new Set<number | undefined>()
  for (let turn = 0; turn < 50; turn += 1) {
    const [group] = groups(10_000, 2)
    assert.deepEqual(group?.lowest, [])
    begins.add(group?.others[0])
  }
  assert.ok(begins.size > 40, `${begins.size} different places of 50`)
})

test('no group has more places than a statement can look up one by one', () => {
  const sizes = groups(100_000, 1).map(({ lowest, others }) => lowest.length + others.length)
  assert.equal(Math.max(...sizes), 64)
})

async function pool(name: string, first: string, last: string): Promise<void> {
  await nexus.ok('POST', '/system/ip-pools', { name, description: 'x' })
  await nexus.ok('POST', `/system/ip-pools/${name}/ranges/add`, { first, last })
}
async function take(
  kind: ExternalIp['kind'],
  pool_name: string,
  tries = 1,
): Promise<{ readonly ip: string; readonly first_port: number }> {
  const { services } = nexus
  const wanted = {
    id: services.random.uuid(),
    instance_id: services.random.uuid(),
    project_id,
    kind,
    pool_name,
  }
  return await transact(
    services,
    async (store) => await allocateIp({ services, store, tries }, wanted),
  )
}
const exhausted = { message: 'No external IP addresses available' }

test('four share an address, and an external IP has one to itself: the lowest there is', async () => {
  await pool('few', '10.9.0.1', '10.9.0.4')
  const taken: Array<readonly [string, number]> = []
  for (const kind of ['snat', 'ephemeral', 'snat', 'snat', 'snat', 'snat'] as const) {
    const { ip, first_port } = await take(kind, 'few')
    taken.push([ip, first_port])
  }
  assert.deepEqual(taken, [
    ['10.9.0.1', 0],
    ['10.9.0.2', 0],
    ['10.9.0.1', 16_384],
    ['10.9.0.1', 32_768],
    ['10.9.0.1', 49_152],
    ['10.9.0.3', 0],
  ])
})

for (const tries of [1, 2]) {
  test(`a pool is used up to its last chunk, ${tries === 1 ? 'undisturbed' : 'disturbed'}`, async () => {
    const name = `whole-${tries}`
    await pool(name, `10.${tries}.0.0`, `10.${tries}.0.69`)
    const seen = new Set<string>()
    for (let count = 0; count < 280; count += 1) {
      const { ip, first_port } = await take('snat', name, tries)
      seen.add(`${ip} ${first_port}`)
    }
    assert.equal(seen.size, 280)
    await assert.rejects(take('snat', name, tries), exhausted)
    await assert.rejects(take('ephemeral', name, tries), exhausted)
    const gone = [...seen].find((chunk) => chunk.endsWith(' 32768'))
    const [ip = ''] = gone?.split(' ') ?? []
    await nexus.store
      .updateTable('external_ip')
      .set({ time_deleted_ms: 1 })
      .where('ip', '=', ip)
      .where('first_port', '=', 32_768)
      .execute()
    await assert.rejects(take('ephemeral', name, tries), exhausted)
    const again = await take('snat', name, tries)
    assert.deepEqual([again.ip, again.first_port], [ip, 32_768])
  })
}

test('no guest is given an address of the rack itself, whichever range has it', async () => {
  await pool('own', '172.20.15.240', '172.20.15.241')
  await nexus.store
    .updateTable('ip_pool_range')
    .set({ first_address: '172.20.15.225', last_address: '172.20.15.226' })
    .where('first_address', '=', '172.20.15.240')
    .execute()
  await assert.rejects(take('snat', 'own'), exhausted)
  await assert.rejects(take('ephemeral', 'own', 2), exhausted)
})

test('beyond the lowest few, chunks still share addresses and leave whole ones to others', async () => {
  await pool('large', '10.7.0.0', '10.7.3.255')
  // The lowest are all somebody's.
  for (let count = 0; count < 16; count += 1) await take('ephemeral', 'large')
  const ips = new Set<string>()
  for (let count = 0; count < 200; count += 1) ips.add((await take('snat', 'large')).ip)
  assert.ok(ips.size < 150, `200 chunks take ${ips.size} addresses`)
  assert.ok([...ips].every((ip) => !/^10\.7\.0\.([0-9]|1[0-5])$/.test(ip)))
})

test('instances made one after another share addresses, also beyond the lowest few', async (t) => {
  const own = await TestNexus.during(t)
  await own.guide()
  const { id } = await own.ok('GET', project)
  await own.ok('POST', '/system/ip-pools', { name: 'wide', description: 'x' })
  const range = { first: '10.8.0.0', last: '10.8.255.255' }
  await own.ok('POST', '/system/ip-pools/wide/ranges/add', range)
  const { services } = own
  // The lowest are all somebody's.
  for (let count = 0; count < 48; count += 1) {
    const wanted = { id: services.random.uuid(), instance_id: services.random.uuid() }
    const whole = { ...wanted, project_id: id, kind: 'ephemeral', pool_name: null } as const
    await transact(
      services,
      async (store) => await allocateIp({ services, store, tries: 1 }, whole),
    )
  }
  for (let count = 0; count < 12; count += 1) {
    const body = { ...instanceBody(`i${count}`), disks: [], external_ips: [], start: false }
    await own.ok('POST', `${project}/instances`, body)
  }
  const chunks = own.store.selectFrom('external_ip').select('ip').where('kind', '=', 'snat')
  assert.equal((await chunks.distinct().execute()).length, 3)
})
