/** What of simulated sleds outlives their process, and what their ports refuse. */
import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { simPorts } from '#native/sim/ports.ts'
import { readGuests, simVmm } from '#native/sim/vmm.ts'
import type { PortSpec } from '#native/platform/ports.ts'

const guest = (instance_id: string) => ({
  instance_id,
  propolis_id: `propolis-${instance_id}`,
  hostname: 'x',
  ncpus: 1,
  memory_bytes: 1,
  nics: [],
  disks: [],
  cidata: { public_keys: [], user_data: '' },
})

test('guests outlive the process, also one that ended in the middle of a line', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'luge-sim-'))
  t.after(() => {
    rmSync(state, { recursive: true })
  })
  const file = join(state, 'guests.json')
  const before = simVmm({ state })
  for (const id of ['one', 'two', 'three']) await before.start(guest(id))
  await before.forget('two')
  before.exit('three')
  appendFileSync(file, '{"four":{"propolis_id":"x","isRun')

  const after = simVmm({ state })
  const found = async (id: string) => {
    const looked = await after.find(id)
    return looked.ok ? (looked.value?.state ?? null) : looked.error
  }
  assert.equal(await found('one'), 'running')
  assert.equal(await found('two'), null)
  assert.equal(await found('three'), 'exited')
  assert.equal(await found('four'), null)
  assert.equal(readFileSync(file, 'utf8').trim().split('\n').length, 1)
  await after.start(guest('five'))
  assert.deepEqual([...readGuests(file).keys()], ['one', 'three', 'five'])
})

const port = (id: string, more: Partial<PortSpec> = {}): PortSpec => ({
  id,
  instance_id: 'instance',
  vni: 7,
  subnet: '10.0.0.0/24',
  ip: '10.0.0.5',
  mac: 'a8:40:25:f0:00:01',
  primary: true,
  slot: 0,
  hostname: 'x',
  source_nat: null,
  external_ips: [],
  firewall_rules: [],
  ...more,
})

const nat = (first_port: number) => ({
  ip: '192.0.2.1',
  first_port,
  last_port: first_port + 16_383,
})

test('an address belongs to one port until that has another, or is gone', () => {
  const ports = simPorts()
  const codeOf = (spec: PortSpec) => {
    const made = ports.ensurePort(spec)
    return made.ok ? made.value.link : made.error
  }
  assert.equal(codeOf(port('a', { source_nat: nat(0) })), 'opte0')
  assert.equal(codeOf(port('b')), 'address_taken')
  assert.equal(codeOf(port('b', { ip: '10.0.0.6', source_nat: nat(0) })), 'address_taken')
  assert.equal(codeOf(port('b', { ip: '10.0.0.6', source_nat: nat(16_384) })), 'opte1')
  assert.equal(codeOf(port('c', { vni: 8 })), 'opte2')
  assert.equal(codeOf(port('a', { ip: '10.0.0.9' })), 'opte0')
  assert.equal(codeOf(port('d')), 'opte3')
  assert.equal(ports.remove('a').ok, true)
  assert.equal(codeOf(port('e', { ip: '10.0.0.9', source_nat: nat(0) })), 'opte0')
})
