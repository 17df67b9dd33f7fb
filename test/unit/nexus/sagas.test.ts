/** instance-create when what it needs fails or is away; where sagas are cut off is in saga-crash.test.ts. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

/** Notes the nodes of the sagas that run. */
class Observer {
  readonly seen: string[] = []
  readonly point = (node: string, when: 'before' | 'after'): void => {
    if (when === 'before') this.seen.push(node)
  }
}

const request = async (nexus: TestNexus, image_id: string) =>
  await nexus.call('POST', `${project}/instances`, {
    ...instanceBody(),
    disks: [
      { type: 'attach', name: 'alpine' },
      { type: 'create', ...diskBody(image_id, 'second') },
    ],
  })

async function prepared(t: TestContext, observer: Observer) {
  const nexus = await TestNexus.during(t, observer.point)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  observer.seen.length = 0
  return { nexus, image_id }
}

async function nodesOf(t: TestContext): Promise<readonly string[]> {
  const observer = new Observer()
  const { nexus, image_id } = await prepared(t, observer)
  const answer = await request(nexus, image_id)
  assert.equal(answer.status, 201, answer.text)
  return observer.seen
}

/** What of the instance exists: all of it, or nothing, never a part. */
async function extent(nexus: TestNexus): Promise<'all' | 'nothing' | string> {
  const rows = async (table: 'instance' | 'network_interface' | 'external_ip' | 'disk') =>
    (
      await nexus.store
        .selectFrom(table)
        .select('id')
        .where('time_deleted_ms', 'is', null)
        .execute()
    ).length
  const volumes = await nexus.block.list()
  assert.ok(volumes.ok)
  const attached = await nexus.store
    .selectFrom('disk')
    .select('id')
    .where('attach_instance_id', 'is not', null)
    .execute()
  const counts = [
    await rows('instance'),
    await rows('network_interface'),
    await rows('external_ip'),
    await rows('disk'),
    volumes.value.length,
    attached.length,
  ].join(' ')
  const known: Readonly<Record<string, 'all' | 'nothing'>> = {
    '1 1 2 2 2 2': 'all',
    '0 0 0 1 1 0': 'nothing',
  }
  return known[counts] ?? counts
}

test('the saga has the nodes that an instance with two disks needs', async (t) => {
  assert.deepEqual(await nodesOf(t), [
    'instance_name',
    'network_interface0',
    'snat_ip',
    'external_ip0',
    'create_disk0_created_disk',
    'create_disk0_volume_ensure',
    'create_disk0_disk_runtime',
    'attach_disk0',
    'attach_disk1',
    'instance_target',
    'instance_ensure',
  ])
})

test('instance-create, a volume that cannot be made: everything is undone', async (t) => {
  const observer = new Observer()
  const { nexus, image_id } = await prepared(t, observer)
  nexus.block.faults.add('create')
  const answer = await request(nexus, image_id)
  assert.equal(answer.status, 500)
  assert.equal(answer.json.message, 'Internal Server Error')
  assert.equal(await extent(nexus), 'nothing')
  const listed = await nexus.ok('GET', '/system/sagas')
  const failed = listed.items.find(
    (saga: { state: { state: string } }) => saga.state.state === 'failed',
  )
  assert.equal(failed.state.error_node_name, 'create_disk0_volume_ensure')
})

test('instance-create, a crash while it is being undone: the next Nexus undoes the rest', async (t) => {
  const observer = new Observer()
  const { nexus, image_id } = await prepared(t, observer)
  nexus.block.faults.add('create')
  nexus.block.faults.add('destroy')
  const asked = request(nexus, image_id)
  await until('the undo is stuck', 5_000, () =>
    nexus.world.lines.some(({ message }) => message === 'an undo is tried again') ? true : null,
  )
  nexus.block.faults.clear()
  const next = await nexus.makeServices()
  await next.sagas.adopt()
  await next.sagas.recover()
  assert.equal(await extent(nexus), 'nothing')
  assert.equal((await asked).status, 500)
  assert.equal(await extent(nexus), 'nothing')
})

test('instance-create, a second address that is not there: nothing remains of the first', async (t) => {
  const observer = new Observer()
  const { nexus } = await prepared(t, observer)
  await nexus.ok('POST', '/system/ip-pools', { name: 'tiny', description: 'x' })
  const answer = await nexus.call('POST', `${project}/instances`, {
    ...instanceBody(),
    external_ips: [{ type: 'ephemeral', pool_name: 'tiny' }],
  })
  assert.equal(answer.json.message, 'No external IP addresses available')
  assert.equal(await extent(nexus), 'nothing')
})

test('instance-create, undone when the sled that was away is back, by the same Nexus', async (t) => {
  const observer = new Observer()
  const { nexus, image_id } = await prepared(t, observer)
  nexus.block.faults.add('create').add('destroy')
  const answer = await request(nexus, image_id)
  // The caller was told as soon as the undo was given up for now.
  assert.equal(answer.status, 500)
  assert.notEqual(await extent(nexus), 'nothing')
  nexus.block.faults.clear()
  await Promise.all([nexus.services.sagas.recover(), nexus.services.sagas.recover()])
  assert.equal(await extent(nexus), 'nothing')
  assert.equal((await request(nexus, image_id)).status, 201)
})
