/** What sleds have to learn is owed from the very transaction that changes it: no crash comes between. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { Publisher } from '#actors/nexus/networking/publisher.ts'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { tasks } from '#actors/nexus/tasks.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

/** Of a process that is killed once a change is committed, before any of it is sent. */
class KilledPublisher extends Publisher {
  override sendSoon(): void {
    throw new SagaCrash('killed')
  }

  override async publish(): Promise<boolean> {
    return await Promise.reject(new SagaCrash('killed'))
  }
}

const second = `${project}/instances/second`
const subnets = `${project}/vpcs/default/subnets`
const hosts = [
  { type: 'ip', value: '10.9.9.9' },
  { type: 'subnet', value: 'early' },
  { type: 'subnet', value: 'late' },
  { type: 'instance', value: 'second' },
]
const rules = (named: readonly unknown[]) => ({
  rules: [
    {
      name: 'names',
      description: 'x',
      status: 'enabled',
      direction: 'inbound',
      targets: [{ type: 'instance', value: 'myinst' }],
      filters: { hosts: named, ports: null, protocols: null },
      action: 'allow',
      priority: 7,
    },
  ],
})
const secondBody = { ...instanceBody('second'), disks: [], external_ips: [], start: false }
const subnetBody = { name: 'early', description: 'x', ipv4_block: '10.50.0.0/24' }
const nicBody = { name: 'more', description: 'x', vpc_name: 'default', subnet_name: 'side' }

type Change = readonly [
  what: string,
  method: 'POST' | 'PUT' | 'DELETE',
  url: string,
  body?: unknown,
]
/** In this order; `hosts` above names what they make. */
const changes: readonly Change[] = [
  ['rules', 'PUT', `${project}/vpcs/default/firewall/rules`, rules(hosts)],
  ['a new subnet', 'POST', subnets, subnetBody],
  ['a subnet of another name', 'PUT', `${subnets}/early`, { name: 'other' }],
  ['a subnet that has its name again', 'PUT', `${subnets}/other`, { name: 'late' }],
  ['a deleted subnet', 'DELETE', `${subnets}/late`],
  ['a new interface', 'POST', `${second}/network-interfaces`, nicBody],
  ['a deleted interface', 'DELETE', `${second}/network-interfaces/more`],
  ['an instance that starts', 'POST', `${second}/start`],
]

async function guests(t: TestContext): Promise<TestNexus> {
  const nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  await nexus.ok('POST', `${project}/instances`, instanceBody())
  await nexus.ok('POST', `${project}/instances`, secondBody)
  // One instance's interfaces are in different subnets.
  await nexus.ok('POST', subnets, { ...subnetBody, name: 'side', ipv4_block: '10.70.0.0/24' })
  await until('the first runs', 5_000, async () =>
    (await nexus.ok('GET', `${project}/instances/myinst`)).run_state === 'running' ? true : null,
  )
  await until('nothing is owed', 5_000, async () =>
    (await propagate(nexus)) === null ? true : null,
  )
  return nexus
}

async function propagate({ services }: TestNexus): Promise<string | null> {
  const task = tasks.find(({ name }) => name === 'propagation')
  assert.ok(task !== undefined)
  return await task.run(services, false)
}

/** What the first guest's port lets in, by the rule of the test. */
async function letIn(nexus: TestNexus): Promise<readonly string[]> {
  const [nic] = (await nexus.ok('GET', `${project}/instances/myinst/network-interfaces`)).items
  const spec = nexus.ports.specs.get(nic.id)
  assert.ok(spec !== undefined)
  return spec.firewall_rules.flatMap(({ filter_hosts }) => filter_hosts ?? [])
}

/** What it is to let in, read from what users see. */
async function wanted(nexus: TestNexus): Promise<readonly string[]> {
  const known = (await nexus.ok('GET', subnets)).items as ReadonlyArray<Record<string, string>>
  const nics = (await nexus.ok('GET', `${second}/network-interfaces`)).items as ReadonlyArray<
    Record<string, string>
  >
  const named = known.filter(({ name = '' }) => ['early', 'late'].includes(name))
  const blocks = named.flatMap(({ ipv4_block = '', ipv6_block = '' }) => [ipv4_block, ipv6_block])
  return ['10.9.9.9/32', ...blocks, ...nics.map(({ ip = '' }) => `${ip}/32`)]
}

test('a kill between a change and its being sent leaves it owed: the next member sends it', async (context) => {
  const nexus = await guests(context)
  for (const [what, method, url, body] of changes) {
    Object.assign(nexus.services, { publisher: new KilledPublisher() })
    assert.equal((await nexus.call(method, url, body)).status, 500, what)
    const owed = await nexus.store
      .selectFrom('propagation')
      .select('kind')
      .where('is_owed', '=', true)
      .execute()
    assert.deepEqual(owed, [{ kind: 'firewall' }], what)
    await nexus.restart()
    await nexus.retire()
    await propagate(nexus)
    const sorted = (await wanted(nexus)).toSorted()
    await until(what, 5_000, async () =>
      JSON.stringify((await letIn(nexus)).toSorted()) === JSON.stringify(sorted) ? true : null,
    )
  }
})

test('a change whose debt cannot be written is not made', async (context) => {
  const nexus = await guests(context)
  const made = ['early', 'late'].map((name, index) => ({
    ...subnetBody,
    name,
    ipv4_block: `10.5${index}.0.0/24`,
  }))
  for (const body of made) await nexus.ok('POST', subnets, body)
  await nexus.ok('POST', `${second}/network-interfaces`, nicBody)
  const look = async () => [
    await nexus.ok('GET', `${project}/vpcs/default/firewall/rules`),
    await nexus.ok('GET', subnets),
    await nexus.ok('GET', `${second}/network-interfaces`),
    await nexus.store.selectFrom('sled').select('id').execute(),
  ]
  const before = await look()
  await until('nothing is owed', 5_000, async () =>
    (await propagate(nexus)) === null ? true : null,
  )
  await nexus.store.schema.alterTable('propagation').renameTo('propagation_away').execute()
  const refused: readonly Change[] = [
    ['rules', 'PUT', `${project}/vpcs/default/firewall/rules`, rules(hosts)],
    ['a new subnet', 'POST', subnets, { ...subnetBody, name: 'new', ipv4_block: '10.60.0.0/24' }],
    ['a subnet of another name', 'PUT', `${subnets}/early`, { name: 'other' }],
    ['a deleted subnet', 'DELETE', `${subnets}/late`],
    [
      'a new interface',
      'POST',
      `${second}/network-interfaces`,
      { ...nicBody, name: 'third', subnet_name: 'early' },
    ],
    ['a deleted interface', 'DELETE', `${second}/network-interfaces/more`],
  ]
  for (const [what, method, url, body] of refused) {
    assert.ok((await nexus.call(method, url, body)).status >= 500, what)
  }
  const hello = {
    sled_id: nexus.services.config.sleds[0] ?? '',
    address: 'fd00:1122:3344:101::1',
    port: 12_345,
    platform: 'sim',
  } as const
  const up = async () =>
    await nexus.world.ref(nexusProtocol, 'nexus').call('sled_up', hello, { timeout_ms: 5_000 })
  assert.equal((await up()).ok, false)
  await nexus.store.schema.alterTable('propagation_away').renameTo('propagation').execute()
  assert.deepEqual(await look(), before)
})
