/** Snapshots: of disks at rest and in use, what is made from them, and who outlives whom. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus, unprivileged } from './kit.ts'

const gib = 1024 ** 3
const snapshots = `${project}/snapshots`
let nexus: TestNexus
let disk_id = ''
/** What happens to the next saga at this node. */
let cut: { readonly node: string; readonly when: 'before' | 'after'; readonly error: Error } | null

async function begin(t: TestContext): Promise<void> {
  cut = null
  nexus = await TestNexus.during(t, (node, when) => {
    if (cut?.node === node && cut.when === when) throw cut.error
  })
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

const body = (name = 'snap', disk = 'alpine') => ({ name, description: 'then', disk })
const fromSnapshot = (snapshot_id: string, name = 'copy', size = gib) => ({
  name,
  description: 'x',
  size,
  disk_source: { type: 'snapshot', snapshot_id },
})
const volumeIds = async () => {
  const listed = await nexus.block.list()
  assert.ok(listed.ok)
  return listed.value.map(({ id }) => id).toSorted()
}
const refused = async (method: 'POST' | 'DELETE', url: string, given?: unknown) => {
  const { status, json } = await nexus.call(method, url, given)
  return [status, json.error_code, json.message]
}

testAnew(
  'a snapshot is ready when its creation is answered, and is found by name and by id',
  async () => {
    const made = await nexus.call('POST', snapshots, body())
    assert.equal(made.status, 201)
    const { id, time_created, time_modified, project_id, ...rest } = made.json
    assert.deepEqual(rest, {
      name: 'snap',
      description: 'then',
      disk_id,
      state: 'ready',
      size: gib,
    })
    assert.equal(time_created, time_modified)
    assert.equal(project_id, (await nexus.ok('GET', project)).id)
    assert.deepEqual(await nexus.ok('GET', `${snapshots}/snap`), made.json)
    assert.deepEqual(await nexus.ok('GET', `/by-id/snapshots/${id}`), made.json)
    assert.deepEqual((await nexus.ok('GET', snapshots)).items, [made.json])
    const hidden = await nexus.call('GET', `/by-id/snapshots/${id}`, undefined, unprivileged)
    assert.equal(hidden.json.message, `not found: snapshot with id "${id}"`)
  },
)

testAnew(
  'a disk made from a snapshot has what the disk held then, also when both have gone',
  async () => {
    nexus.block.write(disk_id, 'then')
    const { id: snapshot_id } = await nexus.ok('POST', snapshots, body())
    nexus.block.write(disk_id, 'now')
    const made = await nexus.ok('POST', `${project}/disks`, fromSnapshot(snapshot_id))
    assert.equal(made.snapshot_id, snapshot_id)
    assert.equal(made.image_id, null)
    assert.equal(made.block_size, 512)
    await nexus.ok('DELETE', `${project}/disks/alpine`)
    assert.equal((await nexus.ok('GET', `${snapshots}/snap`)).disk_id, disk_id)
    const larger = await nexus.ok(
      'POST',
      `${project}/disks`,
      fromSnapshot(snapshot_id, 'larger', 2 * gib),
    )
    await nexus.ok('DELETE', `${snapshots}/snap`)
    for (const { id } of [made, larger]) assert.equal(nexus.block.contentOf(id), 'then')
    assert.deepEqual(await volumeIds(), [made.id, larger.id].toSorted())
    for (const name of ['copy', 'larger']) await nexus.ok('DELETE', `${project}/disks/${name}`)
    assert.deepEqual(await volumeIds(), [])
    assert.deepEqual(
      [...nexus.world.entries.keys()].filter((key) => key.startsWith('disk/')),
      [],
    )
  },
)

testAnew(
  'a snapshot is taken of a disk that a running guest uses, and of one that rests',
  async () => {
    await nexus.ok('POST', `${project}/instances`, instanceBody())
    await until('it runs', 5_000, async () => {
      const { run_state } = await nexus.ok('GET', `${project}/instances/myinst`)
      return run_state === 'running' ? true : null
    })
    nexus.block.write(disk_id, 'written by the guest')
    const { id } = await nexus.ok('POST', snapshots, body())
    assert.equal(nexus.block.contentOf(id), 'written by the guest')
    assert.equal((await nexus.ok('GET', `${project}/disks/alpine`)).state.state, 'attached')
    const created = fromSnapshot(id, 'second')
    await nexus.ok('POST', `${project}/instances`, {
      ...instanceBody('other'),
      disks: [{ type: 'create', ...created }],
    })
    const second = await nexus.ok('GET', `${project}/disks/second`)
    assert.equal(nexus.block.contentOf(second.id), 'written by the guest')
  },
)

testAnew('a request that cannot be is refused in words', async () => {
  const unknown = '11111111-1111-4111-8111-111111111111'
  const { id } = await nexus.ok('POST', snapshots, body())
  assert.deepEqual(await refused('POST', snapshots, body('other', 'ghost')), [
    404,
    'ObjectNotFound',
    'not found: disk with name "ghost"',
  ])
  assert.deepEqual(await refused('POST', snapshots, body()), [
    400,
    'ObjectAlreadyExists',
    'already exists: snapshot "snap"',
  ])
  const disks = `${project}/disks`
  assert.deepEqual(await refused('POST', disks, fromSnapshot(unknown)), [
    404,
    'ObjectNotFound',
    `not found: snapshot with id "${unknown}"`,
  ])
  assert.deepEqual(await refused('POST', disks, fromSnapshot(id, 'a', gib + 1)), [
    400,
    'InvalidValue',
    `unsupported value for "size": total size must be a multiple of snapshot's block size`,
  ])
  assert.deepEqual(await refused('POST', disks, fromSnapshot(id, 'a', 512)), [
    400,
    'InvalidRequest',
    `disk size 512 must be greater than or equal to snapshot size ${gib}`,
  ])
  assert.deepEqual(await refused('POST', disks, fromSnapshot(id, 'a', gib + 512)), [
    400,
    'InvalidValue',
    'unsupported value for "size": total size must be a multiple of 1 GiB',
  ])
  await nexus.ok('DELETE', `${disks}/alpine`)
  const vpc = await nexus.call('DELETE', project)
  assert.equal(vpc.json.message, 'project to be deleted contains a snapshot')
})

testAnew(
  'of a disk that is not whole there is no snapshot, nor a disk of such a snapshot',
  async () => {
    const { id } = await nexus.ok('POST', snapshots, body())
    await nexus.store.updateTable('disk').set({ state: 'creating' }).execute()
    assert.deepEqual(await refused('POST', snapshots, body('other')), [
      400,
      'InvalidRequest',
      'a disk in state "creating" has nothing to take a snapshot of',
    ])
    await nexus.store.updateTable('snapshot').set({ state: 'creating' }).execute()
    assert.deepEqual(await refused('POST', `${project}/disks`, fromSnapshot(id)), [
      400,
      'InvalidRequest',
      'snapshot "snap" cannot be used in state "creating"',
    ])
  },
)

const nodes = ['created_snapshot', 'snapshot_request', 'finalized_snapshot']
/** Before the first of its writes there is no saga yet. */
const cutsAt = (node: string) =>
  ['created_snapshot', 'snapshot_mark'].includes(node)
    ? (['after'] as const)
    : (['before', 'after'] as const)

for (const node of nodes) {
  testAnew(
    `snapshot-create, failing in ${node}: nothing of it remains, and its name is free`,
    async () => {
      cut = { node, when: 'before', error: new Error('as asked') }
      assert.equal((await nexus.call('POST', snapshots, body())).status, 500)
      assert.deepEqual(await volumeIds(), [disk_id])
      assert.deepEqual((await nexus.ok('GET', snapshots)).items, [])
      cut = null
      await nexus.ok('POST', snapshots, body())
    },
  )

  for (const when of cutsAt(node)) {
    testAnew(`snapshot-create, cut off ${when} ${node}: the next Nexus finishes it`, async () => {
      cut = { node, when, error: new SagaCrash('as asked') }
      nexus.block.write(disk_id, 'then')
      assert.equal((await nexus.call('POST', snapshots, body())).status, 500)
      await nexus.restart()
      const { id, state } = await nexus.ok('GET', `${snapshots}/snap`)
      assert.equal(state, 'ready')
      assert.equal(nexus.block.contentOf(id), 'then')
      assert.deepEqual(await volumeIds(), [disk_id, id].toSorted())
    })
  }
}

for (const node of ['snapshot_mark', 'snapshot_volume', 'snapshot_record']) {
  for (const when of cutsAt(node)) {
    testAnew(`snapshot-delete, cut off ${when} ${node}: the next Nexus finishes it`, async () => {
      await nexus.ok('POST', snapshots, body())
      cut = { node, when, error: new SagaCrash('as asked') }
      assert.equal((await nexus.call('DELETE', `${snapshots}/snap`)).status, 500)
      await nexus.restart()
      assert.deepEqual((await nexus.ok('GET', snapshots)).items, [])
      assert.deepEqual(await volumeIds(), [disk_id])
    })
  }
}

testAnew(
  'a sled that cannot copy fails the snapshot, one that cannot delete keeps it for another try',
  async () => {
    nexus.block.faults.add('copy')
    assert.equal((await nexus.call('POST', snapshots, body())).status, 500)
    nexus.block.faults.clear()
    const { id } = await nexus.ok('POST', snapshots, body())
    nexus.block.faults.add('destroy')
    assert.deepEqual((await refused('DELETE', `${snapshots}/snap`)).slice(0, 2), [
      503,
      'ServiceNotAvailable',
    ])
    assert.equal((await nexus.ok('GET', `${snapshots}/snap`)).state, 'destroyed')
    assert.equal((await nexus.call('POST', `${project}/disks`, fromSnapshot(id))).status, 400)
    nexus.block.faults.clear()
    await nexus.ok('DELETE', `${snapshots}/snap`)
    assert.deepEqual(await volumeIds(), [disk_id])
  },
)

testAnew('a snapshot that is deleted while it is being made leaves nothing', async () => {
  cut = { node: 'finalized_snapshot', when: 'before', error: new SagaCrash('as asked') }
  assert.equal((await nexus.call('POST', snapshots, body())).status, 500)
  await nexus.ok('DELETE', `${snapshots}/snap`)
  await nexus.restart()
  assert.deepEqual(await volumeIds(), [disk_id])
  assert.equal((await nexus.call('GET', `${snapshots}/snap`)).status, 404)
})

testAnew('a disk whose copy fails leaves nothing, and the snapshot is as it was', async () => {
  const { id } = await nexus.ok('POST', snapshots, body())
  nexus.block.faults.add('copy')
  assert.equal((await nexus.call('POST', `${project}/disks`, fromSnapshot(id))).status, 500)
  assert.deepEqual(await volumeIds(), [disk_id, id].toSorted())
  assert.equal((await nexus.call('GET', `${project}/disks/copy`)).status, 404)
  nexus.block.faults.clear()
  await nexus.ok('POST', `${project}/disks`, fromSnapshot(id))
})
