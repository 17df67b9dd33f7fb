/**
 * Guests of a VPC on three sleds, on a real kernel: the first has the uplink, the others a trunk to it.
 * The witnesses know nothing of us: ping, curl, tcpdump, ip, nft.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { azSubnet, sledAddress, trunkAddresses } from '#config/addressing.ts'
import { type LinuxPorts, linuxPorts } from '#native/linux/ports.ts'
import type { NatEntry, PortSpec, UnderlaySpec, V2pMapping } from '#native/platform/ports.ts'
import { Capture, Guest, leftOf, Place, run, until, value } from '#test/kit/network.ts'
import { portRule } from '#test/kit/port_rule.ts'

const tag = process.pid.toString(16).padStart(6, '0').slice(-6)
const tagOf = (sled: number): string => (sled === 1 ? tag : `${tag}s${sled}`)
const gateway = '172.30.0.1'
const shared = '203.0.113.10'

/** A guest's port: the n-th address, the n-th quarter of the shared address's ports. */
const spec = (n: number, given: Partial<PortSpec> = {}): PortSpec => ({
  id: randomUUID(),
  instance_id: randomUUID(),
  vni: 100,
  subnet: '172.30.0.0/22',
  ip: `172.30.0.${4 + n}`,
  mac: `a8:40:25:f0:00:0${4 + n}`,
  primary: true,
  slot: 0,
  hostname: `guest${n}`,
  source_nat: { ip: shared, first_port: (n - 1) * 16_384, last_port: n * 16_384 - 1 },
  external_ips: [],
  firewall_rules: [
    portRule({ filter_protocols: ['ICMP'] }),
    portRule({ filter_protocols: ['TCP'], filter_ports: ['80', '7000'] }),
  ],
  ...given,
})
const own = (sled: number): string => sledAddress(sled, 1)

let outside: Place
const sleds = new Map<number, LinuxPorts>()
const guests: Guest[] = []

function underlayOf(number: number): UnderlaySpec {
  const trunk = {
    netns: `/run/netns/ox${tag}_gz`,
    link: `sled${number}`,
    number,
    ...trunkAddresses(number),
  }
  return {
    addresses: [`${own(number)}/64`],
    uplink: { outside_netns: outside.path, gateway: '203.0.113.1/24', address: '203.0.113.2/24' },
    rack: { prefix: azSubnet, trunk: number === 1 ? null : trunk },
  }
}

/** As a supervisor's thread does. */
function start(number: number): void {
  const underlay = underlayOf(number)
  const ports = linuxPorts({ tag: tagOf(number), underlay })
  sleds.set(number, ports)
  value(ports.ensureUnderlay(underlay))
}

const sled = (number: number): LinuxPorts => {
  const found = sleds.get(number)
  assert(found !== undefined)
  return found
}
const netns = (number: number): string => `ox${tagOf(number)}_gz`

/** A guest on a sled, whose port is made and whose address is set. */
function boot(number: number, given: PortSpec): Guest {
  const view = value(sled(number).ensurePort(given))
  const guest = new Guest(`luge${tag}g${guests.length}`, given.mac)
  guests.push(guest)
  guest.plug(view)
  guest.configure(given.ip, gateway)
  return guest
}

/** Tells all sleds where guests are, as Nexus does. */
function tell(places: ReadonlyArray<readonly [PortSpec, number]>): void {
  const nat = places.flatMap(([{ source_nat, external_ips }, at]): NatEntry[] => [
    ...(source_nat === null ? [] : [{ ...source_nat, sled: own(at) }]),
    ...external_ips.map((ip) => ({ ip, first_port: 0, last_port: 65_535, sled: own(at) })),
  ])
  for (const ports of sleds.values()) {
    for (const vni of new Set(places.map(([port]) => port.vni))) {
      const mappings = places
        .filter(([port]) => port.vni === vni)
        .map(([{ ip }, at]): V2pMapping => ({ ip, sled: own(at) }))
      value(ports.setV2p(vni, mappings))
    }
    value(ports.setNat(nat))
  }
}

const one = spec(1)
const two = spec(2, { external_ips: ['203.0.113.22'] })
const three = spec(3)
/** Another VPC with an address of the first. */
const twin = spec(4, { ip: one.ip, mac: one.mac, vni: 200 })
const places: Array<readonly [PortSpec, number]> = [
  [one, 1],
  [two, 2],
  [three, 3],
  [twin, 2],
]
let g1: Guest
let g2: Guest
let g3: Guest
let gTwin: Guest

before(async () => {
  outside = new Place(`luge${tag}out`)
  await outside.serve(8000, 'the outside')
})
after(async () => {
  for (const guest of guests) await guest.end()
  for (const number of [3, 2, 1]) {
    const ports = sleds.get(number)
    if (ports !== undefined) value(ports.destroyAll())
    ports?.close()
  }
  await outside.end()
})

test('a sled without the uplink waits for the one that has it', () => {
  const early = linuxPorts({ tag: tagOf(2), underlay: underlayOf(2) })
  const refused = early.ensureUnderlay(underlayOf(2))
  assert.ok(!refused.ok)
  assert.match(refused.detail, /the sled with the uplink has no network yet/)
  early.close()
  for (const number of [1, 2, 3]) start(number)
})

test('guests of a VPC reach each other from sled to sled, as their rules say', async () => {
  g1 = boot(1, one)
  g2 = boot(2, two)
  // A mapping may come before the first port, and after it.
  tell(places)
  g3 = boot(3, three)
  gTwin = boot(2, twin)
  await g1.serve(80, 'guest one')
  await g2.serve(80, 'guest two')
  await g3.serve(80, 'guest three')
  await g3.serve(81, 'closed')
  await gTwin.serve(80, 'the twin')
  assert.equal(await g1.fetch(two.ip, 80), 'guest two')
  assert.equal(await g2.fetch(one.ip, 80), 'guest one')
  assert.equal(await g2.fetch(three.ip, 80), 'guest three')
  assert.equal(await g3.fetch(two.ip, 80), 'guest two')
  assert.equal(await g3.fetch(one.ip, 80), 'guest one', 'the other VPC has that address as well')
  assert.equal(await g1.fetch(three.ip, 81), null)
})

test('what goes from sled to sled is VXLAN on the underlay, with whole frames', async () => {
  const capture = await Capture.in(netns(1), 'sled2', 'udp port 4789')
  const isThere = await g2.pings(three.ip, '-s', '1472', '-M', 'do')
  const heard = await capture.end()
  assert.ok(isThere)
  assert.match(heard, new RegExp(`IP6 ${own(2)}\\.[0-9]+ > ${own(3)}\\.4789: VXLAN.* vni 100`))
  assert.doesNotMatch(heard, /frag/)
})

test('a guest of another sled has its external address, both ways', async () => {
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two')
  assert.equal(await outside.fetch('203.0.113.22', 81), null)
  const capture = await Capture.on(outside, `oxup${tag}`, 'tcp dst port 8000')
  assert.equal(await g2.fetch('203.0.113.1', 8000), 'the outside')
  assert.match(await capture.end(), /IP 203\.0\.113\.22\.[0-9]+ > 203\.0\.113\.1\.8000/)
  for (const guest of [g1, g3, gTwin]) {
    assert.equal(await guest.fetch('203.0.113.22', 80), 'guest two', guest.name)
  }
})

test('guests of three sleds share an address, each by its own ports', async () => {
  const filter = 'tcp dst port 8000 and tcp[13] & 2 != 0'
  for (const [guest, { source_nat }] of [
    [g1, one],
    [g3, three],
    [gTwin, twin],
  ] as const) {
    const capture = await Capture.on(outside, `oxup${tag}`, filter)
    for (let times = 0; times < 4; times += 1) {
      assert.equal(await guest.fetch('203.0.113.1', 8000), 'the outside', guest.name)
    }
    await until('all are heard', () => (capture.portsFrom(shared).length >= 4 ? true : null))
    const seen = capture.portsFrom(shared)
    await capture.end()
    assert(source_nat !== null)
    const isOwn = (port: number) => source_nat.first_port <= port && port <= source_nat.last_port
    assert.ok(seen.every(isOwn), `${seen.join(' ')} are within the guest's ports`)
    assert.ok(await guest.pings('203.0.113.1'))
  }
  assert.equal(await outside.pings(shared), false)
})

test('what is nowhere stays inside, and nobody reaches a sled from a guest or from outside', async () => {
  const capture = await Capture.on(outside, `oxup${tag}`, 'net 172.30.0.0/16 or net 169.254.0.0/16')
  for (const address of ['172.30.0.99', '169.254.2.1', '169.254.2.2', '169.254.3.2']) {
    assert.equal(await g2.pings(address), false, address)
  }
  assert.equal(await capture.end(), '')
  outside.ip('route', 'replace', '169.254.0.0/16', 'via', '203.0.113.2')
  assert.equal(await outside.pings('169.254.2.2'), false)
  assert.equal(await outside.fetch('169.254.2.2', 12_345), null)
})

test('sleds reach each other on the underlay', async () => {
  for (const [from, to] of [
    [1, 2],
    [2, 1],
    [3, 2],
  ] as const) {
    const { status, output } = await run('ip', [
      ...['netns', 'exec', netns(from), 'ping', '-c1', '-W1', own(to)],
    ])
    assert.equal(status, 0, output)
  }
})

test('a guest that is coming gets nothing before it is said to be there, then all', async () => {
  // The same guest's port on another sled, as while it migrates.
  const there = value(sled(3).ensurePort(two))
  assert.equal(await g3.fetch(two.ip, 80), 'guest two', 'it is still on the second sled')
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two')

  await g2.unplug()
  g2.plug(there)
  tell(places.map(([port, at]) => [port, port === two ? 3 : at]))
  assert.equal(await g1.fetch(two.ip, 80), 'guest two')
  assert.equal(await g3.fetch(two.ip, 80), 'guest two')
  assert.equal(await g2.fetch(three.ip, 80), 'guest three')
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two')
  value(sled(2).remove(two.id))

  // Back, and to the sled that has the uplink.
  const home = value(sled(1).ensurePort(two))
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two', 'it is still on the third')
  await g2.unplug()
  g2.plug(home)
  tell(places.map(([port, at]) => [port, port === two ? 1 : at]))
  value(sled(3).remove(two.id))
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two')
  assert.equal(await g3.fetch(two.ip, 80), 'guest two')
  assert.equal(await g1.fetch(two.ip, 80), 'guest two')
})

const echo = `
import socket, threading
def answer(peer):
    while said := peer.recv(64): peer.sendall(said)
it = socket.create_server(("", 7000))
while True: threading.Thread(target=answer, args=it.accept()[:1], daemon=True).start()
`
const talk = (to: string) => `
import socket, time
it = socket.create_connection(("${to}", 7000))
while True:
    it.sendall(b"x")
    print(it.recv(64).decode(), end="", flush=True)
    time.sleep(0.02)
`

/** A connection that says something all the time, and is answered. */
async function converse(from: Place, to: string): Promise<() => Promise<void>> {
  const child = from.start('python3', '-c', talk(to))
  let heard = 0
  child.stdout?.on('data', (data: Buffer) => {
    heard += data.length
  })
  const goesOn = async () => {
    const known = heard
    await until(`${from.name} is answered`, () => (heard > known + 10 ? true : null))
  }
  await goesOn()
  return goesOn
}

test('connections go with a guest, from outside and to those who stay', async () => {
  for (const guest of [g1, g2]) guest.start('python3', '-c', echo)
  await until('both listen', async () => {
    const { output } = await g2.run('ss', '-lnt')
    return output.includes(':7000 ') ? true : null
  })
  // Where the first is as well, then away, then back.
  const talks = [
    await converse(outside, '203.0.113.22'),
    await converse(g2, one.ip),
    await converse(g1, two.ip),
    await converse(g3, two.ip),
  ]
  for (const [from, to] of [
    [1, 3],
    [3, 2],
    [2, 1],
  ] as const) {
    const there = value(sled(to).ensurePort(two))
    await g2.unplug()
    value(sled(to).adopt(two.id, value(sled(from).offer(two.id))))
    tell(places.map(([port, at]) => [port, port === two ? to : at]))
    g2.plug(there)
    value(sled(from).remove(two.id))
    for (const goesOn of talks) await goesOn()
  }
  const nowhere = sled(1).adopt(two.id, '/run/netns/none')
  assert.equal(nowhere.ok ? '' : nowhere.error, 'source_gone')
  const nobody = sled(2).offer(two.id)
  assert.equal(nobody.ok ? '' : nobody.error, 'not_found')
})

/** All routes of the sleds and of the first VPC on them. */
const routes = async () => {
  const tables = await Promise.all(
    [1, 2, 3].flatMap((number) =>
      [netns(number), `ox${tagOf(number)}_v100`].map(
        async (name) =>
          (await run('ip', ['-n', name, '-4', 'route', 'show', 'table', 'all'])).output,
      ),
    ),
  )
  return tables.map((text) => text.split('\n').toSorted())
}

test('a restarted process changes nothing that was said', async () => {
  const known = await routes()
  for (const number of [1, 2, 3]) {
    sled(number).close()
    start(number)
  }
  value(sled(1).ensurePort(one))
  value(sled(3).ensurePort(three))
  value(sled(2).ensurePort(twin))
  assert.deepEqual(await routes(), known)
  assert.equal(await g3.fetch(two.ip, 80), 'guest two')
  assert.equal(await outside.fetch('203.0.113.22', 80), 'guest two')
})

test('what is no longer said of an address is forgotten', async () => {
  tell(places.filter(([port]) => port !== two && port !== twin))
  value(sled(1).remove(two.id))
  assert.equal(await outside.fetch('203.0.113.22', 80), null)
  assert.equal(await g3.fetch(two.ip, 80), null)
  const { output } = await run('ip', ['-n', netns(1), 'route'])
  assert.doesNotMatch(output, /203\.0\.113\.22/)
})

test('destroying all leaves nothing, whichever sled goes first', () => {
  for (const number of [1, 2, 3]) value(sled(number).destroyAll())
  assert.deepEqual(leftOf(tag, outside), [])
})
