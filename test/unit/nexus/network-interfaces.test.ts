/** Instances' network interfaces: who may have which, when they change, and what the sled makes of them. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { until } from '#test/kit/rack.ts'
import { instanceBody, project, TestNexus } from './kit.ts'

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
  await nexus.ok('POST', '/system/ip-pools/mypool/ranges/add', {
    first: '172.20.16.0',
    last: '172.20.19.255',
  })
  await makeVpc('other')
  for (const [vpc, name, block] of [
    ['default', 'web', '10.0.0.0/24'],
    ['default', 'small', '10.1.0.0/26'],
    ['default', 'more', '10.2.0.0/24'],
    ['default', 'last', '10.3.0.0/24'],
  ] as const) {
    await makeSubnet(vpc, name, block)
  }
})
after(async () => {
  await nexus.stop()
})

const text = { description: 'x' }
const vpcs = `${project}/vpcs`
const makeVpc = async (name: string) =>
  await nexus.ok('POST', vpcs, { name, ...text, dns_name: name })
const makeSubnet = async (vpc: string, name: string, ipv4_block: string) =>
  await nexus.ok('POST', `${vpcs}/${vpc}/subnets`, { name, ...text, ipv4_block })

const nic = (name: string, subnet_name: string, more: object = {}) => ({
  name,
  ...text,
  vpc_name: 'default',
  subnet_name,
  ...more,
})
const withNics = (name: string, nics: readonly object[], start = false) => ({
  ...instanceBody(name),
  disks: [],
  external_ips: [],
  network_interfaces: { type: 'create', params: nics },
  start,
})
const instanceUrl = (name: string) => `${project}/instances/${name}`
const nicsUrl = (name: string) => `${instanceUrl(name)}/network-interfaces`
const make = async (name: string, nics: readonly object[], start = false) =>
  await nexus.ok('POST', `${project}/instances`, withNics(name, nics, start))
const nicsOf = async (name: string) => (await nexus.ok('GET', nicsUrl(name))).items
const isIn = async (name: string, state: string) =>
  await until(`${name} is ${state}`, 5_000, async () =>
    (await nexus.ok('GET', instanceUrl(name))).run_state === state ? true : null,
  )

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
async function refused(method: Method, url: string, body: unknown, message: string) {
  const { status, json } = await nexus.call(method, url, body)
  const wanted = { status: 400, error_code: 'InvalidRequest', message }
  assert.deepEqual({ status, error_code: json.error_code, message: json.message }, wanted)
}

test('an instance has the interfaces that it was asked to be made with, the first its primary', async () => {
  await make('two', [nic('a', 'default'), nic('b', 'web', { ip: '10.0.0.9' })])
  const [a, b] = await nicsOf('two')
  assert.deepEqual([a.primary, b.primary, b.ip], [true, false, '10.0.0.9'])
  assert.match(a.ip, /^172\.30\.0\./)
  assert.match(a.mac, /^A8:40:25:F[0-9A-E]:/)
  assert.deepEqual(await nexus.ok('GET', `${nicsUrl('two')}/b`), b)
  assert.deepEqual(await nexus.ok('GET', `/by-id/network-interfaces/${b.id}`), b)
})

test('two of an instance have neither the same name, nor the same subnet, nor different VPCs', async () => {
  const create = async (nics: readonly object[], message: string, code = 'InvalidRequest') => {
    const body = withNics('odd', nics)
    const { status, json } = await nexus.call('POST', `${project}/instances`, body)
    assert.deepEqual([status, json.error_code, json.message], [400, code, message])
  }
  await create(
    [nic('a', 'default'), nic('a', 'web')],
    'already exists: network-interface "a"',
    'ObjectAlreadyExists',
  )
  await create(
    [nic('a', 'web'), nic('b', 'web')],
    'Each interface for an instance must be in a distinct VPC Subnet',
  )
  await create([], 'All interfaces must be in the same VPC')
  await create(
    [nic('a', 'web'), nic('b', 'default', { vpc_name: 'other' })],
    'All interfaces must be in the same VPC',
  )
  assert.equal((await nexus.call('GET', instanceUrl('odd'))).status, 404)
})

test('an interface is added to what is stopped, where it is free', async () => {
  await make('added', [nic('a', 'default')])
  const url = nicsUrl('added')
  const made = await nexus.ok('POST', url, nic('b', 'web', { ip: '10.0.0.20' }))
  assert.deepEqual([made.primary, made.ip], [false, '10.0.0.20'])
  assert.deepEqual(await nexus.ok('GET', `${url}/b`), made)
  await refused(
    'POST',
    url,
    nic('c', 'default', { vpc_name: 'other' }),
    'Networking may not span multiple VPCs, but the requested instance is associated with another VPC',
  )
  await refused(
    'POST',
    url,
    nic('c', 'web'),
    'Each interface for an instance must be in a distinct VPC Subnet',
  )
  for (const ip of ['10.2.0.0', '10.2.0.4', '10.2.0.255', '10.4.0.9', '172.30.0.9', 'fd00::9']) {
    await refused(
      'POST',
      url,
      nic('c', 'more', { ip }),
      `Address '${ip}' not in subnet '10.2.0.0/24' or is reserved for rack services`,
    )
  }
  await make('holder', [nic('a', 'more', { ip: '10.2.0.5' })])
  await refused(
    'POST',
    url,
    nic('c', 'more', { ip: '10.2.0.5' }),
    "The IP address '10.2.0.5' is not available",
  )
  const named = await nexus.call('POST', url, nic('a', 'more'))
  assert.equal(named.json.message, 'already exists: network-interface "a"')
  for (const [body, what] of [
    [nic('c', 'none'), 'vpc-subnet with name "none"'],
    [nic('c', 'web', { vpc_name: 'none' }), 'vpc with name "none"'],
  ] as const) {
    const { status, json } = await nexus.call('POST', url, body)
    assert.deepEqual([status, json.message], [404, `not found: ${what}`])
  }
})

const wide = (number: number) => nic(`n${number}`, `s${number}`, { vpc_name: 'wide' })

test('an instance has at most 8 interfaces, in the lowest free slots', async () => {
  await makeVpc('wide')
  for (let number = 0; number < 9; number += 1) {
    await makeSubnet('wide', `s${number}`, `10.${number}.0.0/24`)
  }
  await make(
    'wide',
    Array.from({ length: 8 }, (_, number) => wide(number)),
  )
  const message = 'Instances may not have more than 8 network interfaces'
  await refused('POST', nicsUrl('wide'), wide(8), message)
  await nexus.ok('DELETE', `${nicsUrl('wide')}/n3`)
  const { id } = await nexus.ok('POST', nicsUrl('wide'), wide(8))
  const { slot } = await nexus.store
    .selectFrom('network_interface')
    .select('slot')
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  assert.equal(slot, 3)
})

test('the primary interface moves to another, and goes last', async () => {
  await make('moved', [nic('a', 'default'), nic('b', 'web')])
  const url = nicsUrl('moved')
  await refused(
    'DELETE',
    `${url}/a`,
    undefined,
    'The primary interface for an instance may not be deleted while secondary interfaces are still attached',
  )
  const unmoved = await nexus.ok('PUT', `${url}/a`, { primary: false, description: 'y' })
  assert.deepEqual([unmoved.primary, unmoved.description], [true, 'y'])
  const moved = await nexus.ok('PUT', `${url}/b`, { primary: true, name: 'c' })
  assert.deepEqual([moved.name, moved.primary], ['c', true])
  const flags = (await nicsOf('moved')).map(({ name, primary }: any) => [name, primary])
  assert.deepEqual(flags, [
    ['a', false],
    ['c', true],
  ])
  const named = await nexus.call('PUT', `${url}/a`, { name: 'c' })
  assert.equal(named.json.message, 'already exists: network-interface "c"')
  await nexus.ok('DELETE', `${url}/a`)
  await nexus.ok('DELETE', `${url}/c`)
  assert.deepEqual(await nicsOf('moved'), [])
  const again = await nexus.ok('POST', url, nic('a', 'web'))
  assert.equal(again.primary, true)
})

test('interfaces of what runs stay as they are', async () => {
  await make('runs', [nic('a', 'default'), nic('b', 'web')], true)
  await isIn('runs', 'running')
  const url = nicsUrl('runs')
  const words = {
    add: 'Instance must be stopped to attach a new network interface',
    update: 'Instance must be stopped to update its network interfaces',
    remove: 'Instance must be stopped or failed to detach a network interface',
  }
  await refused('POST', url, nic('c', 'more'), words.add)
  await refused('PUT', `${url}/b`, { primary: true }, words.update)
  await refused('PUT', `${url}/b`, { description: 'y' }, words.update)
  await refused('DELETE', `${url}/b`, undefined, words.remove)
  await nexus.store
    .updateTable('instance')
    .set({ run_state: 'stopped', pending_target: 'running' })
    .where('name', '=', 'runs')
    .execute()
  await refused('POST', url, nic('c', 'more'), words.add)
  await nexus.store
    .updateTable('instance')
    .set({ run_state: 'failed', pending_target: null })
    .where('name', '=', 'runs')
    .execute()
  await refused('PUT', `${url}/b`, { primary: true }, words.update)
  // The sled may not have let go of what failed: an address is free when its port is.
  const [, { id }] = await nicsOf('runs')
  nexus.ports.faults.add('remove')
  assert.equal((await nexus.call('DELETE', `${url}/b`)).status, 503)
  assert.ok((await nicsOf('runs')).length === 2 && nexus.ports.specs.has(id))
  nexus.ports.faults.clear()
  await nexus.ok('DELETE', `${url}/b`)
  assert.ok(!nexus.ports.specs.has(id))
})

test('the next start has a port for each, and the primary’s is the way out', async () => {
  await make('started', [nic('a', 'default'), nic('b', 'web')], true)
  await isIn('started', 'running')
  const url = nicsUrl('started')
  const ports = () =>
    [...nexus.ports.specs.values()]
      .filter(({ hostname }) => hostname === 'started')
      .toSorted((one, other) => one.slot - other.slot)
      .map(({ subnet, primary, source_nat }) => [subnet, primary, source_nat !== null])
  assert.deepEqual(ports(), [
    ['172.30.0.0/22', true, true],
    ['10.0.0.0/24', false, false],
  ])
  await nexus.ok('POST', `${instanceUrl('started')}/stop`)
  await isIn('started', 'stopped')
  assert.deepEqual(ports(), [])
  await nexus.ok('POST', url, nic('c', 'more'))
  await nexus.ok('PUT', `${url}/c`, { primary: true })
  await nexus.ok('DELETE', `${url}/b`)
  await nexus.ok('POST', `${instanceUrl('started')}/start`)
  await isIn('started', 'running')
  assert.deepEqual(ports(), [
    ['172.30.0.0/22', false, false],
    ['10.2.0.0/24', true, true],
  ])
  const listed = nexus.ports.list()
  assert.ok(listed.ok)
  const links = listed.value.map(({ link }) => link)
  assert.equal(new Set(links).size, links.length)
})

const rule = (name: string, target: string, hosts: readonly object[] | null) => ({
  name,
  ...text,
  status: 'enabled',
  direction: 'inbound',
  targets: [{ type: 'subnet', value: target }],
  filters: { hosts, ports: null, protocols: null },
  action: 'allow',
  priority: 1,
})

test('rules that speak of a subnet or a VPC are rules for the interfaces in it, wherever they are', async () => {
  await makeVpc('ruled')
  await makeSubnet('ruled', 'front', '10.0.0.0/24')
  const own = { vpc_name: 'ruled' }
  await make('guard', [nic('a', 'default', own), nic('b', 'front', own)], true)
  await isIn('guard', 'running')
  await nexus.ok('PUT', `${vpcs}/ruled/firewall/rules`, {
    rules: [
      rule('of-front', 'front', null),
      rule('to-front', 'front', [{ type: 'subnet', value: 'late' }]),
      rule('of-all', 'default', [{ type: 'vpc', value: 'ruled' }]),
    ],
  })
  const [a, b] = await nicsOf('guard')
  const hostsAt = (id: string) =>
    (nexus.ports.specs.get(id)?.firewall_rules ?? []).map(({ filter_hosts }) =>
      filter_hosts?.toSorted(),
    )
  const all = [`${a.ip}/32`, `${b.ip}/32`].toSorted()
  assert.deepEqual(hostsAt(a.id), [all])
  assert.deepEqual(
    hostsAt(b.id),
    [null].map(() => undefined),
  )
  // A subnet that comes later makes a rule of what meant nothing before.
  const late = await makeSubnet('ruled', 'late', '10.1.0.0/24')
  await until('the rule is there', 5_000, () => (hostsAt(b.id).length === 2 ? true : null))
  assert.deepEqual(hostsAt(b.id), [undefined, [late.ipv4_block, late.ipv6_block].toSorted()])
  // And so does an interface that comes later, at those that are there already.
  await make('newcomer', [nic('a', 'default', own)])
  const added = await nexus.ok('POST', nicsUrl('newcomer'), nic('b', 'front', own))
  await until('the newcomer is known', 5_000, () =>
    hostsAt(a.id)[0]?.includes(`${added.ip}/32`) === true ? true : null,
  )
  await nexus.ok('DELETE', `${nicsUrl('newcomer')}/b`)
  await until('it is forgotten', 5_000, () =>
    hostsAt(a.id)[0]?.includes(`${added.ip}/32`) === false ? true : null,
  )
})

test('a subnet with interfaces in it stays, and shows them page by page though they share a name', async () => {
  await makeVpc('listed')
  const own = { vpc_name: 'listed' }
  for (const name of ['x', 'y', 'z']) {
    await make(`listed-${name}`, [nic(name === 'z' ? 'alone' : 'same', 'default', own)])
  }
  const url = `${vpcs}/listed/subnets/default`
  await refused(
    'DELETE',
    url,
    undefined,
    'VPC Subnet cannot be deleted while instances with network interfaces in the subnet exist',
  )
  const seen: string[] = []
  let token = ''
  for (let page = 0; page < 3; page += 1) {
    const { items, next_page } = await nexus.ok(
      'GET',
      `${url}/network-interfaces?limit=1${token === '' ? '' : `&page_token=${token}`}`,
    )
    assert.equal(items.length, 1)
    seen.push(`${items[0].name} ${items[0].id}`)
    token = next_page
  }
  assert.equal(new Set(seen).size, 3)
  assert.deepEqual(seen, seen.toSorted())
  const last = await nexus.ok('GET', `${url}/network-interfaces?page_token=${token}`)
  assert.deepEqual(last, { items: [], next_page: null })
  const forged = Buffer.from(
    JSON.stringify({ v: 'v1', page_start: { sort_by: 'name_ascending', last_seen: 'same' } }),
  ).toString('base64url')
  const odd = await nexus.call('GET', `${url}/network-interfaces?page_token=${forged}`)
  assert.equal(odd.status, 400)
  assert.match(odd.json.message, /corrupted token/)
})

test('a small subnet is filled to its last address, whatever the order, and no further', async () => {
  const made: string[] = []
  const fill = async (number: number) => {
    await make(`full${number}`, [nic('a', 'small')])
    const [{ ip }] = await nicsOf(`full${number}`)
    made[number] = ip
  }
  const numbers = Array.from({ length: 58 }, (_, number) => number)
  for (let at = 0; at < 58; at += 4) await Promise.all(numbers.slice(at, at + 4).map(fill))
  const all = Array.from({ length: 58 }, (_, at) => `10.1.0.${at + 5}`)
  assert.deepEqual(made.toSorted(), all.toSorted())
  const body = withNics('over', [nic('a', 'small')])
  const message = 'No available IP addresses for interface'
  await refused('POST', `${project}/instances`, body, message)
  await nexus.ok('DELETE', instanceUrl('full7'))
  await make('over', [nic('a', 'small')])
  const [{ ip }] = await nicsOf('over')
  assert.equal(ip, made[7])
})
