/**
 * kill -9 between any two steps: whatever an interrupted call left, the same call made again ends in
 * the same state, removing ends in nothing, and so does destroying all.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { azSubnet, sledAddress, trunkAddresses } from '#config/addressing.ts'
import { systemRandom } from '#runtime/random.ts'
import { linuxPorts, type LinuxPorts } from '#native/linux/ports.ts'
import type { ControlSpec, PortSpec, UnderlaySpec, V2pMapping } from '#native/platform/ports.ts'
import { leftOf, Place } from '#test/kit/network.ts'

const tag = `${process.pid.toString(16).padStart(5, '0').slice(-5)}c`
const spec: PortSpec = {
  id: '11111111-1111-4111-8111-111111111111',
  instance_id: '22222222-2222-4222-8222-222222222222',
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
const control: ControlSpec = {
  id: 'oxControlService0',
  zone: 'oxz_nexus',
  address: 'fd00:1122:3344:101::4/64',
}
const steps_max = 200

/** Of a rack of two: where the other's guest of the VPC is. */
const mappings: readonly V2pMapping[] = [
  { ip: spec.ip, sled: sledAddress(2, 1) },
  { ip: '172.30.0.6', sled: sledAddress(1, 1) },
]

let outside: Place
let underlay: UnderlaySpec
let ports: LinuxPorts
before(() => {
  outside = new Place(`luge${tag}`)
  underlay = {
    addresses: ['fd00:1122:3344:101::1/64'],
    uplink: {
      outside_netns: outside.path,
      gateway: '203.0.113.1/24',
      address: '203.0.113.2/24',
    },
    rack: null,
  }
  ports = linuxPorts({ tag, underlay })
})
after(async () => {
  ports.destroyAll()
  ports.close()
  await outside.end()
})

/** Whether the process died at that step; false when it had fewer. */
function dies(
  verb: 'ensure' | 'remove',
  step: number,
  sled: { readonly tag: string; readonly underlay: UnderlaySpec } = { tag, underlay },
): boolean {
  const script = new URL('../kit/crash_port.ts', import.meta.url).pathname
  const given = JSON.stringify({ ...sled, spec, control, mappings })
  const { signal, status, stderr } = spawnSync(process.execPath, [
    script,
    given,
    verb,
    String(step),
  ])
  if (signal === 'SIGKILL') return true
  assert.equal(status, 0, stderr.toString())
  return false
}

function ensure(on: LinuxPorts = ports): void {
  const results = [on.ensureControl(control), on.ensurePort(spec), on.setV2p(spec.vni, mappings)]
  for (const result of results) assert.ok(result.ok, result.ok ? '' : result.detail)
}

const views: ReadonlyArray<readonly string[]> = [
  ['ip', '-o', 'addr'],
  ['ip', 'route', 'show', 'table', 'all'],
  ['ip', 'rule'],
  ['ip', 'neigh', 'show', 'proxy'],
  ['ip', 'neigh', 'show', 'nud', 'permanent'],
  ['nft', '-s', 'list', 'ruleset'],
]

function see(name: string, view: readonly string[]): readonly string[] {
  const text = execFileSync('ip', ['netns', 'exec', name, ...view], { encoding: 'utf8' })
  return text.split('\n').map((line) => `${name} ${line}`)
}

/** All that can be seen of a sled, without what differs from one making to the next. */
function world(of: string = tag, names: readonly string[] = ['gz', 'v100', 'oxz_nexus']) {
  return names
    .map((name) => `ox${of}_${name}`)
    .flatMap((name) => views.flatMap((view) => see(name, view)))
    .filter((line) => !line.includes('fe80'))
    .map((line) => line.replaceAll(/ [0-9]+:|valid_lft.*/g, ''))
    .toSorted()
}

/** Of two changes one is interrupted in one way and one in the other; which, is another matter in each run. */
const first = systemRandom.next() < 0.5 ? 0 : 1

test(`an interrupted making is completed by the next, at every second change from ${first} on`, () => {
  ensure()
  const whole = world()
  let step = first
  ports.destroyAll()
  while (dies('ensure', step)) {
    ensure()
    assert.deepEqual(world(), whole, `interrupted before change ${step}`)
    const destroyed = ports.destroyAll()
    assert.ok(destroyed.ok, destroyed.ok ? '' : destroyed.detail)
    assert.deepEqual(leftOf(tag, outside), [], `interrupted before change ${step}`)
    step += 2
    assert.ok(step < steps_max)
  }
  assert.ok(step > 30, `${step} changes were counted`)
  ports.destroyAll()
})

test(`the same of a sled behind a trunk, which leaves the sled with the uplink as it was`, () => {
  const prefix = azSubnet
  const first_sled = linuxPorts({ tag, underlay: { ...underlay, rack: { prefix, trunk: null } } })
  const netns = `/run/netns/ox${tag}_gz`
  const trunk = { netns, link: 'sled2', number: 2, ...trunkAddresses(2) }
  const behind = {
    tag: `${tag}s2`,
    underlay: {
      ...underlay,
      addresses: [`${sledAddress(2, 1)}/64`],
      rack: { prefix, trunk },
    },
  }
  const second_sled = linuxPorts(behind)
  try {
    const made = first_sled.ensureUnderlay({ ...underlay, rack: { prefix, trunk: null } })
    assert.ok(made.ok, made.ok ? '' : made.detail)
    const alone = world(tag, ['gz'])
    ensure(second_sled)
    const whole = [...world(tag, ['gz']), ...world(behind.tag)]
    let step = first
    second_sled.destroyAll()
    while (dies('ensure', step, behind)) {
      ensure(second_sled)
      const now = [...world(tag, ['gz']), ...world(behind.tag)]
      assert.deepEqual(now, whole, `interrupted before change ${step}`)
      const destroyed = second_sled.destroyAll()
      assert.ok(destroyed.ok, destroyed.ok ? '' : destroyed.detail)
      assert.deepEqual(world(tag, ['gz']), alone, `interrupted before change ${step}`)
      assert.deepEqual(leftOf(behind.tag, outside), [])
      step += 2
      assert.ok(step < steps_max)
    }
    assert.ok(step > 40, `${step} changes were counted`)
  } finally {
    second_sled.destroyAll()
    second_sled.close()
    first_sled.destroyAll()
    first_sled.close()
  }
})

test(`what an interrupted making left is found by its tag alone, at every second change from ${1 - first} on`, () => {
  let step = 1 - first
  while (dies('ensure', step)) {
    const destroyed = ports.destroyAll()
    assert.ok(destroyed.ok, destroyed.ok ? '' : destroyed.detail)
    assert.deepEqual(leftOf(tag, outside), [], `interrupted before change ${step}`)
    step += 2
    assert.ok(step < steps_max)
  }
  ports.destroyAll()
})

test('an interrupted removal is completed by the next', () => {
  let step = 0
  for (;;) {
    ensure()
    ports.close()
    const died = dies('remove', step)
    for (const id of [spec.id, control.id]) {
      const removed = ports.remove(id)
      assert.ok(removed.ok, removed.ok ? '' : removed.detail)
    }
    assert.deepEqual(
      leftOf(tag, outside).map((line) => line.replace(/[ @].*$/, '')),
      [`ox${tag}_gz`, `oxup${tag}`],
      `interrupted before change ${step}`,
    )
    const seen = execFileSync('ip', ['netns', 'exec', `ox${tag}_gz`, 'nft', 'list', 'ruleset'])
    assert.doesNotMatch(seen.toString(), /203\.0\.113/)
    const routes = execFileSync('ip', ['-n', `ox${tag}_gz`, 'route'])
    assert.doesNotMatch(routes.toString(), /203\.0\.113\.(10|20)/)
    if (!died) break
    step += 1
    assert.ok(step < steps_max)
  }
  assert.ok(step > 5, `${step} changes were counted`)
})
