/** The sled agent's API over TLS, as curl sees it, before the sled's real actors on simulated backends. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { disk } from '#actors/disk.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { instance } from '#actors/instance.ts'
import { vnic } from '#actors/vnic.ts'
import type { SledConfig } from '#config/sled.ts'
import { simBlock } from '#native/sim/block.ts'
import { simPorts } from '#native/sim/ports.ts'
import { simVmm } from '#native/sim/vmm.ts'
import type { Internal } from '#runtime/bin/internal.ts'
import { sledInternal } from '#runtime/bin/sled_internal.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { TestAuthority } from '#test/kit/certificates.ts'
import { curl, type CurlOptions } from '#test/kit/curl.ts'
import { freePort, until } from '#test/kit/rack.ts'
import { soon, World } from '#test/kit/world.ts'

const sled_id = '44444444-4444-4444-8444-444444444444'
const nexus_id = '99999999-9999-4999-8999-999999999999'
const rack = new TestAuthority()
const world = new World()
const ports = simPorts()
let internal: Internal
let identity: Identity
let as: CurlOptions
const call = async (where: Parameters<typeof curl>[1], body?: unknown) =>
  await curl(as, where, body)

const config = (port: number): SledConfig => ({
  sled_id,
  rack_id: 'unused',
  tag: '000000',
  platform: 'sim',
  state: 'unused',
  address: 'fd00:1122:3344:101::1',
  underlay: { addresses: [], uplink: { outside_netns: null, gateway: '', address: '' } },
  dns: { address: '127.0.0.1', port: 0 },
  guest_image: 'unused',
  nexus: [{ host: nexus_id, wire: { path: 'unused' } }],
  tls: hostFiles('unused'),
  zones: [],
  internal: { at: { address: '127.0.0.1', port }, plain: false },
  log: 'unused',
})

before(async () => {
  world.add(disk, { block: simBlock() })
  world.add(vnic, { ports })
  world.add(instance, { vmm: simVmm({ state: null }), sled_id, nexus_hosts: () => [] })
  const [own, nexus] = [await rack.host(sled_id), await rack.host(nexus_id)]
  const log = memoryLog()
  const opened = await Identity.open({ files: own, host: sled_id, clock: systemClock, log })
  assert.ok(opened.ok)
  identity = opened.value
  const port = await freePort()
  const { listener } = sledInternal(config(port), { system: world.system, identity, log })
  assert.ok(listener !== null)
  internal = listener
  await internal.open()
  as = { at: { port }, host: sled_id, as: nexus, authority: own.authority }
})
after(async () => {
  await internal.close()
  identity.close()
  await world.stop()
})

const id = (digit: number) => `${digit}`.repeat(8) + '-0000-4000-8000-000000000000'
const now = '2022-11-11T00:00:00.000Z'
const [guest, volume] = [id(1), id(2)]

const nic = (slot: number, vni = 1001) => ({
  ...{ name: `net${slot}`, ip: `172.30.0.${5 + slot}`, mac: `A8:40:25:F0:00:0${slot}` },
  ...{ subnet: '172.30.0.0/22', vni, primary: slot === 0, slot },
})
const rule = (targets: object[], filter_ports: string[] | null = ['22']) => ({
  ...{ status: 'enabled', direction: 'inbound', action: 'allow', priority: 100 },
  ...{ targets, filter_hosts: null, filter_ports, filter_protocols: ['TCP'] },
})
const runtime = (gen = 3) => ({
  ...{ run_state: 'creating', sled_id, propolis_id: id(3), ncpus: 2, memory: 2 ** 30 },
  ...{ hostname: 'myinst', gen, time_updated: now },
})
const hardware = {
  runtime: runtime(),
  nics: [nic(0), nic(1)],
  source_nat: { ip: '172.20.15.227', first_port: 0, last_port: 16_383 },
  external_ips: ['172.20.15.228'],
  firewall_rules: [rule([nic(0)]), rule([], ['80'])],
  disks: [
    {
      ...{ name: 'alpine', slot: 0, read_only: false, device: 'nvme', gen: 1 },
      volume_construction_request: {
        ...{ type: 'volume', id: volume, block_size: 512 },
        ...{ sub_volumes: [], read_only_parent: null },
      },
    },
  ],
  cloud_init_bytes: null,
}
const ask = async (run_state: string, initial: object = hardware) =>
  await call(`PUT /instances/${guest}`, { initial, target: { run_state } })

test('an instance needs its disks, and then runs as it was described', async () => {
  const early = await ask('running')
  assert.equal(early.status, 404)
  assert.equal(early.json.message, `not found: disk with id "${volume}"`)
  assert.equal(world.entries.size, 0, 'nothing is half made')
  const spec = { id: volume, size_bytes: 2 ** 30, block_size: 512 as const, source: null }
  assert.ok((await world.ref(diskProtocol, volume).call('ensure', spec, soon)).ok)
  const { status, json } = await ask('running')
  assert.equal(status, 200)
  assert.deepEqual([json.run_state, json.gen, json.sled_id], ['starting', 4, sled_id])
  assert.deepEqual([json.ncpus, json.memory, json.hostname], [2, 2 ** 30, 'myinst'])
  await until('it runs', 5_000, async () =>
    (await ask('running')).json.run_state === 'running' ? true : null,
  )
  const [first, second] = world.journal.list('vnic').map(({ document }) => document as any)
  const port = first.slot === 0 ? first : second
  assert.deepEqual([port.mac, port.external_ips], ['a8:40:25:f0:00:00', ['172.20.15.228']])
  assert.deepEqual(port.firewall_rules.length, 2)
})

test('asking again for what is there changes nothing, whatever is said of the guest', async () => {
  const first = await ask('running')
  const other = { ...hardware, runtime: { ...runtime(1), ncpus: 8 }, nics: [] }
  const again = await ask('running', other)
  assert.deepEqual(again.json, first.json)
  assert.equal(world.journal.list('vnic').length, 2)
})

test('a generation that Nexus knows is exceeded by the next', async () => {
  const { json } = await ask('reboot', { ...hardware, runtime: runtime(500) })
  assert.ok(json.gen > 500, `${json.gen}`)
  await until('it runs again', 5_000, async () =>
    (await ask('running')).json.run_state === 'running' ? true : null,
  )
})

test('the console is read from the start or from the end, one of them', async () => {
  const serial = `/instances/${guest}/serial` as const
  const { json } = await call(`GET ${serial}?from_start=0&max_bytes=4`)
  assert.equal(json.data.length, 4)
  assert.equal(json.last_byte_offset, 4)
  const end = await call(`GET ${serial}?most_recent=3`)
  assert.equal(end.json.data.length, 3)
  for (const query of ['', '?from_start=0&most_recent=1']) {
    const both = await call(`GET ${serial}${query}`)
    assert.equal(both.status, 400)
    assert.match(both.json.message, /^Exactly one of 'from_start' or 'most_recent'/)
  }
  assert.equal((await call(`GET /instances/${id(9)}/serial?from_start=0`)).status, 404)
})

const rulesOf = (slot: number) =>
  world.journal
    .list('vnic')
    .map(({ document }) => document as any)
    .find((port) => port.slot === slot).firewall_rules

test('firewall rules go to the ports of the VPC that their targets name, and to no others', async () => {
  const where = `PUT /vpc/${id(5)}/firewall/rules` as const
  assert.equal((await call(where, { rules: [rule([nic(1)], ['443'])] })).status, 204)
  assert.deepEqual(rulesOf(0), [])
  assert.deepEqual(rulesOf(1)[0].filter_ports, ['443'])
  assert.equal((await call(where, { rules: [rule([nic(1, 2002)])] })).status, 204)
  assert.deepEqual(rulesOf(1)[0].filter_ports, ['443'])
  for (const [rules, message] of [
    [[], /none of the rules has a target/],
    [[rule([])], /none of the rules has a target/],
    [[rule([nic(0)]), rule([nic(1, 2002)])], /more than one VPC/],
  ] as const) {
    const answer = await call(where, { rules })
    assert.equal(answer.status, 400)
    assert.match(answer.json.message, message)
  }
})

const put = async (target: object, disk_state: object, gen = 7) =>
  await call(`PUT /disks/${volume}`, {
    initial_runtime: { disk_state, gen, time_updated: now },
    target,
  })

test('a snapshot is a volume of its own, asked for where the disk is', async () => {
  const attached = `instances/${guest}/disks/${volume}/snapshot`
  const named = { ...{ type: 'volume', id: volume, block_size: 512 }, sub_volumes: [] }
  const alone = { snapshot_id: id(5), volume_construction_request: named }
  const misplaced = await call(`POST /disks/${volume}/snapshot`, alone)
  assert.equal(misplaced.status, 400)
  assert.match(misplaced.json.message, new RegExp(`attached to instance ${guest}: ask for its`))
  // The second time there is nothing left to do.
  const take = async () => await call(`POST /${attached}`, { snapshot_id: id(5) })
  for (const taken of [await take(), await take()]) {
    assert.deepEqual([taken.status, taken.json], [200, { snapshot_id: id(5) }])
  }
  const seen = await world.ref(diskProtocol, id(5)).call('get', null, soon)
  assert.ok(seen.ok)
  assert.deepEqual(
    [seen.value.phase, seen.value.size_bytes, seen.value.instance_id],
    ['ready', 2 ** 30, null],
  )

  // What was taken is a volume too, of which one can be taken that nobody uses.
  const ofIt = { ...named, id: id(5) }
  const again = { snapshot_id: id(6), volume_construction_request: ofIt }
  assert.equal((await call(`POST /disks/${id(5)}/snapshot`, again)).status, 200)
  for (const [where, body, status, message] of [
    [attached, { snapshot_id: volume }, 400, /already made/],
    [attached, { snapshot_id: id(6) }, 400, /already made/],
    [`disks/${id(5)}/snapshot`, alone, 400, /^volume_construction_request: it names/],
    [
      `disks/${id(8)}/snapshot`,
      { ...alone, volume_construction_request: { ...named, id: id(8) } },
      404,
      /^not found: disk/,
    ],
    [
      `instances/${id(8)}/disks/${volume}/snapshot`,
      { snapshot_id: id(7) },
      400,
      /attached to instance/,
    ],
  ] as const) {
    const refused = await call(`POST /${where}`, body)
    assert.equal(refused.status, status, refused.text)
    assert.match(refused.json.message, message)
  }
  for (const disk_id of [id(5), id(6)]) {
    const initial_runtime = { disk_state: { state: 'detached' }, gen: 1, time_updated: now }
    const target = { state: 'destroyed' }
    assert.equal((await call(`PUT /disks/${disk_id}`, { initial_runtime, target })).status, 200)
  }
  assert.deepEqual(
    world.journal.list('disk').map((entry) => entry.id),
    [volume],
  )
})

test('a disk is not taken from a guest that runs, and goes when nobody has it', async () => {
  const attached = { state: 'attached', instance: guest }
  const same = await put(attached, attached)
  assert.deepEqual(same.json, { disk_state: attached, gen: 7, time_updated: now })
  for (const state of ['detached', 'destroyed']) {
    const refused = await put({ state }, attached)
    assert.equal(refused.status, 400)
    assert.match(refused.json.message, /^disk is attached to instance .* which is running: stop it/)
  }
  const other = await put({ state: 'attached', instance: id(9) }, attached)
  assert.equal(other.json.message, 'disk is already attached')
  assert.equal((await put({ state: 'faulted' }, attached)).status, 501)
  assert.equal((await ask('stopped')).json.run_state, 'stopping')
  await until('it is stopped', 5_000, async () =>
    (await ask('stopped')).json.run_state === 'stopped' ? true : null,
  )
  const gone = await ask('destroyed')
  assert.equal(gone.json.run_state, 'destroyed')
  assert.equal((await ask('destroyed')).json.run_state, 'destroyed')
  assert.deepEqual(world.journal.list('instance'), [])
  const detached = await put({ state: 'detached' }, attached)
  assert.deepEqual([detached.json.disk_state, detached.json.gen], [{ state: 'detached' }, 8])
  for (const gen of [9, 10]) {
    const destroyed = await put({ state: 'destroyed' }, { state: 'detached' }, gen)
    assert.deepEqual(destroyed.json.disk_state, { state: 'destroyed' })
  }
  assert.equal((await put({ state: 'detached' }, { state: 'detached' })).status, 404)
  assert.equal(world.entries.size, 0)
})

const vcr = (request: object) => ({
  ...hardware,
  disks: [{ ...hardware.disks[0], volume_construction_request: request }],
})

test('what cannot be had here is refused by name', async () => {
  const region = {
    ...{ type: 'region', block_size: 512, gen: 1 },
    opts: { id: volume, target: ['[::1]:1'], lossy: false, read_only: false },
  }
  const whole = { type: 'volume', id: volume, block_size: 512, sub_volumes: [region] }
  const taken = { snapshot_id: id(6) }
  for (const [where, body, status, message] of [
    [guest, vcr(region), 400, /this sled has no Crucible/],
    [guest, vcr(whole), 400, /this sled has no Crucible/],
    [guest, { ...hardware, cloud_init_bytes: 'AAAA' }, 501, /^cloud_init_bytes: /],
    [
      guest,
      { ...hardware, nics: [{ ...nic(0), ip: 'fd00::1' }] },
      400,
      /IPv6 is not yet supported/,
    ],
    [guest, { ...hardware, nics: [{ ...nic(0), slot: 9 }] }, 400, /^initial: .*slot/],
  ] as const) {
    const answer = await call(`PUT /instances/${where}`, {
      initial: body,
      target: { run_state: 'running' },
    })
    assert.equal(answer.status, status)
    assert.match(answer.json.message, message)
  }
  const zone = { type: 'crucible' }
  const dataset = { id: id(6), zpool_id: id(7), dataset_kind: zone, address: '[::1]:1' }
  for (const [where, body, status] of [
    [`POST /disks/${volume}/snapshot`, { ...taken, volume_construction_request: whole }, 400],
    ['PUT /filesystem', dataset, 404],
    ['POST /update', { name: 'nexus', version: 1, kind: 'zone' }, 501],
  ] as const) {
    const answer = await call(where, body)
    assert.equal(answer.status, status, answer.text)
    assert.ok(answer.json.message.length > 10)
  }
  assert.equal((await ask('migrating')).status, 501)
  assert.equal(world.entries.size, 0)
})

const cut = (field: string) =>
  Object.fromEntries(Object.entries(hardware).filter(([name]) => name !== field))

test('bad input is a 4xx that names the fault', async () => {
  const target = { run_state: 'running' }
  for (const [where, body, message] of [
    [`PUT /instances/${guest}`, '{"initial":', /^unable to parse JSON body: EOF/],
    [`PUT /instances/${guest}`, { initial: cut('nics'), target }, /missing field `nics`/],
    [`PUT /instances/${guest}`, { initial: hardware, target: { run_state: 'fly' } }, /`fly`/],
    ['PUT /instances/x', { initial: hardware, target }, /^bad parameter in URL path: UUID/],
    [`GET /instances/${guest}/serial?from_start=x`, undefined, /invalid digit found in string/],
    [`PUT /vpc/${id(1)}/firewall/rules`, { rules: [rule([{}])] }, /missing field/],
    [`PUT /vpc/${id(1)}/firewall/rules`, { rules: [rule([nic(0)], ['99999'])] }, /port range/],
    [`PUT /disks/${volume}`, { target }, /missing field `initial_runtime`/],
    [
      `POST /disks/${volume}/snapshot`,
      {
        snapshot_id: id(6),
        volume_construction_request: {
          ...{ type: 'volume', id: volume, block_size: 512 },
          sub_volumes: [{ type: 'tape' }],
        },
      },
      /unknown variant `tape`/,
    ],
    ['PUT /services', { services: [{ id: id(1), zone_type: 'attic' }] }, /`attic`|missing field/],
  ] as const) {
    const answer = await call(where, body)
    assert.equal(answer.status, 400, `${where}: ${answer.text}`)
    assert.match(answer.json.message, message)
  }
})

test('only Nexus and programs of this sled come in', async () => {
  assert.equal(
    (await curl({ ...as, as: hostFiles(rack.hostDirectory(sled_id)) }, 'GET /openapi.json')).status,
    200,
  )
  const other = await rack.host('another-sled')
  const foreign = await new TestAuthority().host(nexus_id)
  for (const who of [other, foreign, null]) {
    const answer = await curl({ ...as, as: who }, 'GET /openapi.json')
    assert.notEqual(answer.exit, 0)
    assert.equal(answer.text, '')
  }
})
