/** Instances with their disks and ports, on the simulated platform. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { disk } from '#actors/disk.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { instance } from '#actors/instance.ts'
import {
  instanceProtocol,
  type InstanceRuntime,
  type InstanceSpec,
} from '#actors/instance.protocol.ts'
import { vnic } from '#actors/vnic.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { simVmm } from '#native/sim/vmm.ts'
import { ok } from '#runtime/result.ts'
import { nexusEar, wantsAll } from '#test/kit/nexus_ear.ts'
import { until } from '#test/kit/rack.ts'
import { soon, World } from '#test/kit/world.ts'

const id = '11111111-1111-4111-8111-111111111111'
const diskId = '22222222-2222-4222-8222-222222222222'
const nicId = '33333333-3333-4333-8333-333333333333'
const sledId = '44444444-4444-4444-8444-444444444444'

const spec = (propolis: string): InstanceSpec => ({
  id,
  propolis_id: `55555555-5555-4555-8555-55555555555${propolis}`,
  name: 'myinst',
  hostname: 'myinst',
  ncpus: 2,
  memory_bytes: 1024 ** 3,
  nics: [
    {
      kind: 'guest',
      id: nicId,
      instance_id: id,
      vni: 2000,
      subnet: '172.30.0.0/22',
      ip: '172.30.0.5',
      mac: 'a8:40:25:f0:00:05',
      primary: true,
      slot: 0,
      hostname: 'myinst',
      source_nat: null,
      external_ips: [],
      firewall_rules: [],
    },
  ],
  disks: [{ id: diskId, slot: 0, read_only: false, block_size: 512 }],
  cidata: { public_keys: [], user_data: '' },
})

let world: World
let block: ReturnType<typeof simBlock>
let ports: ReturnType<typeof simPorts>
let vmm: ReturnType<typeof simVmm>
let reports: InstanceRuntime[]

beforeEach(async () => {
  world = new World()
  block = simBlock()
  ports = simPorts()
  vmm = simVmm({ state: null })
  reports = []
  world.add(nexusEar, { reports, isWanted: wantsAll }, 'nexus')
  world.add(disk, { block })
  world.add(vnic, { ports })
  world.add(instance, { vmm, sled_id: sledId, nexus_hosts: () => ['here'] })
  const made = await world
    .ref(diskProtocol, diskId)
    .call('ensure', { id: diskId, size_bytes: 1024 ** 3, block_size: 512, source: null }, soon)
  assert.ok(made.ok)
})
afterEach(async () => {
  await world.stop()
})

const ref = () => world.ref(instanceProtocol, id)
const ensure = async (target: 'running' | 'stopped' | 'reboot', propolis = '1') =>
  await ref().call('ensure', { spec: spec(propolis), target, gen: 1 }, soon)
const state = async () => {
  const got = await ref().call('get', null, soon)
  assert.ok(got.ok)
  return got.value?.run_state ?? null
}
const becomes = async (wanted: string) => {
  await until(`the instance is ${wanted}`, 5_000, async () =>
    (await state()) === wanted ? true : null,
  )
}
const nothingHeld = async () => {
  const volumes = await block.list()
  assert.ok(volumes.ok)
  assert.deepEqual(
    volumes.value.map(({ exported }) => exported),
    [false],
  )
  const links = ports.list()
  assert.ok(links.ok)
  assert.deepEqual(links.value, [])
}

test('a start makes the port, offers the disk, runs the guest, and tells Nexus each step', async () => {
  const asked = await ensure('running')
  assert.ok(asked.ok && asked.value.run_state === 'starting')
  await becomes('running')
  assert.ok(ports.specs.has(nicId))
  const volumes = await block.list()
  assert.ok(volumes.ok && volumes.value[0]?.exported === true)
  await until('Nexus has heard', 5_000, () =>
    reports.at(-1)?.run_state === 'running' ? true : null,
  )
  const gens = reports.map(({ gen }) => gen)
  assert.ok((gens[0] ?? 0) > 1, 'above what Nexus already had')
  assert.deepEqual(
    gens,
    gens.toSorted((a, b) => a - b),
    'never back to an older one',
  )
})

test('a stop ends the guest and gives back port and disk', async () => {
  await ensure('running')
  await becomes('running')
  const asked = await ensure('stopped')
  assert.ok(asked.ok && asked.value.run_state === 'stopping')
  await becomes('stopped')
  await nothingHeld()
  assert.ok((await ensure('running', '2')).ok)
  await becomes('running')
})

test('a reboot ends in running', async () => {
  await ensure('running')
  await becomes('running')
  const asked = await ensure('reboot')
  assert.ok(asked.ok && asked.value.run_state === 'rebooting')
  await becomes('running')
})

test('a start that fails leaves nothing held and ends in failed', async () => {
  vmm.faults.add('start')
  await ensure('running')
  await becomes('failed')
  await nothingHeld()
  const refused = await ensure('running')
  assert.ok(!refused.ok && refused.error === 'invalid_transition')
  assert.equal(refused.detail, 'cannot run instance in state "failed"')
})

test('a guest that ends by itself is found stopped', async () => {
  await ensure('running')
  await becomes('running')
  vmm.exit(id)
  await becomes('stopped')
  await nothingHeld()
})

test('after a restart a running guest is adopted, and one that died meanwhile is stopped', async () => {
  await ensure('running')
  await becomes('running')
  await world.restart()
  assert.equal(await state(), 'running')
  await world.stop()
  vmm.exit(id)
  await world.restart()
  await becomes('stopped')
  await nothingHeld()
})

test('a guest that was being started when all crashed is started again', async () => {
  await ensure('running')
  await world.restart()
  await becomes('running')
})

test('destroy ends a running guest at once and forgets it', async () => {
  await ensure('running')
  await becomes('running')
  assert.deepEqual(await ref().call('destroy', null, soon), ok(null))
  await nothingHeld()
  assert.equal(world.entries.has(`instance/${id}`), false)
  assert.equal(await state(), null)
})

test('a report that Nexus cannot take is sent until it does', async (t) => {
  let deaf = true
  const other = new World()
  t.after(async () => {
    await other.stop()
  })
  other.add(disk, { block: simBlock() })
  other.add(vnic, { ports: simPorts() })
  other.add(nexusEar, { reports, isWanted: wantsAll }, 'nexus')
  const hosts = () => (deaf ? ['nowhere'] : ['here'])
  other.add(instance, { vmm: simVmm({ state: null }), sled_id: sledId, nexus_hosts: hosts })
  const lonely = { ...spec('1'), disks: [], nics: [] }
  await other
    .ref(instanceProtocol, id)
    .call('ensure', { spec: lonely, target: 'running', gen: 5 }, soon)
  await until('it runs', 5_000, async () => {
    const got = await other.ref(instanceProtocol, id).call('get', null, soon)
    return got.ok && got.value?.run_state === 'running' ? true : null
  })
  assert.equal(reports.length, 0)
  deaf = false
  await until('Nexus has heard', 5_000, () =>
    reports.at(-1)?.run_state === 'running' ? true : null,
  )
  assert.ok((reports.at(-1)?.gen ?? 0) > 5)
})
