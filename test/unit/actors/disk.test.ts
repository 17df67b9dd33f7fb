import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { disk } from '#actors/disk.ts'
import { diskProtocol, type DiskSpec } from '#actors/disk.protocol.ts'
import { simBlock } from '#native/sim/block.ts'
import { manualClock } from '#runtime/clock.ts'
import { soon, World } from '#test/kit/world.ts'

const id = '22222222-2222-4222-8222-222222222222'
const first = '11111111-1111-4111-8111-111111111111'
const second = '33333333-3333-4333-8333-333333333333'
const spec: DiskSpec = { id, size_bytes: 1024 ** 3, block_size: 512, source: null }
let world: World
let block: ReturnType<typeof simBlock>

beforeEach(() => {
  world = new World()
  block = simBlock()
  world.add(disk, { block })
})
afterEach(async () => {
  await world.stop()
})
const ref = () => world.ref(diskProtocol, id)
const attach = async (instance_id: string) =>
  await ref().call('attach', { instance_id, read_only: false }, soon)

test('a disk is made once; the same again is fine, another one under its id is not', async () => {
  assert.ok((await ref().call('ensure', spec, soon)).ok)
  assert.ok((await ref().call('ensure', spec, soon)).ok)
  const other = await ref().call('ensure', { ...spec, size_bytes: 2 * 1024 ** 3 }, soon)
  assert.ok(!other.ok && other.error === 'conflict')
})

test('a volume that cannot be made leaves nothing in the journal', async () => {
  block.faults.add('create')
  const failed = await ref().call('ensure', spec, soon)
  assert.ok(!failed.ok && failed.error === 'os_failed')
  assert.equal(world.entries.size, 0)
})

test('a disk is for one instance at a time', async () => {
  await ref().call('ensure', spec, soon)
  assert.ok((await attach(first)).ok)
  assert.ok((await attach(first)).ok, 'the same instance again is fine')
  const refused = await attach(second)
  assert.ok(!refused.ok && refused.error === 'attached_elsewhere')
  assert.match(refused.detail, new RegExp(first))
  const destroyed = await ref().call('destroy', null, soon)
  assert.ok(!destroyed.ok && destroyed.error === 'attached')
  assert.ok((await ref().call('detach', { instance_id: second }, soon)).ok)
  assert.ok(!(await attach(second)).ok, 'a stranger’s detach changed nothing')
  assert.ok((await ref().call('detach', { instance_id: first }, soon)).ok)
  assert.ok((await attach(second)).ok)
})

test('a failed export leaves the disk detached', async () => {
  await ref().call('ensure', spec, soon)
  block.faults.add('export')
  assert.ok(!(await attach(first)).ok)
  block.faults.clear()
  assert.ok((await attach(second)).ok)
})

test('after a restart an attached disk is offered again although its server died', async () => {
  await ref().call('ensure', spec, soon)
  await attach(first)
  await block.unexport(id)
  await world.restart()
  const got = await ref().call('get', null, soon)
  assert.ok(got.ok && got.value.phase === 'exported' && got.value.instance_id === first)
})

test('destroy removes volume and journal entry, and may be said twice', async () => {
  await ref().call('ensure', spec, soon)
  assert.ok((await ref().call('destroy', null, soon)).ok)
  assert.ok((await ref().call('destroy', null, soon)).ok)
  assert.equal(world.entries.size, 0)
  const volumes = await block.list()
  assert.ok(volumes.ok && volumes.value.length === 0)
})

test('an attached volume whose server ends is offered again', async () => {
  const clock = manualClock()
  const manual = new World(clock)
  manual.add(disk, { block })
  const made = manual.ref(diskProtocol, id).call('ensure', spec, soon)
  await clock.advance(1)
  assert.ok((await made).ok)
  const attached = manual
    .ref(diskProtocol, id)
    .call('attach', { instance_id: first, read_only: false }, soon)
  await clock.advance(1)
  assert.ok((await attached).ok)
  await block.unexport(id)
  await clock.advance(10_000)
  const found = await block.find(id)
  assert.ok(found.ok && found.value?.exported === true)
})

const copyOf = async (to: string, from: string) =>
  await world
    .ref(diskProtocol, to)
    .call('copy', { id: to, size_bytes: 1024 ** 3, block_size: 512, from }, soon)

test('a copy holds what the other held then, and neither knows of the other any more', async () => {
  await ref().call('ensure', spec, soon)
  await attach(first)
  block.write(id, 'then')
  assert.ok((await copyOf(second, id)).ok)
  block.write(id, 'now')
  assert.ok((await copyOf(second, id)).ok, 'the same again is fine, and changes nothing')
  assert.equal(block.contentOf(second), 'then')
  const other = await copyOf(second, first)
  assert.ok(!other.ok && other.error === 'conflict')
  await ref().call('detach', { instance_id: first }, soon)
  assert.ok((await ref().call('destroy', null, soon)).ok)
  await world.restart()
  const got = await world.ref(diskProtocol, second).call('get', null, soon)
  assert.ok(got.ok && got.value.phase === 'ready')
  assert.ok((await world.ref(diskProtocol, second).call('destroy', null, soon)).ok)
  assert.equal(world.entries.size, 0)
})

test('a copy of what is not there, of itself, or that fails leaves nothing', async () => {
  for (const from of [second, id]) {
    const missing = await copyOf(id, from)
    assert.ok(!missing.ok && missing.error === 'not_found')
  }
  await ref().call('ensure', spec, soon)
  block.faults.add('copy')
  const failed = await copyOf(second, id)
  assert.ok(!failed.ok && failed.error === 'os_failed')
  assert.deepEqual([...world.entries.keys()], [`disk/${id}`])
  block.faults.clear()
  assert.ok((await copyOf(second, id)).ok)
})
