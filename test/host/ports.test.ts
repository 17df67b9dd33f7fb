/**
 * The sled's network on a real kernel. Guests are namespaces on the far side of their taps; the
 * witnesses are programs that know nothing of us: ping, curl, udhcpc, tcpdump, nft, conntrack, ip.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { connectTcp, listenTcp } from '#native/linux/libc.sys.ts'
import { type LinuxPorts, linuxPorts } from '#native/linux/ports.ts'
import type { LinkView, PortRule, PortSpec, UnderlaySpec } from '#native/platform/ports.ts'
import { Capture, Guest, leftOf, Place, run, until, value } from '#test/kit/network.ts'
import { portRule as rule } from '#test/kit/port_rule.ts'

const tag = process.pid.toString(16).padStart(6, '0').slice(-6)
const gateway = '172.30.0.1'
const shared = '203.0.113.10'
const web = rule({ filter_protocols: ['TCP'], filter_ports: ['80'] })
const pings = rule({ filter_protocols: ['ICMP'] })

const spec = (given: Partial<PortSpec> & Pick<PortSpec, 'ip' | 'mac'>): PortSpec => ({
  id: randomUUID(),
  instance_id: randomUUID(),
  vni: 100,
  subnet: '172.30.0.0/22',
  primary: true,
  slot: 0,
  hostname: 'guest',
  source_nat: null,
  external_ips: [],
  firewall_rules: [pings, web],
  ...given,
})

let outside: Place
let underlay: UnderlaySpec
let ports: LinuxPorts
const guests: Guest[] = []

before(async () => {
  outside = new Place(`luge${tag}out`)
  underlay = {
    addresses: ['fd00:1122:3344:101::1/64', 'fd00:1122:3344:1::1/64'],
    uplink: {
      outside_netns: outside.path,
      gateway: '203.0.113.1/24',
      address: '203.0.113.2/24',
    },
    rack: null,
  }
  ports = linuxPorts({ tag, underlay })
  await outside.serve(8000, 'the outside')
})
after(async () => {
  for (const guest of guests) await guest.end()
  value(ports.destroyAll())
  ports.close()
  await outside.end()
})

/** A guest whose port is made and whose address is set. */
function boot(given: PortSpec): Guest {
  const view = value(ports.ensurePort(given))
  const guest = new Guest(`luge${tag}g${guests.length}`, given.mac)
  guests.push(guest)
  guest.plug(view)
  guest.configure(given.ip, gateway)
  return guest
}

const one = spec({
  ip: '172.30.0.5',
  mac: 'a8:40:25:f0:00:05',
  hostname: 'one',
  external_ips: ['203.0.113.20', '203.0.113.99'],
  source_nat: { ip: shared, first_port: 0, last_port: 16_383 },
})
const two = spec({
  ip: '172.30.0.6',
  mac: 'a8:40:25:f0:00:06',
  firewall_rules: [pings],
  source_nat: { ip: shared, first_port: 16_384, last_port: 32_767 },
})
/** Another VPC with the same addresses and the same shared external address. */
const twin = spec({
  ip: '172.30.0.5',
  mac: 'a8:40:25:f0:00:05',
  vni: 200,
  source_nat: { ip: shared, first_port: 32_768, last_port: 49_151 },
})
const alone = spec({ ip: '172.30.0.7', mac: 'a8:40:25:f0:00:07' })
let g1: Guest
let g2: Guest
let gTwin: Guest
let gAlone: Guest

test('the underlay is made once and again', async () => {
  const made = value(ports.ensureUnderlay(underlay))
  assert.deepEqual(value(ports.ensureUnderlay(underlay)), made)
  assert.equal(made.netns, `/run/netns/ox${tag}_gz`)
  const { output } = await run('ip', ['-n', `ox${tag}_gz`, 'addr', 'show', 'underlay0'])
  assert.match(output, /inet6 fd00:1122:3344:101::1\/64 scope global/)
  assert.doesNotMatch(output, /tentative/)
  assert.ok(await outside.pings('203.0.113.2'), 'the outside reaches the sled')
})

test('a guest gets its address and everything else by DHCP', async () => {
  const view = value(ports.ensurePort(one))
  assert.deepEqual(view, {
    id: one.id,
    link: 'opte0',
    netns: `/run/netns/ox${tag}_v100`,
    addresses: ['172.30.0.5'],
  })
  g1 = boot(one)
  const told = await g1.dhcp()
  assert.equal(told.get('ip'), '172.30.0.5')
  assert.equal(told.get('subnet'), '255.255.255.255')
  assert.equal(told.get('router'), gateway)
  assert.equal(told.get('serverid'), gateway)
  assert.equal(told.get('dns'), '8.8.8.8')
  assert.equal(told.get('hostname'), 'one')
  assert.equal(told.get('mtu'), '1500')
  assert.equal(told.get('lease'), '86400')
  assert.equal(told.get('staticroutes'), `${gateway}/32 0.0.0.0 0.0.0.0/0 ${gateway}`)
  const counts = ports.dhcpCounts(one.id)
  assert.ok(counts !== null && counts.answered >= 2 && counts.failed === 0)
})

test('malformed DHCP packets are counted and nothing else', async () => {
  const ignored = ports.dhcpCounts(one.id)?.ignored ?? 0
  const program = [
    'import socket',
    'it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)',
    `it.bind(("${one.ip}", 68))`,
    `it.sendto(b"nonsense", ("${gateway}", 67))`,
  ]
  const { status, output } = await g1.run('python3', '-c', program.join('\n'))
  assert.equal(status, 0, output)
  await until('it is counted', () =>
    (ports.dhcpCounts(one.id)?.ignored ?? 0) > ignored ? true : null,
  )
  assert.equal((await g1.dhcp()).get('ip'), '172.30.0.5')
})

test('the gateway answers ARP with its own MAC, and pings', async () => {
  assert.ok(await g1.pings(gateway))
  assert.match(g1.ip('neigh', 'show', gateway), /a8:40:25:ff:77:77/)
})

test('the outside reaches an external address where a rule allows it, and nowhere else', async () => {
  await g1.serve(80, 'guest one')
  await g1.serve(81, 'closed')
  assert.ok(await outside.pings('203.0.113.20'))
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
  assert.equal(await outside.fetch('203.0.113.20', 81), null)
  assert.match(outside.ip('neigh', 'show', '203.0.113.20'), /lladdr/)
})

test('only the first external address of a port is used', async () => {
  assert.equal(await outside.pings('203.0.113.99'), false)
})

test('a guest with an external address leaves by it', async () => {
  const capture = await Capture.on(outside, `oxup${tag}`, 'tcp dst port 8000')
  assert.equal(await g1.fetch('203.0.113.1', 8000), 'the outside')
  const heard = await capture.end()
  assert.match(heard, /IP 203\.0\.113\.20\.[0-9]+ > 203\.0\.113\.1\.8000/)
  assert.doesNotMatch(heard, /IP (172|203\.0\.113\.10)\./)
})

test('guests without one share an address, each by its own 16384 ports, in two VPCs', async () => {
  g2 = boot(two)
  gTwin = boot(twin)
  const capture = await Capture.on(outside, `oxup${tag}`, 'tcp dst port 8000 and tcp[13] & 2 != 0')
  for (let times = 0; times < 8; times += 1) {
    const fixed = ['--local-port', String(40_000 + times)]
    assert.equal(await g2.fetch('203.0.113.1', 8000, ...fixed), 'the outside')
    assert.equal(await gTwin.fetch('203.0.113.1', 8000), 'the outside')
  }
  await until('all are heard', () => (capture.portsFrom(shared).length >= 16 ? true : null))
  const seen = capture.portsFrom(shared)
  await capture.end()
  const within = (range: NonNullable<PortSpec['source_nat']> | null) =>
    seen.filter((port) => range !== null && range.first_port <= port && port <= range.last_port)
      .length
  assert.equal(within(two.source_nat), 8)
  assert.equal(within(twin.source_nat), 8)
  assert.equal(seen.length, 16)
})

test('pings through a shared address come back to who sent them', async () => {
  assert.ok(await g2.pings('203.0.113.1'))
  assert.ok(await gTwin.pings('203.0.113.1'))
})

test('nobody outside begins a flow to a shared address', async () => {
  await g2.serve(80, 'guest two')
  assert.equal(await outside.pings(shared), false)
  assert.equal(await outside.fetch(shared, 20_000), null)
  assert.equal(await outside.fetch(shared, 80), null)
})

test('a guest without any external address stays inside', async () => {
  gAlone = boot(alone)
  const capture = await Capture.on(outside, `oxup${tag}`, 'ip')
  assert.equal(await gAlone.fetch('203.0.113.1', 8000), null)
  assert.equal(await gAlone.pings('203.0.113.1'), false)
  assert.equal(await capture.end(), '')
})

test('guests of a VPC reach each other as their rules say', async () => {
  assert.ok(await g2.pings('172.30.0.5'))
  assert.equal(await g2.fetch('172.30.0.5', 80), 'guest one')
  assert.equal(await g2.fetch('172.30.0.5', 81), null)
  assert.equal(await g1.fetch('172.30.0.6', 80), null, 'two has no rule for it')
})

test('guests reach each other by external addresses too', async () => {
  assert.equal(await g2.fetch('203.0.113.20', 80), 'guest one')
  assert.equal(await gTwin.fetch('203.0.113.20', 80), 'guest one')
})

test('subnets of a VPC reach each other, each port by the gateway of its own subnet', async () => {
  const second = spec({
    instance_id: two.instance_id,
    subnet: '10.0.0.0/26',
    ip: '10.0.0.5',
    mac: 'a8:40:25:f0:01:05',
    primary: false,
    slot: 1,
  })
  const view = value(ports.ensurePort(second))
  assert.ok(value(ports.list()).filter(({ link }) => link === view.link).length >= 1)
  const gSecond = new Guest(`luge${tag}g${guests.length}`, second.mac)
  guests.push(gSecond)
  gSecond.plug(view)
  gSecond.configure(second.ip, '10.0.0.1')
  assert.equal((await gSecond.dhcp()).get('router'), '10.0.0.1')
  await gSecond.serve(80, 'the second')
  assert.equal(await g2.fetch('10.0.0.5', 80), 'the second')
  assert.equal(await gSecond.fetch('172.30.0.5', 80), 'guest one')
  assert.equal(await gTwin.pings('10.0.0.5'), false)
  assert.equal(await gSecond.fetch('203.0.113.1', 8000), null, 'only the primary leads out')
})

test('VPCs with the same addresses know nothing of each other', async () => {
  await gTwin.serve(80, 'the twin')
  assert.equal(await g2.fetch('172.30.0.5', 80), 'guest one')
  assert.equal(await gTwin.pings('172.30.0.6'), false)
})

test('unknown addresses of the VPC do not leave the sled', async () => {
  const capture = await Capture.on(outside, `oxup${tag}`, 'ip')
  assert.equal(await g1.pings('172.30.1.77'), false)
  assert.equal(await capture.end(), '')
})

test('guests reach neither the sled nor the way to it', async () => {
  for (const address of ['203.0.113.2', '169.254.0.1', '169.254.0.2']) {
    assert.equal(await g1.pings(address), false, address)
  }
})

/** Frames that the first port's guard has dropped so far. */
async function drops(): Promise<number> {
  const { output } = await run('ip', [
    ...['netns', 'exec', `ox${tag}_v100`, 'nft', 'list', 'table', 'netdev', 'opte0'],
  ])
  return [...output.matchAll(/packets ([0-9]+)/g)].reduce((sum, [, n]) => sum + Number(n), 0)
}

test('spoofed addresses are dropped where they come in, and counted', async () => {
  const quiet = await drops()
  g1.ip('addr', 'add', '172.30.0.9/32', 'dev', 'eth0')
  assert.equal(await g1.pings('172.30.0.6', '-I', '172.30.0.9'), false)
  g1.ip('addr', 'del', '172.30.0.9/32', 'dev', 'eth0')
  const afterIp = await drops()
  assert.ok(afterIp > quiet, 'a foreign IP')
  g1.ip('link', 'set', 'eth0', 'address', '02:66:66:66:66:66')
  assert.equal(await g1.pings('172.30.0.6'), false)
  g1.ip('link', 'set', 'eth0', 'address', one.mac)
  assert.ok((await drops()) > afterIp, 'a foreign MAC')
  const beforeArp = await drops()
  // ARP request: the guest's MAC claims 172.30.0.6.
  const claim = '0001080006040001a84025f00005ac1e0006000000000000ac1e0006'
  const program = [
    'import socket',
    'it = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)',
    'it.bind(("eth0", 0))',
    `it.send(bytes.fromhex("${'ff'.repeat(6)}a84025f00005" "0806" "${claim}"))`,
  ]
  assert.equal((await g1.run('python3', '-c', program.join('\n'))).status, 0)
  assert.ok((await drops()) > beforeArp, 'ARP for a foreign address')
  g1.configure(one.ip, gateway)
  assert.ok(await g1.pings('172.30.0.6'))
})

const tcpRules = (...allowed: readonly string[]): readonly PortRule[] => [
  pings,
  rule({ filter_protocols: ['TCP'], filter_ports: allowed }),
]

/** A server in a guest that sends back what it hears; its connections end with the test. */
async function echo(guest: Guest, port: number, opened: net.Socket[]): Promise<net.Server> {
  const server = new net.Server((socket) => {
    opened.push(socket)
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  server.listen({ fd: listenTcp('0.0.0.0', port, guest.path) })
  await once(server, 'listening')
  return server
}

async function dial(address: string, port: number): Promise<net.Socket> {
  const socket = new net.Socket({ fd: connectTcp(address, port, outside.path) })
  socket.on('error', () => undefined)
  assert.ok(await echoes(socket), `${address} port ${port} answers`)
  return socket
}

async function echoes(socket: net.Socket): Promise<boolean> {
  socket.write('a')
  return await Promise.race([
    once(socket, 'data').then(() => true),
    once(AbortSignal.timeout(1_000), 'abort').then(() => false),
  ])
}

test('a flow that no rule admits any more ends, and others go on', async () => {
  const sockets: net.Socket[] = []
  const servers = [await echo(g1, 7001, sockets), await echo(g1, 7002, sockets)]
  try {
    value(ports.setRules(one.id, tcpRules('80', '7000-7010')))
    const kept = await dial('203.0.113.20', 7001)
    const cut = await dial('203.0.113.20', 7002)
    sockets.push(kept, cut)
    value(ports.setRules(one.id, tcpRules('80', '7001')))
    assert.ok(await echoes(kept))
    assert.equal(await echoes(cut), false)
    const { output } = await run('ip', [
      ...['netns', 'exec', `ox${tag}_v100`, 'conntrack', '-L', '-p', 'tcp'],
      ...['--orig-dst', '203.0.113.20'],
    ])
    assert.match(output, /ESTABLISHED.*dport=7001/)
    assert.doesNotMatch(output, /dport=7002/)
  } finally {
    for (const socket of sockets) socket.destroy()
    for (const server of servers) server.close()
    value(ports.setRules(one.id, one.firewall_rules))
  }
})

test('priorities, denials, hosts and directions do what OPTE does', async () => {
  const deny = rule({ action: 'deny', filter_protocols: ['TCP'], filter_ports: ['80'] })
  const hosts = (host: string) => ({ ...web, priority: 10, filter_hosts: [host] })
  const judged = async (...rules: readonly PortRule[]) => {
    value(ports.setRules(one.id, rules))
    return (await outside.fetch('203.0.113.20', 80)) !== null
  }
  assert.equal(await judged(web), true)
  assert.equal(await judged(web, deny), false, 'at one priority deny wins')
  assert.equal(await judged({ ...web, priority: 1 }, deny), true)
  assert.equal(await judged({ ...web, status: 'disabled' }), false)
  assert.equal(await judged(hosts('203.0.113.1/32')), true)
  assert.equal(await judged(hosts('203.0.113.128/25')), false)
  const other = { mac: 'a8:40:25:f0:00:99', vni: 100 }
  assert.equal(await judged({ ...web, targets: [other] }), false)
  assert.equal(await judged({ ...web, targets: [other, { mac: one.mac, vni: 100 }] }), true)
  assert.equal(await judged(web, rule({ action: 'deny', direction: 'outbound' })), true)
  assert.equal(await g1.fetch('203.0.113.1', 8000), null, 'outbound is denied')
  value(ports.setRules(one.id, one.firewall_rules))
  assert.equal(await g1.fetch('203.0.113.1', 8000), 'the outside')
})

test('rules that mean nothing are refused with their text, and the old ones stay', async () => {
  const refused = ports.setRules(one.id, [{ ...web, filter_ports: ['http'] }])
  assert.ok(!refused.ok)
  assert.match(refused.detail, /"http" is neither a port/)
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
  const missing = ports.setRules(randomUUID(), [web])
  assert.ok(!missing.ok && missing.error === 'not_found')
})

/** The rules of three namespaces, in an order that does not depend on how they came about. */
async function rulesets(): Promise<ReadonlyArray<readonly string[]>> {
  const texts: string[] = []
  for (const name of ['gz', 'v100', 'v200']) {
    const { output } = await run('ip', [
      'netns',
      'exec',
      `ox${tag}_${name}`,
      'nft',
      '-s',
      'list',
      'ruleset',
    ])
    texts.push(output)
  }
  return texts.map((text) => text.split('\n').toSorted())
}

test('asking again for all ports changes nothing that anyone can see', async () => {
  const listed = value(ports.list())
  const text = await rulesets()
  for (const known of [one, two, twin, alone]) value(ports.ensurePort(known))
  assert.deepEqual(await rulesets(), text)
  assert.deepEqual(value(ports.list()), listed)
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
})

test('a restarted process finds the ports and serves DHCP again', async () => {
  ports.close()
  const listed = value(ports.list())
  ports.close()
  ports = linuxPorts({ tag, underlay })
  assert.deepEqual(value(ports.list()), listed)
  assert.equal(ports.dhcpCounts(one.id), null)
  value(ports.ensurePort(one))
  assert.equal((await g1.dhcp()).get('ip'), '172.30.0.5')
})

test('an external address moves with the next ensure, and its old flows end', async () => {
  const moved = { ...one, external_ips: ['203.0.113.21'] }
  value(ports.ensurePort(moved))
  assert.equal(await outside.fetch('203.0.113.21', 80), 'guest one')
  assert.equal(await outside.fetch('203.0.113.20', 80), null)
  const { output } = await run('ip', ['-n', `ox${tag}_gz`, 'route'])
  assert.match(output, /^203\.0\.113\.21 /m)
  assert.doesNotMatch(output, /^203\.0\.113\.20 /m, 'it leads nowhere any more')
  value(ports.ensurePort(one))
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
})

test('addresses that are in use are refused with who has them, and nothing is made', async () => {
  const listed = value(ports.list())
  const mac = 'a8:40:25:f0:00:0a'
  const clashes: ReadonlyArray<readonly [PortSpec, RegExp]> = [
    [spec({ mac, ip: one.ip }), new RegExp(`172\\.30\\.0\\.5 is already .*${one.id}`)],
    [spec({ mac, ip: '172.30.0.10', external_ips: ['203.0.113.20'] }), /203\.0\.113\.20/],
    [spec({ mac, ip: '172.30.0.10', external_ips: [shared] }), /203\.0\.113\.10/],
    [spec({ mac, ip: '172.30.0.10', external_ips: ['203.0.113.1'] }), /is the uplink's/],
    [
      spec({ mac, ip: '172.30.0.10', source_nat: { ip: shared, first_port: 0, last_port: 9 } }),
      /ports 0-9/,
    ],
  ]
  for (const [wanted, says] of clashes) {
    const refused = ports.ensurePort(wanted)
    assert.ok(!refused.ok)
    assert.equal(refused.error, 'address_taken')
    assert.match(refused.detail, says)
  }
  const outsider = ports.ensurePort(spec({ mac, ip: '10.0.0.1' }))
  assert.ok(!outsider.ok)
  assert.match(outsider.detail, /no address for a guest in subnet/)
  assert.deepEqual(value(ports.list()), listed)
})

const controlLink = (n: number) => ({
  id: `oxControlService${n}`,
  zone: `oxz_zone${n}`,
  address: `fd00:1122:3344:101::${n + 4}/64`,
})

test('zones reach the sled and each other over the underlay', async () => {
  const first = value(ports.ensureControl(controlLink(0)))
  const second = value(ports.ensureControl(controlLink(1)))
  assert.deepEqual(value(ports.ensureControl(controlLink(0))), first)
  assert.deepEqual(first, {
    id: 'oxControlService0',
    link: 'oxControlService0',
    netns: `/run/netns/ox${tag}_oxz_zone0`,
    addresses: ['fd00:1122:3344:101::4'],
  })
  const inside = async (...command: readonly string[]) =>
    await run('ip', ['netns', 'exec', `ox${tag}_oxz_zone0`, ...command])
  assert.equal((await inside('ip', 'link', 'show', 'oxControlService0')).status, 0)
  for (const address of [...underlay.addresses, controlLink(1).address]) {
    const ping = await inside('ping', '-c1', '-W1', address.replace(/\/.*$/, ''))
    assert.equal(ping.status, 0, `${address}: ${ping.output}`)
  }
  const elsewhere = ports.ensureControl({ ...controlLink(0), zone: 'oxz_zone1' })
  assert.ok(!elsewhere.ok && elsewhere.error === 'address_taken')
  assert.deepEqual(value(ports.list()).slice(-2), [first, second] satisfies readonly LinkView[])
  value(ports.remove('oxControlService1'))
  assert.deepEqual(
    leftOf(tag, null).filter((line) => line.includes('zone1')),
    [],
  )
  assert.equal((await inside('ip', 'link', 'show', 'oxControlService0')).status, 0)
})

test('removing a port leaves nothing of it, and nobody else notices', async () => {
  await gAlone.unplug()
  await g2.unplug()
  value(ports.remove(alone.id))
  value(ports.remove(two.id))
  value(ports.remove(two.id))
  const { output } = await run('ip', ['netns', 'exec', `ox${tag}_v100`, 'nft', 'list', 'ruleset'])
  assert.doesNotMatch(output, /opte[123]|172\.30\.0\.[67]/)
  const steering = await run('ip', ['netns', 'exec', `ox${tag}_gz`, 'nft', 'list', 'ruleset'])
  assert.doesNotMatch(steering.output, /16384-32767/)
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
  await gTwin.unplug()
  value(ports.remove(twin.id))
  assert.deepEqual(
    leftOf(tag, null).filter((line) => line.includes('v200')),
    [],
  )
  const rules = await run('ip', ['-n', `ox${tag}_gz`, 'rule'])
  assert.doesNotMatch(rules.output, /0x10000c8/)
  assert.equal(await outside.fetch('203.0.113.20', 80), 'guest one')
})

test('the name of a removed port is free for the next', () => {
  const next = value(ports.ensurePort({ ...two, id: randomUUID() }))
  assert.equal(next.link, 'opte1')
  value(ports.remove(next.id))
})

test('a subnet that is routed elsewhere outside is refused in one sentence', async () => {
  const busy = new Place(`luge${tag}busy`)
  const rival = linuxPorts({
    tag: `${tag.slice(0, 5)}x`,
    underlay: { ...underlay, uplink: { ...underlay.uplink, outside_netns: busy.path } },
  })
  try {
    busy.ip('link', 'add', 'vpn0', 'type', 'bridge')
    busy.ip('link', 'set', 'vpn0', 'up')
    busy.ip('route', 'add', '203.0.0.0/8', 'dev', 'vpn0')
    const routed = rival.ensureUnderlay({
      ...underlay,
      uplink: { ...underlay.uplink, outside_netns: busy.path },
    })
    assert.ok(!routed.ok)
    assert.equal(routed.error, 'address_taken')
    assert.match(
      routed.detail,
      /the subnet of 203\.0\.113\.1\/24 is already routed by vpn0 in .*: take that away, or give/,
    )
    busy.ip('route', 'flush', 'dev', 'vpn0')
    busy.ip('addr', 'add', '203.0.113.1/32', 'dev', 'vpn0')
    const taken = rival.ensureUnderlay({
      ...underlay,
      uplink: { ...underlay.uplink, outside_netns: busy.path },
    })
    assert.ok(!taken.ok && taken.error === 'address_taken')
    assert.match(taken.detail, /203\.0\.113\.1 is already on vpn0/)
    assert.deepEqual(leftOf(`${tag.slice(0, 5)}x`, busy), [])
    const nowhere = rival.ensureUnderlay({
      ...underlay,
      uplink: { ...underlay.uplink, outside_netns: '/run/netns/luge-none' },
    })
    assert.ok(!nowhere.ok && nowhere.error === 'os_failed')
    assert.match(nowhere.detail, /no network namespace \/run\/netns\/luge-none/)
  } finally {
    rival.destroyAll()
    rival.close()
    await busy.end()
  }
})

test("where the outside is the host's own network, it reaches guests and they do not reach it", async () => {
  const hostTag = `${tag.slice(0, 5)}h`
  const own = linuxPorts({
    tag: hostTag,
    underlay: {
      addresses: ['fd00:1122:3344:102::1/64'],
      uplink: { outside_netns: null, gateway: '198.51.100.1/28', address: '198.51.100.2/28' },
      rack: null,
    },
  })
  const host = await run('ip', ['-4', '-br', 'addr'])
  const guestSpec = spec({
    ip: '172.30.0.5',
    mac: 'a8:40:25:f0:00:05',
    external_ips: ['198.51.100.5'],
  })
  let guest: Guest | null = null
  const server = net.createServer((socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nthe host'))
  try {
    const view = value(own.ensurePort(guestSpec))
    guest = new Guest(`luge${tag}h0`, guestSpec.mac)
    guest.plug(view)
    guest.configure(guestSpec.ip, gateway)
    await guest.serve(80, 'guest')
    const fetched = await run('curl', ['-s', '-m', '2', 'http://198.51.100.5/'])
    assert.equal(fetched.output, 'guest')
    server.listen(0, '0.0.0.0')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const addresses = [...host.output.matchAll(/([0-9.]+)\/[0-9]+/g)].map(([, text = '']) => text)
    for (const address of ['198.51.100.1', ...addresses]) {
      assert.equal(await guest.fetch(address, port), null, address)
    }
  } finally {
    server.close()
    await guest?.end()
    value(own.destroyAll())
    own.close()
  }
  assert.deepEqual(leftOf(hostTag, null), [])
  assert.equal((await run('ip', ['-4', '-br', 'addr'])).output, host.output)
})

test('destroying all leaves nothing, also for another process that knows only the tag', () => {
  const stranger = linuxPorts({ tag, underlay })
  value(stranger.destroyAll())
  stranger.close()
  assert.deepEqual(leftOf(tag, outside), [])
  value(ports.destroyAll())
})
