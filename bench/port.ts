/**
 * Making one guest port in a VPC that is there: by our own netlink and nftables calls, and by the
 * same changes made with spawned `ip` and `nft`, once one program a change, as shell scripts and
 * most agents do, and once with as few programs as they allow.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createNetns, deleteNetns } from '#native/linux/libc.sys.ts'
import { type LinuxPorts, linuxPorts } from '#native/linux/ports.ts'
import type { PortRule, PortSpec } from '#native/platform/ports.ts'
import type { Harness } from './harness.ts'

const name = 'guest port'
const rounds = 20
const gateway = '172.30.0.1'

const rule = (
  filter_protocols: PortRule['filter_protocols'],
  ports: string[] | null,
): PortRule => ({
  status: 'enabled',
  direction: 'inbound',
  targets: [],
  filter_hosts: null,
  filter_ports: ports,
  filter_protocols,
  action: 'allow',
  priority: 65_534,
})
/** The rules of a new VPC. */
const rules = [
  { ...rule(null, null), filter_hosts: ['172.30.0.0/22'] },
  rule(['TCP'], ['22']),
  rule(['ICMP'], null),
  rule(['TCP'], ['3389']),
]

interface Sled {
  readonly tag: string
  readonly outside: string
  readonly ports: LinuxPorts
}

export async function run(harness: Harness): Promise<void> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    harness.skip(name, 'it needs root on Linux')
    return
  }
  const base = process.pid.toString(16).padStart(5, '0').slice(-5)
  const sleds = ['0', '1', '2'].map((suffix) => bring(`${base}${suffix}`))
  const [own, single, batch] = sleds
  try {
    if (own === undefined || single === undefined || batch === undefined) return
    await harness.compare(name, {
      unit: 'ms',
      rounds,
      candidates: {
        luge: async (round: number) => measure(() => ensure(own.ports, round + 1)),
        'ip and nft, one a change': async (round: number) =>
          measure(() => {
            for (const command of commands(single.tag, round + 1)) spawn(command)
          }),
        'ip -batch and nft': async (round: number) =>
          measure(() => {
            spawnBatches(batch.tag, commands(batch.tag, round + 1))
          }),
      },
    })
  } finally {
    for (const sled of sleds) takeDown(sled)
  }
}

function measure(work: () => void): number {
  const began = performance.now()
  work()
  return performance.now() - began
}

/** A sled whose VPC has one port already. */
function bring(tag: string): Sled {
  const outside = `/run/netns/luge${tag}`
  createNetns(outside)
  const uplink = { outside_netns: outside, gateway: '203.0.113.1/24', address: '203.0.113.2/24' }
  const addresses = ['fd00:1122:3344:101::1/64']
  const ports = linuxPorts({ tag, underlay: { addresses, uplink, rack: null } })
  ensure(ports, 0)
  return { tag, outside, ports }
}

function takeDown({ ports, outside }: Sled): void {
  const destroyed = ports.destroyAll()
  ports.close()
  deleteNetns(outside)
  if (!destroyed.ok) throw new Error(destroyed.detail)
}

const ipOf = (number: number): string => `172.30.0.${5 + number}`
const externalOf = (number: number): string => `203.0.113.${20 + number}`
const macOf = (number: number): string =>
  `a8:40:25:f0:00:${(5 + number).toString(16).padStart(2, '0')}`

function ensure(ports: LinuxPorts, number: number): void {
  const spec: PortSpec = {
    id: randomUUID(),
    instance_id: randomUUID(),
    vni: 100,
    subnet: '172.30.0.0/22',
    ip: ipOf(number),
    mac: macOf(number),
    primary: true,
    slot: 0,
    hostname: 'guest',
    source_nat: null,
    external_ips: [externalOf(number)],
    firewall_rules: rules,
  }
  const made = ports.ensurePort(spec)
  if (!made.ok) throw new Error(made.detail)
}

type Command = readonly [program: string, netns: string, ...args: string[]]

/** The changes that make a port of the same kind, as command lines. */
function commands(tag: string, number: number): readonly Command[] {
  const vpc = `ox${tag}_v100`
  const sled = `ox${tag}_gz`
  const tap = `opte${number}`
  const [ip, mac, external] = [ipOf(number), macOf(number), externalOf(number)]
  const note = JSON.stringify({ id: randomUUID(), ip, mac, external, snat: null })
  return [
    ['ip', vpc, 'tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr'],
    ['ip', vpc, 'link', 'set', tap, 'alias', note],
    ['ip', vpc, 'link', 'set', tap, 'address', 'a8:40:25:ff:77:77', 'mtu', '1500', 'up'],
    ['ip', vpc, 'addr', 'add', `${gateway}/32`, 'dev', tap],
    ['ip', vpc, 'route', 'replace', ip, 'dev', tap],
    ['ip', vpc, 'neigh', 'replace', ip, 'lladdr', mac, 'dev', tap],
    ['nft', vpc, portText(tap, ip, mac, external)],
    ['ip', sled, 'route', 'replace', external, 'via', '169.254.0.2', 'dev', 'vpc100', 'onlink'],
    ['ip', sled, 'neigh', 'replace', 'proxy', external, 'dev', 'net0'],
  ]
}

function portText(tap: string, ip: string, mac: string, external: string): string {
  return `
add table netdev ${tap}
add chain netdev ${tap} guard { type filter hook ingress device "${tap}" priority -500; policy drop; }
add rule netdev ${tap} guard ether saddr != ${mac} counter drop
add rule netdev ${tap} guard ip saddr ${ip} accept
add rule netdev ${tap} guard arp saddr ip ${ip} arp saddr ether ${mac} accept
add rule netdev ${tap} guard ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
add rule netdev ${tap} guard counter drop
add chain inet luge ${tap}_out
add rule inet luge ${tap}_out return
add chain inet luge ${tap}_in
add rule inet luge ${tap}_in ip saddr 172.30.0.0/22 accept
add rule inet luge ${tap}_in meta l4proto { tcp } th dport { 22 } accept
add rule inet luge ${tap}_in meta l4proto { icmp } accept
add rule inet luge ${tap}_in meta l4proto { tcp } th dport { 3389 } accept
add rule inet luge ${tap}_in drop
add element inet luge port_out { "${tap}" : jump ${tap}_out }
add element inet luge port_in { "${tap}" : goto ${tap}_in }
add element inet luge leaves { ${ip} : accept }
add element inet luge external_of { ${ip} : ${external} }
add element inet luge guest_of { ${external} : ${ip} }
`
}

function spawn([program, netns, ...args]: Command): void {
  if (program === 'ip') execFileSync('ip', ['-n', netns, ...args])
  else execFileSync('ip', ['netns', 'exec', netns, program, ...args])
}

/** Neighbouring `ip` commands of one namespace in one process. */
function spawnBatches(tag: string, all: readonly Command[]): void {
  for (const netns of [`ox${tag}_v100`, `ox${tag}_gz`]) {
    const here = all.filter((command) => command[1] === netns)
    const lines = here
      .filter(([program]) => program === 'ip')
      .map(([, , ...args]) => args.map((text) => `'${text}'`).join(' '))
    const ran = spawnSync('ip', ['-n', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` })
    if (ran.status !== 0) throw new Error(`ip -batch: ${ran.stderr.toString()}`)
    for (const command of here) if (command[0] !== 'ip') spawn(command)
  }
}
