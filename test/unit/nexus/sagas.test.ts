/** Sagas cut off before and after every node, and failing in every node: all or nothing remains. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SagaCrash } from '#actors/nexus/saga.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

type Cut = 'crash before' | 'crash after' | 'fail'

/** Arms one node of the sagas that run from now on. */
class Saboteur {
  node: string | null = null
  cut: Cut = 'fail'
  readonly seen: string[] = []
  readonly point = (node: string, when: 'before' | 'after'): void => {
    if (when === 'before') this.seen.push(node)
    if (node !== this.node) return
    if (this.cut === 'fail' && when === 'before') throw new Error('as asked')
    if (this.cut === `crash ${when}`) throw new SagaCrash('as asked')
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

async function prepared(saboteur: Saboteur) {
  const nexus = await TestNexus.start(saboteur.point)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  saboteur.seen.length = 0
  return { nexus, image_id }
}

async function nodesOf(): Promise<readonly string[]> {
  const saboteur = new Saboteur()
  const { nexus, image_id } = await prepared(saboteur)
  const answer = await request(nexus, image_id)
  assert.equal(answer.status, 201, answer.text)
  await nexus.stop()
  return saboteur.seen
}

/** What of the instance exists: all of it, or nothing, never a part. */
async function extent(nexus: TestNexus): Promise<'all' | 'nothing' | string> {
  const rows = async (table: 'instance' | 'network_interface' | 'external_ip' | 'disk') =>
    (await nexus.store.selectFrom(table).selectAll().execute()).length
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

test('the saga has the nodes that an instance with two disks needs', async () => {
  assert.deepEqual(await nodesOf(), [
    'instance_name',
    'network_interface0',
    'snat_ip',
    'external_ip0',
    'create_disk0_created_disk',
    'create_disk0_volume_ensure',
    'create_disk0_disk_runtime',
    'attach_disk0',
    'attach_disk1',
    'instance_ensure',
  ])
})

for (const cut of ['crash before', 'crash after'] as const) {
  test(`instance-create, ${cut} any node: the next Nexus finishes it`, async () => {
    for (const node of await nodesOf()) {
      const saboteur = new Saboteur()
      const { nexus, image_id } = await prepared(saboteur)
      saboteur.node = node
      saboteur.cut = cut
      assert.equal((await request(nexus, image_id)).status, 500, node)
      const next = await nexus.makeServices()
      await next.sagas.adopt()
      await next.sagas.recover()
      assert.equal(await extent(nexus), 'all', `${cut} ${node}`)
      await until(`${node}: it runs`, 5_000, async () => {
        const { run_state } = await nexus.ok('GET', `${project}/instances/myinst`)
        return run_state === 'running' ? true : null
      })
      const sagas = await nexus.store.selectFrom('saga').select('state').execute()
      assert.ok(sagas.every(({ state }) => state === 'succeeded'))
      await nexus.stop()
    }
  })
}

test('instance-create, failing in any node: everything before it is undone', async () => {
  for (const node of await nodesOf()) {
    const saboteur = new Saboteur()
    const { nexus, image_id } = await prepared(saboteur)
    saboteur.node = node
    const answer = await request(nexus, image_id)
    assert.equal(answer.status, 500, node)
    assert.equal(answer.json.message, 'Internal Server Error')
    assert.equal(await extent(nexus), 'nothing', node)
    const guests = await nexus.vmm.list()
    assert.ok(guests.ok && guests.value.length === 0)
    saboteur.node = null
    assert.equal((await request(nexus, image_id)).status, 201, `again after ${node}`)
    await nexus.stop()
  }
})

test('instance-create, a volume that cannot be made: everything is undone', async () => {
  const saboteur = new Saboteur()
  const { nexus, image_id } = await prepared(saboteur)
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
  await nexus.stop()
})

test('instance-create, a crash while it is being undone: the next Nexus undoes the rest', async () => {
  const saboteur = new Saboteur()
  const { nexus, image_id } = await prepared(saboteur)
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
  await nexus.stop()
})

test('instance-create, a second address that is not there: nothing remains of the first', async () => {
  const saboteur = new Saboteur()
  const { nexus } = await prepared(saboteur)
  await nexus.ok('POST', '/system/ip-pools', { name: 'tiny', description: 'x' })
  const answer = await nexus.call('POST', `${project}/instances`, {
    ...instanceBody(),
    external_ips: [{ type: 'ephemeral', pool_name: 'tiny' }],
  })
  assert.equal(answer.json.message, 'No external IP addresses available')
  assert.equal(await extent(nexus), 'nothing')
  await nexus.stop()
})

test('instance-create, undone when the sled that was away is back, by the same Nexus', async () => {
  const saboteur = new Saboteur()
  const { nexus, image_id } = await prepared(saboteur)
  nexus.block.faults.add('create').add('destroy')
  const answer = await request(nexus, image_id)
  // The caller was told as soon as the undo was given up for now.
  assert.equal(answer.status, 500)
  assert.notEqual(await extent(nexus), 'nothing')
  nexus.block.faults.clear()
  await Promise.all([nexus.services.sagas.recover(), nexus.services.sagas.recover()])
  assert.equal(await extent(nexus), 'nothing')
  assert.equal((await request(nexus, image_id)).status, 201)
  await nexus.stop()
})
