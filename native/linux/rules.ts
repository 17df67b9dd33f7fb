/**
 * A VPC's firewall rules for one port: as nftables text for new flows, and as a predicate for the
 * flows that run already. Meaning (spec/01 §12 and OPTE's firewall layer):
 *
 * - disabled rules do not count; a rule without targets is for every port of the VPC, one with
 *   targets for the ports it names by (vni, mac);
 * - lower priority numbers come first, and at one priority deny comes before allow;
 * - hosts are the far end, ports are the destination's in either direction, protocols are as they
 *   say; null matches anything, and so does an empty list of ports; any other empty list nothing;
 * - what no rule matches: inbound is denied, outbound is allowed.
 */
import type { PortRule } from '#native/platform/ports.ts'
import { InvalidText, ipText, overlap, type Prefix, prefixOf } from './addresses.ts'

export type Direction = PortRule['direction']
export type Protocol = 'TCP' | 'UDP' | 'ICMP'
export interface Range {
  readonly first: number
  readonly last: number
}
/** A rule that is for the port at hand, taken apart. Null matches anything. */
export interface Rule {
  readonly direction: Direction
  readonly action: PortRule['action']
  readonly hosts: readonly Prefix[] | null
  readonly ports: readonly Range[] | null
  readonly protocols: readonly Protocol[] | null
}
/** A flow as the port sees it. */
export interface Flow {
  readonly direction: Direction
  /** The far end's address: 4 bytes. */
  readonly host: Buffer
  /** IP protocol number. */
  readonly protocol: number
  /** Destination port; null for protocols without. */
  readonly port: number | null
}

const protocolNumbers: Readonly<Record<Protocol, number>> = { ICMP: 1, TCP: 6, UDP: 17 }
const withPorts: readonly Protocol[] = ['TCP', 'UDP']
const port_max = 65_535

/** The rules that are for this port, in the order they are tried. */
export function rulesFor(
  rules: readonly PortRule[],
  port: { readonly mac: string; readonly vni: number },
): readonly Rule[] {
  return rules
    .filter(({ status }) => status === 'enabled')
    .filter(
      ({ targets }) =>
        targets.length === 0 ||
        targets.some(({ mac, vni }) => mac === port.mac && vni === port.vni),
    )
    .toSorted((a, b) => order(a) - order(b))
    .map(({ direction, action, filter_hosts, filter_ports, filter_protocols }) => ({
      direction,
      action,
      hosts: filter_hosts?.map(prefixOf) ?? null,
      ports: filter_ports === null || filter_ports.length === 0 ? null : filter_ports.map(rangeOf),
      protocols: filter_protocols,
    }))
}

const order = ({ priority, action }: PortRule): number => priority * 2 + (action === 'deny' ? 0 : 1)

function rangeOf(text: string): Range {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text)
  const first = Number(match?.[1])
  const last = Number(match?.[2] ?? match?.[1])
  if (match === null || first > last || last > port_max) {
    throw new InvalidText(`"${text}" is neither a port nor a range of ports`)
  }
  return { first, last }
}

/**
 * The body of the chain that judges new flows of one direction, one statement a line. Outbound, what
 * may pass returns to the caller, who asks the destination's port next; inbound it is accepted.
 */
export function chainText(rules: readonly Rule[], direction: Direction): readonly string[] {
  const pass = direction === 'inbound' ? 'accept' : 'return'
  const lines = rules
    .filter((rule) => rule.direction === direction)
    .flatMap((rule) => statement(rule, rule.action === 'allow' ? pass : 'drop') ?? [])
  return [...lines, direction === 'inbound' ? 'drop' : 'return']
}

/** Null when the rule can match nothing. */
function statement(rule: Rule, verdict: string): string | null {
  const parts = [
    hostsText(rule),
    protocolsText(rule),
    rule.ports === null ? '' : `th dport ${setText(rule.ports.map(rangeText))}`,
  ]
  if (parts.includes(null)) return null
  return [...parts, verdict].filter((part) => part !== '').join(' ')
}

/** Empty: any host. Null: none. */
function hostsText({ hosts, direction }: Rule): string | null {
  if (hosts === null) return ''
  const ipv4 = hosts.filter(({ bytes }) => bytes.length === 4)
  const side = direction === 'inbound' ? 'saddr' : 'daddr'
  return ipv4.length === 0 ? null : `ip ${side} ${setText(ipv4.map(hostText))}`
}

/** Empty: any protocol. Null: none, also when ports are asked of protocols that have no ports. */
function protocolsText({ protocols, ports }: Rule): string | null {
  if (protocols === null && ports === null) return ''
  const asked = protocols ?? withPorts
  const possible = ports === null ? asked : asked.filter((name) => withPorts.includes(name))
  if (possible.length === 0) return null
  return `meta l4proto ${setText(possible.map((name) => name.toLowerCase()))}`
}

const setText = (elements: readonly string[]): string => `{ ${[...new Set(elements)].join(', ')} }`
const rangeText = ({ first, last }: Range): string =>
  first === last ? String(first) : `${first}-${last}`

function hostText({ bytes, length }: Prefix): string {
  const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0
  const network = Buffer.alloc(4)
  network.writeUInt32BE((bytes.readUInt32BE(0) & mask) >>> 0)
  return `${ipText(network)}/${length}`
}

/** Whether a flow may begin under these rules. */
export function admits(rules: readonly Rule[], flow: Flow): boolean {
  const decisive = rules.find((rule) => rule.direction === flow.direction && matches(rule, flow))
  if (decisive === undefined) return flow.direction === 'outbound'
  return decisive.action === 'allow'
}

function matches({ hosts, ports, protocols }: Rule, flow: Flow): boolean {
  const far: Prefix = { bytes: flow.host, length: flow.host.length * 8 }
  if (hosts !== null && !hosts.some((host) => overlap(host, far))) return false
  if (protocols !== null && !protocols.some((name) => protocolNumbers[name] === flow.protocol)) {
    return false
  }
  if (ports === null) return true
  const { port } = flow
  const hasPorts = withPorts.some((name) => protocolNumbers[name] === flow.protocol)
  return hasPorts && port !== null && ports.some(({ first, last }) => first <= port && port <= last)
}
