/** What sagas ask of a sled is done only while Nexus says that it is wanted. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { disk } from '#actors/disk.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { instance } from '#actors/instance.ts'
import { instanceProtocol, type InstanceSpec } from '#actors/instance.protocol.ts'
import { vnic } from '#actors/vnic.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { simVmm } from '#native/sim/vmm.ts'
import { err, ok } from '#runtime/result.ts'
import { nexusEar, type NexusEar } from '#test/kit/nexus_ear.ts'
import { until } from '#test/kit/rack.ts'
import { soon, World } from '#test/kit/world.ts'

const id = '11111111-1111-4111-8111-111111111111'
const diskId = '22222222-2222-4222-8222-222222222222'
const copyId = '33333333-3333-4333-8333-333333333333'
const propolis_id = '55555555-5555-4555-8555-555555555551'
const fence = {
  nexus: 'here',
  saga_id: '66666666-6666-4666-8666-666666666666',
  owner: 'nexus-1#3',
}
const size = { size_bytes: 1024 ** 3, block_size: 512 } as const
const spec: InstanceSpec = {
  id,
  propolis_id,
  name: 'box',
  hostname: 'box',
  ncpus: 1,
  memory_bytes: 1024 ** 3,
  nics: [],
  disks: [{ id: diskId, slot: 0, read_only: false, block_size: 512 }],
  cidata: { public_keys: [], user_data: '' },
}
const migration = { migration_id: id, dst_propolis_id: propolis_id }
const offer = {
  migration_id: id,
  propolis_id,
  address: '/nowhere',
  volumes: [{ id: diskId, ...size, address: '/nowhere' }],
}

let world: World
let block: ReturnType<typeof simBlock>
let vmm: ReturnType<typeof simVmm>
let asked: Array<Parameters<NexusEar['isWanted']>[0]>
let isWanted: NexusEar['isWanted']

beforeEach(() => {
  world = new World()
  block = simBlock()
  vmm = simVmm({ state: null })
  asked = []
  isWanted = async () => ok(true)
  const ear: NexusEar = {
    reports: [],
    isWanted: async (request) => {
      asked.push(request)
      return await isWanted(request)
    },
  }
  world.add(nexusEar, ear, 'nexus')
  world.add(disk, { block })
  world.add(vnic, { ports: simPorts() })
  world.add(instance, { vmm, sled_id: id, nexus_hosts: () => [] })
})
afterEach(async () => {
  await world.stop()
})

const guest = () => world.ref(instanceProtocol, id)
const volume = (of = diskId) => world.ref(diskProtocol, of)
const makeDisk = async (by = fence) =>
  await volume().call('ensure_fenced', { id: diskId, ...size, source: null, fence: by }, soon)
const makeCopy = async (by = fence) =>
  await volume(copyId).call('copy_fenced', { id: copyId, ...size, from: diskId, fence: by }, soon)
const bringDisk = async (by = fence) =>
  await volume().call(
    'bring_fenced',
    { id: diskId, ...size, address: '/nowhere', bring_id: copyId, fence: by },
    soon,
  )
const ensure = async (target: 'running' | 'stopped' | 'reboot', by = fence) =>
  await guest().call('ensure_fenced', { spec, target, gen: 1, fence: by }, soon)
const sendOut = async (by = fence) =>
  await guest().call('migrate_out_fenced', { propolis_id, migration, gen: 1, fence: by }, soon)
const takeIn = async (by = fence) =>
  await guest().call('migrate_in_fenced', { spec, offer, gen: 1, fence: by }, soon)
const code = (answer: { readonly ok: boolean; readonly error?: string }) =>
  answer.ok ? 'ok' : answer.error
const becomes = async (run_state: string) => {
  await until(`it is ${run_state}`, 5_000, async () => {
    const got = await guest().call('get', null, soon)
    return got.ok && got.value?.run_state === run_state ? true : null
  })
}
const stale: NexusEar['isWanted'] = async () => ok(false)

test('what is wanted is done; Nexus is told who asks, and what the instance is to become', async () => {
  assert.equal(code(await makeDisk()), 'ok')
  assert.equal(code(await makeCopy()), 'ok')
  assert.equal(code(await ensure('running')), 'ok')
  await becomes('running')
  assert.equal(code(await sendOut()), 'ok')
  assert.deepEqual(asked, [
    { fence, instance: null },
    { fence, instance: null },
    { fence, instance: { id, propolis_id, target: 'running' } },
    { fence, instance: null },
  ])
})

test('what is wanted no more is refused and leaves nothing, also by a sled that has started anew', async () => {
  isWanted = stale
  for (const ask of [makeDisk, makeCopy, bringDisk, async () => await ensure('running'), takeIn]) {
    assert.equal(code(await ask()), 'stale')
    await world.restart()
    assert.equal(code(await ask()), 'stale')
  }
  assert.equal(world.entries.size, 0)
  assert.deepEqual([await block.list(), await vmm.list()], [ok([]), ok([])])
})

test('while Nexus does not say, nothing is done; once it does, asking again does it', async () => {
  for (const by of [fence, { ...fence, nexus: 'nowhere' }]) {
    isWanted = async () => err('unavailable', 'the database does not answer')
    for (const ask of [makeDisk, makeCopy, bringDisk, takeIn]) {
      assert.equal(code(await ask(by)), 'unconfirmed')
    }
    assert.equal(code(await ensure('running', by)), 'unconfirmed')
  }
  assert.equal(world.entries.size, 0)
  isWanted = async () => ok(true)
  assert.equal(code(await makeDisk()), 'ok')
  assert.equal(code(await ensure('running')), 'ok')
  await becomes('running')
})

test('a guest that is asked late to stop, to reboot or to move runs on', async () => {
  await makeDisk()
  await ensure('running')
  await becomes('running')
  const before = await guest().call('get', null, soon)
  isWanted = stale
  assert.equal(code(await ensure('stopped')), 'stale')
  assert.equal(code(await ensure('reboot')), 'stale')
  assert.equal(code(await sendOut()), 'stale')
  assert.deepEqual(await guest().call('get', null, soon), before)
  isWanted = async () => ok(true)
  assert.equal(code(await ensure('stopped')), 'ok')
  await becomes('stopped')
})

test('a volume that is here stays when its guest of before is asked late to come', async () => {
  await makeDisk()
  block.write(diskId, 'written since')
  isWanted = stale
  assert.equal(code(await takeIn()), 'stale')
  assert.equal(block.contentOf(diskId), 'written since')
  assert.deepEqual([...world.entries.keys()], [`disk/${diskId}`])
})

test('also when a Nexus that knows no fences asks: what was here before is not its to take away', async () => {
  await makeDisk()
  block.write(diskId, 'written since')
  const two = { id: copyId, slot: 1, read_only: false, block_size: 512 }
  const request = {
    spec: { ...spec, disks: [two, ...spec.disks] },
    offer: { ...offer, volumes: [{ id: copyId, ...size, address: '/nowhere' }, ...offer.volumes] },
    gen: 1,
  }
  const late = async () => await guest().call('migrate_in', request, soon)
  for (let times = 0; times < 2; times += 1) {
    const refused = await late()
    assert.ok(!refused.ok)
    assert.equal(refused.error, 'invalid_transition')
    assert.equal(refused.detail, `disk ${diskId} of instance ${id} is on this sled already`)
    assert.equal(block.contentOf(diskId), 'written since')
    assert.deepEqual([...world.entries.keys()], [`disk/${diskId}`])
    await world.restart()
  }
  // What it has made itself goes again.
  assert.ok((await volume().call('destroy', null, soon)).ok)
  assert.equal(code(await late()), 'source_gone')
  assert.equal(world.entries.size, 0)
  assert.deepEqual(await block.list(), ok([]))
})

test('what is destroyed while Nexus is being asked does not come to be', async () => {
  for (const [make, destroy] of [
    [makeDisk, async () => await volume().call('destroy', null, soon)],
    [async () => await ensure('running'), async () => await guest().call('destroy', null, soon)],
  ] as const) {
    const answer = Promise.withResolvers<Awaited<ReturnType<typeof stale>>>()
    isWanted = async () => await answer.promise
    const { length } = asked
    const made = make()
    await until('Nexus is asked', 5_000, () => (asked.length > length ? true : null))
    const destroyed = destroy()
    assert.equal(code(await made), 'unconfirmed')
    assert.equal(code(await destroyed), 'ok')
    answer.resolve(ok(true))
    assert.equal(world.entries.size, 0)
  }
})
