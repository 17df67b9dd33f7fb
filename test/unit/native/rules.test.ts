import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ipBytes } from '#native/linux/addresses.ts'
import { admits, chainText, rulesFor, type Flow } from '#native/linux/rules.ts'
import type { PortRule } from '#native/platform/ports.ts'
import { portRule as rule } from '#test/kit/port_rule.ts'

const port = { mac: 'a8:40:25:f0:00:05', vni: 100 }
const inbound = (...given: ReadonlyArray<Partial<PortRule>>): readonly string[] =>
  chainText(rulesFor(given.map(rule), port), 'inbound')
const outbound = (...given: ReadonlyArray<Partial<PortRule>>): readonly string[] =>
  chainText(
    rulesFor(
      given.map((one) => rule({ direction: 'outbound', ...one })),
      port,
    ),
    'outbound',
  )

test('without rules inbound is denied and outbound is allowed', () => {
  assert.deepEqual(inbound(), ['drop'])
  assert.deepEqual(outbound(), ['return'])
})

test('null filters match anything', () => {
  assert.deepEqual(inbound({}), ['accept', 'drop'])
  assert.deepEqual(outbound({ action: 'deny' }), ['drop', 'return'])
})

test('hosts are the far end: source of what comes, destination of what goes', () => {
  const hosts = { filter_hosts: ['10.1.2.3/8', '203.0.113.7/32'] }
  assert.deepEqual(inbound(hosts), ['ip saddr { 10.0.0.0/8, 203.0.113.7/32 } accept', 'drop'])
  assert.deepEqual(outbound(hosts), ['ip daddr { 10.0.0.0/8, 203.0.113.7/32 } return', 'return'])
})

test('ports are the destination port, of TCP and UDP unless protocols are named', () => {
  assert.deepEqual(inbound({ filter_ports: ['22', '80-90'] }), [
    'meta l4proto { tcp, udp } th dport { 22, 80-90 } accept',
    'drop',
  ])
  assert.deepEqual(inbound({ filter_ports: ['22'], filter_protocols: ['TCP', 'ICMP'] }), [
    'meta l4proto { tcp } th dport { 22 } accept',
    'drop',
  ])
  assert.deepEqual(inbound({ filter_ports: [], filter_protocols: ['ICMP'] }), [
    'meta l4proto { icmp } accept',
    'drop',
  ])
})

test('what can match nothing becomes nothing', () => {
  assert.deepEqual(inbound({ filter_hosts: [] }), ['drop'])
  assert.deepEqual(inbound({ filter_protocols: [] }), ['drop'])
  assert.deepEqual(inbound({ filter_hosts: ['fd00::/8'] }), ['drop'])
  assert.deepEqual(inbound({ filter_protocols: ['ICMP'], filter_ports: ['1'] }), ['drop'])
})

test('disabled rules and those of other ports do not count', () => {
  assert.deepEqual(inbound({ status: 'disabled' }), ['drop'])
  assert.deepEqual(inbound({ targets: [{ ...port, vni: 101 }] }), ['drop'])
  assert.deepEqual(inbound({ targets: [{ ...port, mac: 'a8:40:25:f0:00:06' }] }), ['drop'])
  assert.deepEqual(inbound({ targets: [{ ...port, vni: 101 }, port] }), ['accept', 'drop'])
})

test('lower priorities come first, and denials before what is allowed at the same', () => {
  assert.deepEqual(
    inbound(
      { priority: 20, filter_protocols: ['TCP'] },
      { priority: 20, filter_protocols: ['UDP'], action: 'deny' },
      { priority: 10, filter_protocols: ['ICMP'] },
    ),
    [
      'meta l4proto { icmp } accept',
      'meta l4proto { udp } drop',
      'meta l4proto { tcp } accept',
      'drop',
    ],
  )
})

test('text that is neither port, range nor network is refused', () => {
  for (const bad of ['http', '90-80', '65536', '-1', '1-', '1-2-3', '']) {
    assert.throws(() => rulesFor([rule({ filter_ports: [bad] })], port), /neither a port/)
  }
  assert.throws(() => rulesFor([rule({ filter_hosts: ['10.0.0.300/8'] })], port))
})

const flow = (given: Partial<Flow>): Flow => ({
  direction: 'inbound',
  host: ipBytes('203.0.113.7'),
  protocol: 6,
  port: 22,
  ...given,
})

const judge = (given: Partial<Flow>, ...rules: ReadonlyArray<Partial<PortRule>>): boolean =>
  admits(rulesFor(rules.map(rule), port), flow(given))

test('a running flow is judged as a new one would be', () => {
  assert.equal(judge({}), false)
  assert.equal(judge({ direction: 'outbound' }), true)
  assert.equal(judge({ direction: 'outbound' }, { direction: 'outbound', action: 'deny' }), false)
  assert.equal(judge({}, {}), true)
  assert.equal(judge({}, { filter_ports: ['20-30'] }), true)
  assert.equal(judge({ port: 31 }, { filter_ports: ['20-30'] }), false)
  assert.equal(judge({ protocol: 1, port: null }, { filter_ports: ['20-30'] }), false)
  assert.equal(judge({ protocol: 1, port: null }, { filter_protocols: ['ICMP'] }), true)
  assert.equal(judge({ protocol: 47, port: null }, { filter_protocols: ['TCP'] }), false)
  assert.equal(judge({}, { filter_hosts: ['203.0.113.0/24'] }), true)
  assert.equal(judge({}, { filter_hosts: ['203.0.114.0/24'] }), false)
  assert.equal(judge({}, { filter_hosts: ['fd00::/8'] }), false)
  assert.equal(judge({}, {}, { action: 'deny', priority: 1 }), false)
})
