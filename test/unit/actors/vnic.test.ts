import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { vnic } from '#actors/vnic.ts'
import { vnicProtocol, type ControlVnic, type GuestVnic } from '#actors/vnic.protocol.ts'
import * as plan from '#actors/vnic.state.ts'
import { simPorts, type SimPorts } from '#native/sim/ports.ts'
import { soon, World } from '#test/kit/world.ts'
import { ok } from '#runtime/result.ts'

const id = '11111111-1111-4111-8111-111111111111'
const other = '22222222-2222-4222-8222-222222222222'
const guest: GuestVnic = {
  kind: 'guest',
  id,
  instance_id: '33333333-3333-4333-8333-333333333333',
  vni: 100,
  subnet: '172.30.0.0/22',
  ip: '172.30.0.5',
  mac: 'a8:40:25:f0:00:05',
  primary: true,
  slot: 0,
  hostname: 'one',
  source_nat: { ip: '203.0.113.10', first_port: 0, last_port: 16_383 },
  external_ips: ['203.0.113.20'],
  firewall_rules: [],
}
const control: ControlVnic = {
  kind: 'control',
  id: 'oxControlService0',
  zone: 'oxz_nexus',
  address: 'fd00:1122:3344:101::4/64',
}
const rule: GuestVnic['firewall_rules'][number] = {
  status: 'enabled',
  direction: 'inbound',
  targets: [],
  filter_hosts: null,
  filter_ports: ['22'],
  filter_protocols: ['TCP'],
  action: 'allow',
  priority: 65_534,
}

let world: World
let ports: SimPorts
beforeEach(() => {
  world = new World()
  ports = simPorts()
  world.add(vnic, { ports })
})
afterEach(async () => {
  await world.stop()
})
const ref = (name = id) => world.ref(vnicProtocol, name)
const linksNow = (): readonly string[] => {
  const listed = ports.list()
  return listed.ok ? listed.value.map((view) => view.id) : []
}
const journaled = (): readonly string[] => [...world.entries.keys()]

/** Removes the vnic and lets its actor end, as it does then. */
async function remove(name = id): Promise<void> {
  assert.deepEqual(await ref(name).call('remove', null, soon), ok(null))
  await until('the actor has ended', () =>
    world.system.inspect().every((cell) => cell.name !== `vnic/${name}`),
  )
}

/** Polls until it holds. */
async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.fail(`it never came true that ${what}`)
}

test('a vnic that nobody asked for is not there', async () => {
  const answer = await ref().call('get', null, soon)
  assert.deepEqual(answer, ok(null))
})

test('a port is journaled, made and shown', async () => {
  const made = await ref().call('ensure', guest, soon)
  assert.ok(made.ok)
  assert.deepEqual(made.value, { id, link: 'opte0', netns: null, addresses: ['172.30.0.5'] })
  assert.deepEqual(world.entries.get(`vnic/${id}`)?.document, guest)
  const shown = await ref().call('get', null, soon)
  assert.deepEqual(shown, made)
})

test('asking twice changes nothing, and two ports have different links', async () => {
  const first = await ref().call('ensure', guest, soon)
  assert.deepEqual(await ref().call('ensure', guest, soon), first)
  const second = await ref(other).call(
    'ensure',
    { ...guest, id: other, ip: '172.30.0.6', external_ips: [], source_nat: null },
    soon,
  )
  assert.ok(second.ok)
  assert.equal(second.value.link, 'opte1')
})

test('a control link is made under its own name', async () => {
  const made = await ref(control.id).call('ensure', control, soon)
  assert.ok(made.ok)
  assert.equal(made.value.link, 'oxControlService0')
  assert.deepEqual(made.value.addresses, ['fd00:1122:3344:101::4'])
})

test('an address that another port has is refused, and nothing is left of the attempt', async () => {
  await ref().call('ensure', guest, soon)
  for (const clash of [
    { ip: guest.ip, external_ips: [], source_nat: null },
    { ip: '172.30.0.6', external_ips: guest.external_ips, source_nat: null },
    { ip: '172.30.0.6', external_ips: [], source_nat: guest.source_nat },
  ]) {
    const refused = await ref(other).call('ensure', { ...guest, id: other, ...clash }, soon)
    assert.ok(!refused.ok)
    assert.equal(refused.error, 'address_taken')
  }
  assert.deepEqual(journaled(), [`vnic/${id}`])
  assert.deepEqual(linksNow(), [id])
})

test('the same addresses in another VPC are fine', async () => {
  await ref().call('ensure', guest, soon)
  const twin = { ...guest, id: other, vni: 200, external_ips: [], source_nat: null }
  assert.ok((await ref(other).call('ensure', twin, soon)).ok)
})

test('a failed ensure of a new vnic leaves neither a link nor a journal entry', async () => {
  ports.faults.add('ensurePort')
  const failed = await ref().call('ensure', guest, soon)
  assert.ok(!failed.ok)
  assert.equal(failed.error, 'os_failed')
  assert.deepEqual(journaled(), [])
  ports.faults.delete('ensurePort')
  assert.ok((await ref().call('ensure', guest, soon)).ok)
})

test('a failed change leaves the vnic as it was, in the journal too', async () => {
  await ref().call('ensure', guest, soon)
  ports.faults.add('ensurePort')
  assert.ok(!(await ref().call('ensure', { ...guest, external_ips: [] }, soon)).ok)
  assert.deepEqual(world.entries.get(`vnic/${id}`)?.document, guest)
  const shown = await ref().call('get', null, soon)
  assert.ok(shown.ok && shown.value !== null)
})

test('rules are set on a port, and outlive a restart', async () => {
  await ref().call('ensure', guest, soon)
  assert.ok((await ref().call('set_rules', { firewall_rules: [rule] }, soon)).ok)
  assert.deepEqual(ports.specs.get(id)?.firewall_rules, [rule])
  await world.restart()
  await ref().call('get', null, soon)
  assert.deepEqual(ports.specs.get(id)?.firewall_rules, [rule])
})

test('rules of a port that is not there, and of a control link, are not found', async () => {
  const gone = await ref().call('set_rules', { firewall_rules: [rule] }, soon)
  assert.ok(!gone.ok)
  assert.equal(gone.error, 'not_found')
  await ref(control.id).call('ensure', control, soon)
  const none = await ref(control.id).call('set_rules', { firewall_rules: [rule] }, soon)
  assert.ok(!none.ok)
  assert.equal(none.error, 'not_found')
})

test('a restart adopts what is there and makes what is missing', async () => {
  await ref().call('ensure', guest, soon)
  await ref(control.id).call('ensure', control, soon)
  ports.remove(control.id)
  await world.restart()
  assert.deepEqual(
    await ref().call('get', null, soon),
    ok({ id, link: 'opte0', netns: null, addresses: ['172.30.0.5'] }),
  )
  const remade = await ref(control.id).call('get', null, soon)
  assert.ok(remade.ok && remade.value !== null)
  assert.deepEqual(linksNow(), [id, control.id])
})

test('a vnic that cannot be made at the start is made as soon as it can be', async () => {
  await ref().call('ensure', guest, soon)
  ports.destroyAll()
  ports.faults.add('ensurePort')
  await world.restart()
  assert.deepEqual(await ref().call('get', null, soon), ok(null))
  assert.ok(world.lines.some(({ message }) => message.includes('fails as scripted')))
  ports.faults.delete('ensurePort')
  await until('the port is there again', () => linksNow().includes(id))
})

test('a vnic that is removed before it could be made stays away', async () => {
  await ref().call('ensure', guest, soon)
  ports.destroyAll()
  ports.faults.add('ensurePort')
  await world.restart()
  await ref().call('get', null, soon)
  await remove()
  ports.faults.delete('ensurePort')
  assert.ok((await ref().call('check', null, soon)).ok)
  assert.deepEqual(linksNow(), [])
})

test('removing forgets the link and the journal entry, once and again', async () => {
  await ref().call('ensure', guest, soon)
  await remove()
  await remove()
  assert.deepEqual(linksNow(), [])
  assert.deepEqual(journaled(), [])
})

test('a failed removal keeps the journal entry, so that it is known what is left', async () => {
  await ref().call('ensure', guest, soon)
  ports.faults.add('remove')
  const failed = await ref().call('remove', null, soon)
  assert.ok(!failed.ok)
  assert.deepEqual(journaled(), [`vnic/${id}`])
})

test('a journal entry that no version of ours wrote counts as none', async () => {
  await world.journal.put({ kind: 'vnic', id, document: { kind: 'guest', id } })
  assert.deepEqual(await ref().call('get', null, soon), ok(null))
})

test('waiting between attempts grows to its bound and stays there', () => {
  assert.deepEqual(
    [0, 1, 2, 5, 100].map((misses) => plan.backOff(misses, 500, 8_000)),
    [500, 1_000, 2_000, 8_000, 8_000],
  )
})
