import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ipBytes } from '#native/linux/addresses.ts'
import type { Tuple } from '#native/linux/conntrack.ts'
import { isOwnTranslation, seenBy } from '#native/linux/flows.ts'
import { conflictOf, noteOf, type Note } from '#native/linux/guest_port.ts'
import type { PortSpec } from '#native/platform/ports.ts'

const guest: Note = {
  id: 'one',
  ip: '172.30.0.5',
  mac: 'a8:40:25:f0:00:05',
  external: '203.0.113.20',
  snat: ['203.0.113.10', 16_384, 32_767],
}
const rest = { key: Buffer.alloc(0), status: 0, progress: [] }
function tuple(source: string, destination: string, protocol = 6): Tuple {
  const [from = '', sourcePort = ''] = source.split(':')
  const [to = '', destinationPort = ''] = destination.split(':')
  return {
    source: ipBytes(from),
    destination: ipBytes(to),
    protocol,
    sourcePort: sourcePort === '' ? null : Number(sourcePort),
    destinationPort: destinationPort === '' ? null : Number(destinationPort),
  }
}

test('a flow that came in by the external address is inbound, to the port behind it', () => {
  const flow = {
    original: tuple('198.51.100.7:4000', '203.0.113.20:80'),
    reply: tuple('172.30.0.5:80', '198.51.100.7:4000'),
    ...rest,
  }
  assert.deepEqual(seenBy(guest, flow), {
    direction: 'inbound',
    host: ipBytes('198.51.100.7'),
    protocol: 6,
    port: 80,
  })
  assert.equal(isOwnTranslation(guest, flow), true)
  assert.equal(isOwnTranslation({ ...guest, external: '203.0.113.21' }, flow), false)
  assert.equal(isOwnTranslation({ ...guest, external: null }, flow), false)
})

/** The guest to a web server outside, translated to this. */
const leaving = (to: string) => ({
  original: tuple('172.30.0.5:5000', '198.51.100.7:443'),
  reply: tuple('198.51.100.7:443', to),
  ...rest,
})

test('a flow that goes out is outbound, and its translation is the own range or the own address', () => {
  const shared = { ...guest, external: null }
  assert.deepEqual(seenBy(guest, leaving('203.0.113.20:5000')), {
    direction: 'outbound',
    host: ipBytes('198.51.100.7'),
    protocol: 6,
    port: 443,
  })
  assert.equal(isOwnTranslation(guest, leaving('203.0.113.20:5000')), true)
  assert.equal(isOwnTranslation(guest, leaving('203.0.113.10:20000')), false)
  assert.equal(isOwnTranslation(shared, leaving('203.0.113.10:20000')), true)
  assert.equal(isOwnTranslation(shared, leaving('203.0.113.10:5000')), false)
  assert.equal(isOwnTranslation({ ...shared, snat: null }, leaving('203.0.113.10:20000')), false)
})

test('between guests of a VPC one sees it go and the other sees it come, untranslated', () => {
  const flow = {
    original: tuple('172.30.0.5', '172.30.0.6', 1),
    reply: tuple('172.30.0.6', '172.30.0.5', 1),
    ...rest,
  }
  const other = { ...guest, ip: '172.30.0.6' }
  assert.equal(seenBy(guest, flow)?.direction, 'outbound')
  assert.equal(seenBy(other, flow)?.direction, 'inbound')
  assert.equal(isOwnTranslation(guest, flow), true)
  assert.equal(isOwnTranslation(other, flow), true)
  assert.equal(seenBy({ ...guest, ip: '172.30.0.7' }, flow), null)
})

test('only a primary NIC has external addresses, and of those the first', () => {
  const spec: PortSpec = {
    ...{ id: 'one', instance_id: 'i', vni: 1, subnet: '172.30.0.0/22', ip: guest.ip },
    ...{ mac: guest.mac, primary: true, slot: 0, hostname: 'h', firewall_rules: [] },
    source_nat: { ip: '203.0.113.10', first_port: 16_384, last_port: 32_767 },
    external_ips: ['203.0.113.20', '203.0.113.21'],
  }
  assert.deepEqual(noteOf(spec), guest)
  assert.deepEqual(noteOf({ ...spec, primary: false }), { ...guest, external: null, snat: null })
  assert.ok(
    JSON.stringify(noteOf({ ...spec, id: 'x'.repeat(36) })).length < 255,
    'it fits an alias',
  )
})

test('addresses collide by VPC inside, and by address and port range outside', () => {
  const known = { ...guest, vni: 1 }
  const other: Note & { readonly vni: number } = {
    ...{ id: 'two', vni: 1, ip: '172.30.0.6', mac: guest.mac, external: null, snat: null },
  }
  assert.equal(conflictOf(other, [known]), null)
  assert.equal(conflictOf(known, [known]), null)
  assert.match(conflictOf({ ...other, ip: guest.ip }, [known]) ?? '', /172\.30\.0\.5 is already/)
  assert.equal(conflictOf({ ...other, vni: 2, ip: guest.ip }, [known]), null)
  const external = (given: Partial<Note>) => conflictOf({ ...other, vni: 2, ...given }, [known])
  assert.match(external({ external: '203.0.113.20' }) ?? '', /203\.0\.113\.20/)
  assert.match(external({ external: '203.0.113.10' }) ?? '', /203\.0\.113\.10/)
  assert.match(external({ snat: ['203.0.113.20', 0, 1] }) ?? '', /203\.0\.113\.20/)
  assert.match(external({ snat: ['203.0.113.10', 32_767, 40_000] }) ?? '', /ports 32767-40000/)
  assert.equal(external({ snat: ['203.0.113.10', 32_768, 40_000] }), null)
})
