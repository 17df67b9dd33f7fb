/** Instances on two sleds: where they are put, and how they go from one to the other. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { instanceProtocol } from '#actors/instance.protocol.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { reconcileSled } from '#actors/nexus/reconcile.ts'
import { soon } from '#test/kit/world.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'
import { leaksOf } from './extent.ts'

/** What is done while a migration is at a place of its way. */
let meanwhile: Readonly<Record<string, () => Promise<void>>> = {}
let nexus: TestNexus
let image_id = ''
let [one, other] = [0, 0] as unknown as readonly [Sled, Sled]
type Sled = TestNexus['sleds'][number]

const box = `${project}/instances/box`
const view = async () => await nexus.ok('GET', box)
const migrate = async (to: { readonly id: string }, url = box) =>
  await nexus.call('POST', `${url}/migrate`, { dst_sled_id: to.id })
const becomes = async (run_state: string) =>
  await until(`it is ${run_state}`, 5_000, async () =>
    (await view()).run_state === run_state ? true : null,
  )
const rowOf = async (name: string) =>
  await nexus.store
    .selectFrom('instance')
    .selectAll()
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirstOrThrow()
const machineOn = async (sled: Sled) => {
  const found = await sled.vmm.find((await rowOf('box')).id)
  assert.ok(found.ok)
  return found.value?.state ?? null
}
const at = (place: string, does: () => Promise<void>) => {
  meanwhile = { [place]: does }
}

/** A sled says something of an instance, which is known or is no more. */
async function report({ id: sled_id }: Sled, instance_id: string, isKnown: boolean) {
  const runtime = { run_state: 'failed', gen: 1_000, time_updated_ms: 0 } as const
  const told = await one.world
    .ref(nexusProtocol, 'nexus')
    .call('instance_report', { sled_id, instance_id, runtime }, soon)
  assert.equal(told.ok, isKnown)
}

/** An instance with a disk, on the first sled. */
async function makeBox(): Promise<void> {
  nexus.connected = [one.id]
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id, 'own'))
  await nexus.ok('POST', `${project}/instances`, {
    ...instanceBody('box'),
    disks: [{ type: 'attach', name: 'own' }],
  })
  await becomes('running')
  nexus.connected = [one.id, other.id]
}
async function removeBox(): Promise<void> {
  await nexus.ok('POST', `${box}/stop`)
  await becomes('stopped')
  await nexus.ok('DELETE', box)
  await nexus.ok('DELETE', `${project}/disks/own`)
  assert.deepEqual(await leaksOf(nexus), [])
}

before(async () => {
  nexus = await TestNexus.start(
    async (node, when) => {
      const does = meanwhile[`${when} ${node}`]
      if (does === undefined) return
      meanwhile = {}
      await does()
    },
    null,
    2,
  )
  const [first, second] = nexus.sleds
  assert.ok(first !== undefined && second !== undefined)
  ;[one, other] = [first, second]
  ;({ image_id } = await nexus.guide())
})
beforeEach(() => {
  assert.deepEqual(Object.keys(meanwhile), [], 'all that was to be done on the way was done')
  nexus.connected = [one.id, other.id]
})
after(async () => {
  await nexus.stop()
})

test('a guest goes there and back with its console, its addresses and its disks', async () => {
  await makeBox()
  const { id } = await rowOf('box')
  await one.vmm.serialWrite(id, Buffer.from('before '))
  one.block.write((await nexus.ok('GET', `${project}/disks/own`)).id, 'written by the guest')
  const ips = await nexus.ok('GET', `${box}/external-ips`)
  const { size: ports } = one.ports.specs
  assert.equal(ports, 1)
  for (const [from, to, word] of [
    [one, other, 'between '],
    [other, one, 'after '],
  ] as const) {
    const { gen, propolis_id } = await rowOf('box')
    const done = await migrate(to)
    assert.equal(done.status, 200, done.text)
    assert.equal(done.json.run_state, 'running')
    const row = await rowOf('box')
    assert.equal(row.sled_id, to.id)
    assert.notEqual(row.propolis_id, propolis_id)
    assert.ok(row.gen > gen)
    assert.deepEqual([await machineOn(from), await machineOn(to)], [null, 'running'])
    assert.deepEqual([from.ports.specs.size, from.world.entries.size], [0, 0])
    const [port] = [...to.ports.specs.values()]
    assert.deepEqual(port?.external_ips, [ips.items[0].ip])
    const disk = await nexus.ok('GET', `${project}/disks/own`)
    assert.equal(to.block.contentOf(disk.id), 'written by the guest')
    await to.vmm.serialWrite(id, Buffer.from(word))
  }
  const { data } = await nexus.ok('GET', `${box}/serial-console?from_start=0&max_bytes=100000`)
  assert.match(Buffer.from(data).toString(), /login: before between after $/)
  await removeBox()
})

/** These sleds have been told that guests are there. */
const know = async (sleds: readonly Sled[], places: Readonly<Record<string, string>>) => {
  await until('they know', 5_000, () => {
    const seen = sleds.map(({ ports }) =>
      Object.fromEntries([...ports.told.v2p.values()].flat().map(({ ip, sled }) => [ip, sled])),
    )
    return seen.every((told) => isDeepStrictEqual(told, places)) ? true : null
  })
}

test('sleds are told where guests are, before and after one moves', async () => {
  await makeBox()
  nexus.connected = [other.id]
  await nexus.ok('POST', `${project}/instances`, { ...instanceBody('neighbour'), disks: [] })
  const [first, second] = ['fd00:1122:3344:101::1', 'fd00:1122:3344:102::1']
  await know([one, other], { '172.30.0.5': first, '172.30.0.6': second })
  nexus.connected = [one.id, other.id]
  const external = await nexus.ok('GET', `${box}/external-ips`)
  const natOf = () => {
    const { ip } = external.items[0]
    return one.ports.told.nat.filter((entry) => entry.ip === ip)
  }
  const whole = { ip: external.items[0].ip, first_port: 0, last_port: 65_535 }
  assert.deepEqual(natOf(), [{ ...whole, sled: first }])
  assert.equal(other.ports.told.nat.length, 0, 'of use only where the uplink is')
  const shared = one.ports.told.nat.filter(({ last_port }) => last_port === 16_383)
  assert.equal(shared.length, 1)
  assert.equal((await migrate(other)).status, 200)
  // The first has none of this VPC any more.
  await know([other], { '172.30.0.5': second, '172.30.0.6': second })
  assert.deepEqual(natOf(), [{ ...whole, sled: second }])
  await nexus.ok('POST', `${project}/instances/neighbour/stop`)
  await until('it is stopped', 5_000, async () =>
    (await nexus.ok('GET', `${project}/instances/neighbour`)).run_state === 'stopped' ? true : null,
  )
  await nexus.ok('DELETE', `${project}/instances/neighbour`)
  await removeBox()
})

test('a guest whose connections cannot come goes without them', async () => {
  await makeBox()
  other.ports.faults.add('adopt')
  const gone = await migrate(other)
  other.ports.faults.delete('adopt')
  assert.equal(gone.json.run_state, 'running')
  await removeBox()
})

test('what cannot migrate is told why', async () => {
  await makeBox()
  const nowhere = { id: '00000000-0000-4000-8000-000000000000' }
  const unknown = await migrate(nowhere)
  assert.equal(unknown.status, 404)
  assert.equal(unknown.json.message, `not found: sled with id "${nowhere.id}"`)
  const same = await migrate(one)
  assert.equal(same.status, 400)
  assert.equal(same.json.message, `instance "box" is on sled ${one.id} already`)
  assert.equal((await migrate(other, `${project}/instances/nobody`)).status, 404)
  nexus.connected = [one.id]
  assert.equal((await migrate(other)).status, 503)
  assert.equal((await view()).run_state, 'running')
  nexus.connected = [one.id, other.id]
  await nexus.ok('POST', `${box}/stop`)
  await becomes('stopped')
  const stopped = await migrate(other)
  assert.equal(stopped.status, 400)
  assert.equal(stopped.json.message, 'cannot migrate instance in state "stopped"')
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  await removeBox()
})

test('while a guest migrates nobody else moves it, and the rest of the API sees it migrate', async () => {
  await makeBox()
  at('before switch_over', async () => {
    assert.equal((await view()).run_state, 'migrating')
    for (const verb of ['start', 'stop', 'reboot']) {
      const refused = await nexus.call('POST', `${box}/${verb}`)
      assert.equal(refused.status, 400)
      assert.equal(refused.json.message, 'instance state cannot be changed from state "migrating"')
    }
    const gone = await nexus.call('DELETE', box)
    assert.equal(gone.json.message, 'instance cannot be deleted in state "migrating"')
    const second = await migrate(other)
    assert.equal(second.status, 400)
    const { migration_id } = await rowOf('box')
    assert.match(second.json.message, new RegExp(`migration ${migration_id} is in progress`))
    assert.deepEqual([await machineOn(one), await machineOn(other)], ['paused', 'paused'])
  })
  assert.equal((await migrate(other)).status, 200)
  assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
  await removeBox()
})

test('of two migrations at once one is done and the other is told', async () => {
  await makeBox()
  const both = await Promise.all([migrate(other), migrate(other)])
  assert.deepEqual(both.map(({ status }) => status).toSorted(), [200, 400])
  assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
  await removeBox()
})

test('the word of a sled that a guest has left, or not come to yet, is not taken', async () => {
  await makeBox()
  const { id } = await rowOf('box')
  at('before switch_over', async () => {
    await report(other, id, true)
  })
  assert.equal((await migrate(other)).json.run_state, 'running')
  await report(one, id, true)
  assert.equal((await view()).run_state, 'running')
  await removeBox()
})

for (const fault of ['receive', 'follow', 'fill', 'create', 'export', 'ensurePort'] as const) {
  test(`when ${fault} fails on the other sled, the guest goes on where it was`, async () => {
    await makeBox()
    const where = [other.vmm, other.block, other.ports]
    for (const { faults } of where) faults.add(fault)
    assert.equal((await migrate(other)).status, 500)
    for (const { faults } of where) faults.delete(fault)
    await becomes('running')
    assert.deepEqual([await machineOn(one), await machineOn(other)], ['running', null])
    assert.deepEqual(await leaksOf(nexus), [])
    assert.equal((await migrate(other)).status, 200)
    await removeBox()
  })
}

test('a guest that ends while it migrates is stopped, and nothing comes to the other sled', async () => {
  await makeBox()
  at('after migrate_instance', async () => {
    one.vmm.exit((await rowOf('box')).id)
    await becomes('stopped')
  })
  const ended = await migrate(other)
  assert.equal(ended.status, 400)
  assert.equal(ended.json.message, 'cannot migrate instance in state "stopped"')
  assert.deepEqual(await leaksOf(nexus), [])
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  await removeBox()
})

for (const place of ['after migrate_instance', 'after instance_migrate', 'after switch_over']) {
  test(`sleds that start anew ${place} go on with the migration`, async () => {
    await makeBox()
    at(place, async () => {
      await one.world.restart()
      await other.world.restart()
      const { id } = await rowOf('box')
      for (const { world } of [one, other]) {
        await world.ref(instanceProtocol, id).call('get', null, soon)
      }
    })
    const done = await migrate(other)
    assert.equal(done.status, 200, done.text)
    assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
    // It is watched again: its end is seen.
    other.vmm.exit((await rowOf('box')).id)
    await becomes('stopped')
    await nexus.ok('DELETE', box)
    await nexus.ok('DELETE', `${project}/disks/own`)
    assert.deepEqual(await leaksOf(nexus), [])
  })
}

test('a sled that has a guest still to forget forgets it with its disks, though the instance is gone', async () => {
  await makeBox()
  at('before cleanup_source', async () => {
    const { id } = await rowOf('box')
    await nexus.ok('POST', `${box}/stop`)
    await becomes('stopped')
    await nexus.ok('DELETE', box)
    // The source reports of an instance that is no more.
    await report(one, id, false)
    assert.equal(one.block.contentOf((await nexus.ok('GET', `${project}/disks/own`)).id), 'alpine')
  })
  await migrate(other)
  await nexus.ok('DELETE', `${project}/disks/own`)
  assert.deepEqual(await leaksOf(nexus), [])
})

test('a guest that has moved has moved, though its former sled cannot let go of it yet', async () => {
  await makeBox()
  const { faults } = one.vmm
  at('before cleanup_source', async () => {
    faults.add('kill')
  })
  const done = await migrate(other)
  assert.equal(done.status, 200, done.text)
  assert.equal(done.json.run_state, 'running')
  assert.deepEqual([await machineOn(one), await machineOn(other)], ['paused', 'running'])
  // It is owed for as long as it takes.
  const { sagas } = nexus.services
  for (let times = 0; times < 2; times += 1) assert.equal(await sagas.recover(), 1)
  const back = await migrate(one)
  assert.equal(back.status, 400)
  assert.match(back.json.message, /is still on this sled$/)
  await becomes('running')
  faults.delete('kill')
  assert.equal(await sagas.recover(), 1)
  assert.equal(await sagas.recover(), 0)
  assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
  assert.equal(one.world.entries.size, 0)
  await removeBox()
})

test('a sled that hears late of a migration that is over has its guest go on', async () => {
  await makeBox()
  const { id, propolis_id, gen } = await rowOf('box')
  const migration = {
    migration_id: '77777777-7777-4777-8777-777777777777',
    dst_propolis_id: '77777777-7777-4777-8777-777777777778',
  }
  const late = await one.world
    .ref(instanceProtocol, id)
    .call('migrate_out', { propolis_id, migration, gen }, soon)
  assert.ok(late.ok)
  await becomes('migrating')
  assert.equal(await reconcileSled(nexus.services, one.id), 0)
  assert.equal((await view()).run_state, 'running')
  // Nor does it take the end of one for the end of another.
  at('before switch_over', async () => {
    const { migration_id } = migration
    const request = { propolis_id, migration_id, gen: 1_000 }
    const went = await one.world.ref(instanceProtocol, id).call('go_on', request, soon)
    assert.ok(went.ok)
    assert.equal(await machineOn(one), 'paused')
    assert.equal(await reconcileSled(nexus.services, one.id), 0)
    assert.equal(await machineOn(one), 'paused')
  })
  assert.equal((await migrate(other)).status, 200)
  assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
  await removeBox()
})

test('a guest without disks and addresses migrates too', async () => {
  nexus.connected = [one.id]
  const bare = { disks: [], external_ips: [], network_interfaces: { type: 'none' } }
  await nexus.ok('POST', `${project}/instances`, { ...instanceBody('box'), ...bare })
  await becomes('running')
  nexus.connected = [one.id, other.id]
  assert.equal((await migrate(other)).status, 200)
  assert.deepEqual([await machineOn(one), await machineOn(other)], [null, 'running'])
  await nexus.ok('POST', `${box}/stop`)
  await becomes('stopped')
  await nexus.ok('DELETE', box)
})

const makeApart = async () => {
  const ids: string[] = []
  for (const [name, sled] of [
    ['here', one],
    ['there', other],
  ] as const) {
    nexus.connected = [sled.id]
    await nexus.ok('POST', `${project}/disks`, diskBody(image_id, name))
    const { id } = await nexus.ok('GET', `${project}/disks/${name}`)
    sled.block.write(id, `written ${name}`)
    ids.push(id)
  }
  nexus.connected = [one.id, other.id]
  const [here = '', there = ''] = ids
  return { here, there }
}
const diskRow = async (name: string) =>
  await nexus.store
    .selectFrom('disk')
    .select('sled_id')
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirstOrThrow()
const boxOf = (...names: readonly string[]) => ({
  ...instanceBody('box'),
  disks: names.map((name) => ({ type: 'attach', name })),
})
/** What a disk holds on each sled. */
const heldOn = (id: string) => [one.block.contentOf(id), other.block.contentOf(id)]
async function removeApart(): Promise<void> {
  for (const name of ['here', 'there']) await nexus.ok('DELETE', `${project}/disks/${name}`)
  assert.deepEqual(await leaksOf(nexus), [])
}
async function end(): Promise<void> {
  await nexus.ok('POST', `${box}/stop`)
  await becomes('stopped')
  await nexus.ok('DELETE', box)
}

test('disks of two sleds come to one when their instance is made', async () => {
  const { here, there } = await makeApart()
  await nexus.ok('POST', `${project}/instances`, boxOf('there', 'here'))
  await becomes('running')
  const { sled_id } = await rowOf('box')
  const isOne = sled_id === one.id
  const only = (text: string) => (isOne ? [text, null] : [null, text])
  assert.deepEqual([heldOn(here), heldOn(there)], [only('written here'), only('written there')])
  assert.deepEqual([await machineOn(isOne ? one : other)], ['running'])
  await end()
  await removeApart()
})

test('a disk that is attached to an instance of another sled comes there when that starts', async () => {
  const { here, there } = await makeApart()
  await nexus.ok('POST', `${project}/instances`, { ...boxOf('there'), start: false })
  assert.equal((await rowOf('box')).sled_id, other.id)
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  assert.deepEqual(heldOn(here), ['written here', null])
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  assert.deepEqual(heldOn(here), [null, 'written here'])
  other.block.write(here, 'written there since')
  await end()
  // It is on the sled that it has come to, and goes back when it is wanted there.
  assert.equal((await diskRow('here')).sled_id, other.id)
  nexus.connected = [one.id]
  await nexus.ok('POST', `${project}/instances`, { ...boxOf(), start: false })
  nexus.connected = [one.id, other.id]
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  assert.deepEqual(heldOn(here), ['written there since', null])
  assert.deepEqual(heldOn(there), [null, 'written there'])
  await end()
  await removeApart()
})

test('while disks are on their way their instance is left alone, and they come once', async () => {
  const { here } = await makeApart()
  await nexus.ok('POST', `${project}/instances`, { ...boxOf('there'), start: false })
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  const refusals: string[] = []
  at('before disks_brought', async () => {
    for (const [verb, url, body] of [
      ['POST', `${box}/start`, undefined],
      ['POST', `${box}/stop`, undefined],
      ['DELETE', box, undefined],
      ['POST', `${box}/disks/detach`, { name: 'here' }],
      ['POST', `${box}/disks/attach`, { name: 'here' }],
      ['DELETE', `${project}/disks/here`, undefined],
    ] as const) {
      const { status, json } = await nexus.call(verb, url, body)
      if (status === 400) refusals.push(json.message)
    }
  })
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  assert.deepEqual(refusals, [
    'instance "box" is starting already',
    'instance state cannot be changed from state "migrating"',
    'instance cannot be deleted in state "migrating"',
    'cannot detach disk from instance in migrating state',
    'disk cannot be deleted in state "attached"',
  ])
  assert.deepEqual(heldOn(here), [null, 'written here'])
  // Two that start it at once: one of them does.
  await end()
  nexus.connected = [one.id]
  await nexus.ok('POST', `${project}/instances`, { ...boxOf(), start: false })
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  nexus.connected = [one.id, other.id]
  const both = await Promise.all(
    [0, 1, 2].map(async () => await nexus.call('POST', `${box}/start`)),
  )
  assert.ok(both.some(({ status }) => status < 300))
  await becomes('running')
  assert.deepEqual(heldOn(here), ['written here', null])
  await end()
  await removeApart()
})

test('a disk that does not come leaves its instance stopped, and itself where it was', async () => {
  const { here } = await makeApart()
  await nexus.ok('POST', `${project}/instances`, { ...boxOf('there'), start: false })
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  for (const [fault, sled, status] of [
    ['offer', one, 500],
    ['create', other, 500],
    ['fill', other, 500],
    ['unexport', other, 500],
  ] as const) {
    sled.block.faults.add(fault)
    const failed = await nexus.call('POST', `${box}/start`)
    sled.block.faults.delete(fault)
    assert.equal(failed.status, status, fault)
    assert.equal((await view()).run_state, 'stopped', fault)
    assert.deepEqual(heldOn(here), ['written here', null], fault)
  }
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  assert.deepEqual(heldOn(here), [null, 'written here'])
  await end()
  await removeApart()
})

test('a disk whose volume is lost holds no instance fast', async () => {
  const { here } = await makeApart()
  await nexus.ok('POST', `${project}/instances`, { ...boxOf('there'), start: false })
  await nexus.ok('POST', `${box}/disks/attach`, { name: 'here' })
  assert.ok((await one.block.destroy(here)).ok)
  await one.world.restart()
  assert.equal((await nexus.call('POST', `${box}/start`)).status, 503)
  await nexus.ok('POST', `${box}/disks/detach`, { name: 'here' })
  await nexus.ok('POST', `${box}/start`)
  await becomes('running')
  await end()
  await removeApart()
})

test('an instance goes where its disks are, and those made with it are together', async () => {
  const placed = new Set<string>()
  for (let round = 0; placed.size < 2; round += 1) {
    assert.ok(round < 100, 'chance takes both sleds')
    const name = `made${round}`
    await nexus.ok('POST', `${project}/instances`, {
      ...instanceBody(name),
      start: false,
      external_ips: [],
      disks: [
        { type: 'create', ...diskBody(image_id, `${name}a`) },
        { type: 'create', ...diskBody(image_id, `${name}b`) },
      ],
    })
    const { id, sled_id } = await rowOf(name)
    const disks = await nexus.store
      .selectFrom('disk')
      .select('sled_id')
      .where('attach_instance_id', '=', id)
      .execute()
    assert.deepEqual(
      disks.map((disk) => disk.sled_id),
      [sled_id, sled_id],
    )
    placed.add(sled_id)
    await nexus.ok('DELETE', `${project}/instances/${name}`)
    for (const disk of ['a', 'b']) await nexus.ok('DELETE', `${project}/disks/${name}${disk}`)
  }
})
