/** VPCs, their subnets, routers and routes: what may be made, changed and deleted, and in which words. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { project, TestNexus } from './kit.ts'

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
})
after(async () => {
  await nexus.stop()
})

const text = { description: 'x' }
const vpcs = `${project}/vpcs`
const invalid = (message: string) => ({ status: 400, error_code: 'InvalidRequest', message })
const taken = (what: string) => ({
  status: 400,
  error_code: 'ObjectAlreadyExists',
  message: `already exists: ${what}`,
})
const absent = (what: string) => ({
  status: 404,
  error_code: 'ObjectNotFound',
  message: `not found: ${what}`,
})

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
async function refused(method: Method, url: string, body: unknown, wanted: object): Promise<void> {
  const { status, json } = await nexus.call(method, url, body)
  const { error_code, message } = json
  assert.deepEqual({ status, error_code, message }, wanted, `${method} ${url}`)
}

const makeVpc = async (name: string, more: object = {}) =>
  await nexus.ok('POST', vpcs, { name, ...text, dns_name: name, ...more })
const makeSubnet = async (vpc: string, name: string, ipv4_block: string, more: object = {}) =>
  await nexus.ok('POST', `${vpcs}/${vpc}/subnets`, { name, ...text, ipv4_block, ...more })

test('a VPC begins with a system router, a default route, a subnet and four rules', async () => {
  const vpc = await makeVpc('begun', { ipv6_prefix: 'fd12:3456:789a::/48' })
  assert.equal(vpc.ipv6_prefix, 'fd12:3456:789a::/48')
  assert.equal(vpc.dns_name, 'begun')
  assert.deepEqual(await nexus.ok('GET', `${vpcs}/begun`), vpc)
  assert.deepEqual(await nexus.ok('GET', `/by-id/vpcs/${vpc.id}`), vpc)
  const router = await nexus.ok('GET', `${vpcs}/begun/routers/system`)
  assert.equal(router.id, vpc.system_router_id)
  assert.equal(router.kind, 'system')
  assert.deepEqual(await nexus.ok('GET', `/by-id/vpc-routers/${router.id}`), router)
  const route = await nexus.ok('GET', `${vpcs}/begun/routers/system/routes/default`)
  assert.equal(route.kind, 'default')
  assert.deepEqual(route.target, { type: 'internet_gateway', value: 'outbound' })
  assert.deepEqual(route.destination, { type: 'vpc', value: 'begun' })
  assert.deepEqual(await nexus.ok('GET', `/by-id/vpc-router-routes/${route.id}`), route)
  const subnet = await nexus.ok('GET', `${vpcs}/begun/subnets/default`)
  assert.equal(subnet.ipv4_block, '172.30.0.0/22')
  assert.equal(subnet.ipv6_block, 'fd12:3456:789a::/64')
  assert.equal(subnet.description, 'The default subnet for begun')
  assert.deepEqual(await nexus.ok('GET', `/by-id/vpc-subnets/${subnet.id}`), subnet)
  const { rules } = await nexus.ok('GET', `${vpcs}/begun/firewall/rules`)
  assert.equal(rules.length, 4)
})

test('a VPC’s prefix is a /48 of fd00::/8, and a random one when none is given', async () => {
  const words =
    'VPC IPv6 address prefixes must be in the Unique Local Address range `fd00::/48` (RFD 4193)'
  for (const ipv6_prefix of ['fd12::/47', 'fd12::/64', 'fc12::/48', '2001:db8::/48']) {
    const body = { name: 'odd', ...text, dns_name: 'odd', ipv6_prefix }
    await refused('POST', vpcs, body, invalid(words))
  }
  const { ipv6_prefix } = await makeVpc('random')
  assert.match(ipv6_prefix, /^fd[0-9a-f]{2}:.*::\/48$/)
  const bits = await makeVpc('bits', { ipv6_prefix: 'fd12:3456:789b:ffff::1/48' })
  assert.equal(bits.ipv6_prefix, 'fd12:3456:789b::/48')
})

test('names of VPCs are taken once in a project, and free again when theirs are deleted', async () => {
  await makeVpc('once')
  await refused('POST', vpcs, { name: 'once', ...text, dns_name: 'x' }, taken('vpc "once"'))
  await refused('PUT', `${vpcs}/random`, { name: 'once' }, taken('vpc "once"'))
  await refused('DELETE', `${vpcs}/once`, undefined, {
    ...invalid('VPC cannot be deleted while VPC Subnets exist'),
  })
  const { id } = await nexus.ok('GET', `${vpcs}/once/routers/system/routes/default`)
  await nexus.ok('DELETE', `${vpcs}/once/subnets/default`)
  await nexus.ok('POST', `${vpcs}/once/routers`, { name: 'own', ...text })
  await nexus.ok('DELETE', `${vpcs}/once`)
  await refused('GET', `${vpcs}/once`, undefined, absent('vpc with name "once"'))
  await refused('DELETE', `${vpcs}/once`, undefined, absent('vpc with name "once"'))
  const route = `/by-id/vpc-router-routes/${id}`
  await refused('GET', route, undefined, absent(`router-route with id "${id}"`))
  const left = await nexus.store
    .selectFrom('vpc_router')
    .innerJoin('vpc', 'vpc.id', 'vpc_router.vpc_id')
    .select('vpc_router.name')
    .where('vpc.time_deleted_ms', 'is not', null)
    .where('vpc_router.time_deleted_ms', 'is', null)
    .execute()
  assert.deepEqual(left, [])
  await makeVpc('once')
})

test('a renamed VPC keeps what its rules and its default route say of it', async () => {
  const { id } = await makeVpc('before')
  const renamed = await nexus.ok('PUT', `${vpcs}/before`, { name: 'behind' })
  assert.equal(renamed.id, id)
  assert.equal(renamed.description, 'x')
  assert.equal(renamed.dns_name, 'before')
  const changed = await nexus.ok('PUT', `${vpcs}/behind`, { dns_name: 'elsewhere' })
  assert.equal(changed.name, 'behind')
  assert.equal(changed.dns_name, 'elsewhere')
  const { rules } = await nexus.ok('GET', `${vpcs}/behind/firewall/rules`)
  for (const { targets } of rules) assert.deepEqual(targets, [{ type: 'vpc', value: 'behind' }])
  const internal = rules.find(({ name }: { name: string }) => name === 'allow-internal-inbound')
  assert.deepEqual(internal.filters.hosts, [{ type: 'vpc', value: 'behind' }])
  const route = await nexus.ok('GET', `${vpcs}/behind/routers/system/routes/default`)
  assert.deepEqual(route.destination, { type: 'vpc', value: 'behind' })
  // What was read can be written back.
  await nexus.ok('PUT', `${vpcs}/behind/firewall/rules`, { rules })
})

const ipv4 = (ipv4_block: string) => ({ name: 's', ...text, ipv4_block })

test('a subnet’s IPv4 block is private, of /8 to /26, and kept without what its length cuts off', async () => {
  await makeVpc('blocks')
  const url = `${vpcs}/blocks/subnets`
  for (const block of [
    '8.8.8.0/24',
    '172.32.0.0/24',
    '192.168.0.0/15',
    '172.16.0.0/11',
    '0.0.0.0/0',
  ]) {
    await refused(
      'POST',
      url,
      ipv4(block),
      invalid('VPC Subnet IPv4 address ranges must be from a private range'),
    )
  }
  for (const block of ['10.0.0.0/27', '192.168.1.1/32']) {
    await refused(
      'POST',
      url,
      ipv4(block),
      invalid('VPC Subnet IPv4 address ranges must have prefix length between 8 and 26, inclusive'),
    )
  }
  const least = await makeSubnet('blocks', 'least', '192.168.1.77/26')
  assert.equal(least.ipv4_block, '192.168.1.64/26')
  const most = await makeSubnet('blocks', 'most', '10.0.0.0/8')
  assert.equal(most.ipv4_block, '10.0.0.0/8')
})

const clash = (block: string) =>
  invalid(`IP address range '${block}' conflicts with an existing subnet`)

test('blocks of one VPC do not overlap, those of two may', async () => {
  await makeVpc('first', { ipv6_prefix: 'fd00:1:2::/48' })
  await makeVpc('other', { ipv6_prefix: 'fd00:1:2::/48' })
  const url = `${vpcs}/first/subnets`
  await makeSubnet('first', 'a', '10.1.0.0/16', { ipv6_block: 'fd00:1:2:5::/64' })
  for (const block of ['10.1.0.0/16', '10.1.4.0/24', '10.0.0.0/8']) {
    await refused('POST', url, { name: 'b', ...text, ipv4_block: block }, clash(block))
  }
  const same = { name: 'b', ...text, ipv4_block: '10.2.0.0/16', ipv6_block: 'fd00:1:2:5::/64' }
  await refused('POST', url, same, clash('fd00:1:2:5::/64'))
  await makeSubnet('other', 'a', '10.1.0.0/16', { ipv6_block: 'fd00:1:2:5::/64' })
  // The block of a subnet that has gone is free.
  await nexus.ok('DELETE', `${url}/a`)
  await makeSubnet('first', 'c', '10.1.4.0/24', { ipv6_block: 'fd00:1:2:5::/64' })
})

test('a subnet’s IPv6 block is a /64 of the VPC’s prefix, and a free one when none is given', async () => {
  await makeVpc('six', { ipv6_prefix: 'fd00:6:6::/48' })
  const url = `${vpcs}/six/subnets`
  for (const ipv6_block of ['fd00:6:6::/63', 'fd00:6:6:1::/80', 'fd00:6:7::/64']) {
    await refused(
      'POST',
      url,
      { name: 's', ...text, ipv4_block: '10.0.0.0/24', ipv6_block },
      invalid(
        `VPC Subnet IPv6 address range '${ipv6_block}' is not valid for VPC with IPv6 prefix 'fd00:6:6::/48'`,
      ),
    )
  }
  const made = await makeSubnet('six', 's', '10.0.0.0/24')
  assert.match(made.ipv6_block, /^fd00:6:6:[0-9a-f]{1,4}::\/64$/)
  assert.notEqual(made.ipv6_block, 'fd00:6:6::/64')
})

test('a subnet is renamed and deleted by itself; its name is free again', async () => {
  await makeVpc('names')
  const url = `${vpcs}/names/subnets`
  const { id } = await makeSubnet('names', 'a', '10.0.0.0/24')
  const body = { name: 'a', ...text, ipv4_block: '10.0.1.0/24' }
  await refused('POST', url, body, taken('vpc-subnet "a"'))
  await refused('PUT', `${url}/a`, { name: 'default' }, taken('vpc-subnet "default"'))
  const renamed = await nexus.ok('PUT', `${url}/a`, { name: 'b', description: 'y' })
  assert.deepEqual([renamed.id, renamed.name, renamed.description], [id, 'b', 'y'])
  assert.deepEqual(await nexus.ok('GET', `${url}/b`), renamed)
  await nexus.ok('DELETE', `${url}/b`)
  await refused('GET', `${url}/b`, undefined, absent('vpc-subnet with name "b"'))
  await refused('GET', `/by-id/vpc-subnets/${id}`, undefined, absent(`vpc-subnet with id "${id}"`))
  await makeSubnet('names', 'b', '10.0.0.0/24')
})

const routing = {
  target: { type: 'ip', value: '10.0.0.1' },
  destination: { type: 'ip_net', value: '192.168.0.0/16' },
}

test('routers are custom ones; the system’s cannot be deleted', async () => {
  await makeVpc('routed')
  const url = `${vpcs}/routed/routers`
  const made = await nexus.ok('POST', url, { name: 'own', ...text })
  assert.equal(made.kind, 'custom')
  await refused('POST', url, { name: 'own', ...text }, taken('vpc-router "own"'))
  await refused('PUT', `${url}/own`, { name: 'system' }, taken('vpc-router "system"'))
  const renamed = await nexus.ok('PUT', `${url}/own`, { name: 'mine' })
  assert.deepEqual(renamed, { ...made, name: 'mine', time_modified: renamed.time_modified })
  await refused('DELETE', `${url}/system`, undefined, {
    status: 405,
    error_code: 'MethodNotAllowed',
    message: 'Cannot delete system router',
  })
  const { id } = await nexus.ok('POST', `${url}/mine/routes`, { name: 'r', ...text, ...routing })
  await nexus.ok('DELETE', `${url}/mine`)
  await refused('GET', `${url}/mine`, undefined, absent('vpc-router with name "mine"'))
  const route = `/by-id/vpc-router-routes/${id}`
  await refused('GET', route, undefined, absent(`router-route with id "${id}"`))
  await nexus.ok('POST', url, { name: 'mine', ...text })
  const { items } = await nexus.ok('GET', `${url}/mine/routes`)
  assert.deepEqual(items, [])
})

test('routes are changed and deleted, but for those that the system made', async () => {
  await makeVpc('routes')
  const url = `${vpcs}/routes/routers/system/routes`
  const made = await nexus.ok('POST', url, { name: 'r', ...text, ...routing })
  assert.equal(made.kind, 'custom')
  assert.deepEqual([made.target, made.destination], [routing.target, routing.destination])
  await refused('POST', url, { name: 'r', ...text, ...routing }, taken('router-route "r"'))
  const target = { type: 'instance', value: 'gateway' }
  const changed = await nexus.ok('PUT', `${url}/r`, { ...routing, target, name: 's' })
  assert.deepEqual([changed.id, changed.name, changed.target], [made.id, 's', target])
  await refused('PUT', `${url}/s`, { ...routing, name: 'default' }, taken('router-route "default"'))
  const aimed = await nexus.ok('PUT', `${url}/default`, routing)
  assert.deepEqual([aimed.kind, aimed.target], ['default', routing.target])
  await refused('DELETE', `${url}/default`, undefined, {
    status: 405,
    error_code: 'MethodNotAllowed',
    message: 'DELETE not allowed on system routes',
  })
  await nexus.store
    .updateTable('router_route')
    .set({ kind: 'vpc_subnet' })
    .where('id', '=', made.id)
    .execute()
  await refused('PUT', `${url}/s`, routing, {
    status: 405,
    error_code: 'MethodNotAllowed',
    message: 'routes of type vpc_subnet from the system table of VPC "routes" are not modifiable',
  })
  await nexus.store
    .updateTable('router_route')
    .set({ kind: 'custom' })
    .where('id', '=', made.id)
    .execute()
  await nexus.ok('DELETE', `${url}/s`)
  await refused('DELETE', `${url}/s`, undefined, absent('router-route with name "s"'))
})

test('what is put into a VPC while it is deleted is in it or refused, never left over', async () => {
  for (let turn = 0; turn < 4; turn += 1) {
    const name = `raced-${turn}`
    await makeVpc(name)
    await nexus.ok('DELETE', `${vpcs}/${name}/subnets/default`)
    const subnet = { name: 's', ...text, ipv4_block: '10.0.0.0/24' }
    const calls = [
      async () => await nexus.call('DELETE', `${vpcs}/${name}`),
      async () => await nexus.call('POST', `${vpcs}/${name}/subnets`, subnet),
    ]
    const ordered = turn % 2 === 0 ? calls : calls.toReversed()
    const statuses = (await Promise.all(ordered.map(async (call) => await call()))).map(
      ({ status }) => status,
    )
    const [gone, made] = turn % 2 === 0 ? statuses : statuses.toReversed()
    assert.ok(
      (gone === 204 && made === 404) || (gone === 400 && made === 201),
      `delete ${gone}, create ${made}`,
    )
  }
})
