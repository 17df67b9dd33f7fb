/** A disk that comes from another sled. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { disk } from '#actors/disk.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'
import { simBlock, type SimBlock } from '#native/sim/block.ts'
import { ok } from '#runtime/result.ts'
import { nexusEar } from '#test/kit/nexus_ear.ts'
import { soon, World } from '#test/kit/world.ts'

const id = '22222222-2222-4222-8222-222222222222'
const first = '77777777-7777-4777-8777-777777777771'
const second = '77777777-7777-4777-8777-777777777772'
const instance_id = '11111111-1111-4111-8111-111111111111'
const size = { id, size_bytes: 1024 ** 3, block_size: 512 } as const
const fence = {
  nexus: 'here',
  saga_id: '66666666-6666-4666-8666-666666666666',
  owner: 'nexus-1#3',
}
let world: World
let block: SimBlock
let there: SimBlock
let directory = ''
let address = ''

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'luge-test-bring-'))
  world = new World()
  block = simBlock()
  there = simBlock(null, directory)
  world.add(nexusEar, { reports: [], isWanted: async () => ok(true) }, 'nexus')
  world.add(disk, { block })
  await there.create({ ...size, source: null }, new AbortController().signal)
  there.write(id, 'written there')
  const offered = await there.offer(id)
  assert.ok(offered.ok)
  address = offered.value
})
afterEach(async () => {
  await world.stop()
  rmSync(directory, { recursive: true })
})

const ref = () => world.ref(diskProtocol, id)
const bring = async (from = address, bring_id = first) =>
  await ref().call('bring_fenced', { ...size, address: from, bring_id, fence }, soon)
const phase = async () => {
  const got = await ref().call('get', null, soon)
  return got.ok ? got.value.phase : got.error
}
const isExported = async () => {
  const found = await block.find(id)
  return found.ok && found.value?.exported === true
}

test('a disk comes with what the other sled has of it, once', async () => {
  assert.ok((await bring()).ok)
  assert.equal(block.contentOf(id), 'written there')
  assert.equal(await isExported(), false, 'nobody uses it yet')
  there.write(id, 'written since')
  for (let times = 0; times < 2; times += 1) {
    assert.ok((await bring()).ok)
    assert.equal(block.contentOf(id), 'written there', 'asked late, it takes nothing back')
    await world.restart()
  }
  assert.equal(await phase(), 'ready')
  const other = await ref().call('ensure', { ...size, size_bytes: 4096, source: null }, soon)
  assert.ok(!other.ok && other.error === 'conflict')
})

test('what an earlier one has left here is not taken for what comes now, unless it is used', async () => {
  assert.ok((await bring()).ok)
  there.write(id, 'written since')
  assert.ok((await bring(address, second)).ok)
  assert.equal(block.contentOf(id), 'written since')
  assert.ok((await ref().call('attach', { instance_id, read_only: false }, soon)).ok)
  there.write(id, 'written later')
  const refused = await bring()
  assert.ok(!refused.ok && refused.error === 'conflict')
  assert.match(refused.detail, /is attached to instance/)
  assert.equal(block.contentOf(id), 'written since')
})

test('a disk that does not come leaves nothing, and comes when it is asked again', async () => {
  for (const fault of ['create', 'fill', 'unexport']) {
    block.faults.add(fault)
    const failed = await bring()
    block.faults.clear()
    assert.ok(!failed.ok && failed.error === 'os_failed', fault)
    assert.deepEqual([world.entries.size, block.contentOf(id)], [0, null], fault)
  }
  const gone = await bring(join(directory, 'nobody'))
  assert.ok(!gone.ok && gone.error === 'source_gone')
  assert.deepEqual([world.entries.size, block.contentOf(id)], [0, null])
  assert.ok((await bring()).ok)
  assert.equal(block.contentOf(id), 'written there')
})

test('what had not come whole when the sled was killed counts as none', async () => {
  // As a kill leaves it: written down, made, and not filled.
  const document = { spec: { ...size, source: { type: 'volume', id } }, attachment: null }
  await world.ref(journalProtocol, 'sled').call('put', { kind: 'disk', id, document }, soon)
  await block.create({ ...size, source: null }, new AbortController().signal)
  assert.equal(await phase(), 'absent')
  assert.deepEqual([world.entries.size, block.contentOf(id)], [0, null])
  assert.ok((await bring()).ok)
  assert.equal(block.contentOf(id), 'written there')
})

test('an offer of a disk that nobody uses ends with a detach, or with the next start', async () => {
  assert.ok((await bring()).ok)
  await block.export(id, false)
  assert.ok((await ref().call('detach', { instance_id }, soon)).ok)
  assert.equal(await isExported(), false)
  await block.export(id, false)
  await world.restart()
  assert.equal(await phase(), 'ready')
  assert.equal(await isExported(), false)
})
