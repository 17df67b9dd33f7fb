import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addressOf,
  gatewayOf,
  ipBytes,
  ipText,
  macBytes,
  macText,
  overlap,
  prefixOf,
} from '#native/linux/addresses.ts'

test('addresses become bytes in network order and text again', () => {
  assert.deepEqual([...ipBytes('172.20.15.1')], [172, 20, 15, 1])
  assert.equal(ipText(ipBytes('fd00:1122:3344:101::1')), 'fd00:1122:3344:101::1')
  assert.equal(macText(macBytes('a8:40:25:ff:77:77')), 'a8:40:25:ff:77:77')
  assert.equal(addressOf('172.20.15.10/24'), '172.20.15.10')
})

test('text that is no address is refused with the text', () => {
  for (const bad of ['', '10.0.0', '10.0.0.256', 'fd00::1::2', 'host']) {
    assert.throws(() => ipBytes(bad), new RegExp(`"${bad}"`))
  }
  for (const bad of ['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/8/8', 'fd00::/129']) {
    assert.throws(() => prefixOf(bad))
  }
  assert.throws(() => macBytes('a8:40:25:ff:77'))
})

test('prefixes overlap when one holds the other', () => {
  const cases: ReadonlyArray<readonly [string, string, boolean]> = [
    ['10.0.0.0/8', '10.1.0.0/16', true],
    ['10.0.0.0/22', '10.0.3.0/24', true],
    ['10.0.0.0/22', '10.0.4.0/24', false],
    ['0.0.0.0/0', '10.0.0.0/8', true],
    ['10.0.0.1/32', '10.0.0.2/32', false],
    ['fd00::/64', '10.0.0.0/8', false],
  ]
  for (const [a, b, expected] of cases) {
    assert.equal(overlap(prefixOf(a), prefixOf(b)), expected, `${a} ${b}`)
    assert.equal(overlap(prefixOf(b), prefixOf(a)), expected, `${b} ${a}`)
  }
})

test('the gateway of a subnet is its first usable address', () => {
  assert.equal(gatewayOf('172.30.0.0/22'), '172.30.0.1')
  assert.equal(gatewayOf('10.1.2.128/25'), '10.1.2.129')
  assert.throws(() => gatewayOf('fd00::/64'), /IPv4/)
})
