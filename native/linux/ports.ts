/**
 * The sled's network on Linux, by netlink, nftables and DHCP of our own. The kernel is the only
 * memory: what a port is for is written on its tap, names of namespaces carry the sled's tag, and
 * every call compares what should be with what is. So a process may die between any two steps, and
 * the same call made again, by whomever, ends in the same state.
 *
 * Calls are synchronous and may take tens of milliseconds (the kernel is slow to delete links).
 */
import type {
  ControlSpec,
  LinkView,
  NatEntry,
  PortRule,
  Ports,
  PortSpec,
  UnderlaySpec,
  V2pMapping,
} from '#native/platform/ports.ts'
import { err, ok } from '#runtime/result.ts'
import { addressOf, gatewayOf, overlap, prefixOf } from './addresses.ts'
import { ensureControl, listControls, removeControl } from './control.ts'
import { type DhcpCounts, DhcpServers } from './dhcp_server.ts'
import { syncExternal } from './external.ts'
import { AddressTaken, attempt, attemptOs, NotPossible } from './failure.ts'
import { adoptFlows, forgetFlows, leaveFlows, pruneFlows } from './flows.ts'
import {
  conflictOf,
  findGuestPorts,
  type GuestPort,
  type Note,
  noteOf,
  tapPrefix,
} from './guest_port.ts'
import { attachTap, keepTap } from './libc.sys.ts'
import { applyGrowing, Names, type Namespace, Namespaces } from './namespace.ts'
import type { Trace } from './netlink.ts'
import { syncNat } from './nat.ts'
import { ensureOverlay, isElsewhere, syncV2p } from './overlay.ts'
import { type Link, tableMain } from './rtnetlink.ts'
import { rulesFor } from './rules.ts'
import { removeTrunk } from './trunk.ts'
import { cableOf, ensureUnderlay, type Surroundings } from './underlay.ts'
import {
  ensureVpc,
  gatewayMac,
  guardText,
  isJoined,
  portMapsText,
  portRulesText,
  removePortText,
  removeVpc,
} from './vpc.ts'

export interface LinuxPortsOptions {
  /** Six hex characters that all of this sled's kernel objects are named with. */
  readonly tag: string
  readonly underlay: UnderlaySpec
  /** Of guests' ports, and of the links on their way out. */
  readonly mtu_bytes?: number
  /** DNS servers that guests are told of. */
  readonly resolvers?: readonly string[]
  /** Called with each change of the kernel's state, before it is made. */
  readonly trace?: Trace
}
export interface LinuxPorts extends Ports {
  /** What a port's DHCP server has done in this process; null when none serves it. */
  readonly dhcpCounts: (id: string) => DhcpCounts | null
}

const defaults = { mtu_bytes: 1500, resolvers: ['8.8.8.8'] } as const

/** The sled's network on this machine's kernel. Needs root. */
export function linuxPorts(options: LinuxPortsOptions): LinuxPorts {
  return new KernelPorts(options)
}

class KernelPorts implements LinuxPorts {
  readonly #around: Surroundings
  readonly #resolvers: readonly string[]
  readonly #trace: Trace
  readonly #dhcp = new DhcpServers()
  #underlay: UnderlaySpec
  /** Namespaces that this process has brought up to date, by incarnation. */
  readonly #current = new Set<string>()
  /** What was said of VPCs, for those whose first port is still to be made. */
  readonly #told = new Map<number, readonly V2pMapping[]>()

  constructor(options: LinuxPortsOptions) {
    this.#trace = options.trace ?? (() => undefined)
    this.#around = {
      names: new Names(options.tag),
      namespaces: new Namespaces(this.#trace),
      mtu: options.mtu_bytes ?? defaults.mtu_bytes,
    }
    this.#resolvers = options.resolvers ?? defaults.resolvers
    this.#underlay = options.underlay
  }

  readonly ensureUnderlay = (spec: UnderlaySpec) =>
    attempt("the sled's underlay", () => {
      this.#underlay = spec
      const sled = ensureUnderlay(this.#around, spec)
      this.#current.add(sled.incarnation)
      const addresses = spec.addresses.map(addressOf)
      return { id: 'underlay0', link: 'underlay0', netns: sled.path, addresses }
    })

  readonly ensureControl = (spec: ControlSpec) =>
    attempt(`control link ${spec.id}`, () => {
      const namespace = this.#sled()
      return ensureControl(this.#around, { namespace, address: this.#address() }, spec)
    })

  readonly ensurePort = (spec: PortSpec) =>
    attempt(`port ${spec.id}`, () => {
      const sled = this.#sled()
      const note = noteOf(spec)
      const gateway = this.#checkSpec(spec, note)
      const found = this.#findInVpc(spec)
      const known = found.find(({ id }) => id === spec.id) ?? null
      const others = found.filter(({ id }) => id !== spec.id)
      const conflict = conflictOf({ ...note, vni: spec.vni }, others)
      if (conflict !== null) throw new AddressTaken(conflict)

      const namespace = this.#vpc(sled, spec.vni)
      const link = known?.link ?? this.#makeTap(namespace, others, note)
      const port: GuestPort = { ...note, vni: spec.vni, namespace, link }
      this.#configureTap(port, { subnet: spec.subnet, gateway, old: known })
      this.#applyRules(port, spec.firewall_rules, others, known === null)
      this.#syncExternal(sled, [...others, port], known === null ? port : null)
      this.#serveDhcp(port, gateway, spec.hostname)
      return viewOf(port)
    })

  readonly setRules = (id: string, rules: readonly PortRule[]) => {
    const result = attemptOs(`rules of port ${id}`, () => {
      const port = this.#find().find((one) => one.id === id)
      if (port === undefined) return false
      const own = rulesFor(rules, port)
      port.namespace.nft.apply(portRulesText(port, own), `set the rules of ${port.link.name}`)
      pruneFlows(port, own)
      return true
    })
    if (!result.ok) return result
    return result.value ? ok(null) : err('not_found', `there is no port ${id} on this sled`)
  }

  readonly offer = (id: string) => {
    const result = attemptOs(`offer port ${id}`, () => this.#find().find((one) => one.id === id))
    if (!result.ok) return result
    const path = result.value?.namespace.path ?? null
    return path === null ? err('not_found', `there is no port ${id} on this sled`) : ok(path)
  }

  readonly adopt = (id: string, address: string) => {
    const result = attemptOs(`flows of port ${id}`, () => {
      const port = this.#find().find((one) => one.id === id)
      if (port === undefined) return err('not_found', `there is no port ${id} on this sled`)
      const adopted = this.#around.namespaces.visit(address, (from) => {
        adoptFlows(port, from)
        return ok(null)
      })
      return adopted ?? err('source_gone', `port ${id} is not at ${address} any more`)
    })
    return result.ok ? result.value : result
  }

  readonly setV2p = (vni: number, mappings: readonly V2pMapping[]) =>
    attempt(`mappings of VPC ${vni}`, () => {
      if (this.#underlay.rack === null) return null
      this.#told.set(vni, mappings)
      const { names, namespaces } = this.#around
      // Made with its first port otherwise.
      if (namespaces.find(names.vpc(vni)) !== null) this.#vpc(this.#sled(), vni)
      return null
    })

  readonly setNat = (entries: readonly NatEntry[]) =>
    attempt("where the rack's external addresses are", () => {
      const { rack } = this.#underlay
      if (rack === null || rack.trunk !== null) return null
      const sled = this.#sled()
      syncNat(sled, entries)
      this.#syncExternal(sled, this.#find(), null)
      return null
    })

  readonly remove = (id: string) =>
    attemptOs(`remove ${id}`, () => {
      const port = this.#find().find((one) => one.id === id)
      if (port !== undefined) this.#removePort(port)
      else if (id.startsWith('oxControl')) removeControl(this.#around, id)
      this.#removeEmptyVpcs()
      return null
    })

  readonly list = () =>
    attemptOs('list links', (): readonly LinkView[] => [
      ...this.#find().map(viewOf),
      ...listControls(this.#around),
    ])

  readonly destroyAll = () =>
    attemptOs("remove the sled's network", () => {
      const { names, namespaces } = this.#around
      this.#dhcp.stopAll()
      // First of all what is outside: the kernel ends namespaces in its own time.
      const trunk = this.#underlay.rack?.trunk ?? null
      const { netns, link } = cableOf(names, this.#underlay)
      const far = namespaces.find(netns)
      if (far !== null && trunk !== null) removeTrunk(far, trunk)
      else far?.rt.removeLink(link)
      for (const vni of names.vnis()) removeVpc(this.#around, vni)
      for (const path of names.all()) namespaces.remove(path)
      this.#current.clear()
      return null
    })

  readonly close = () => {
    this.#dhcp.stopAll()
    this.#around.namespaces.close()
  }

  readonly dhcpCounts = (id: string) => this.#dhcp.counts(id)

  #find(): readonly GuestPort[] {
    return findGuestPorts(this.#around.names, this.#around.namespaces)
  }

  /** All ports, none of them this one in another VPC: a port that has moved is made anew. */
  #findInVpc(spec: PortSpec): readonly GuestPort[] {
    const found = this.#find()
    const moved = found.find(({ id, vni }) => id === spec.id && vni !== spec.vni)
    if (moved === undefined) return found
    this.#removePort(moved)
    return this.#find()
  }

  /** The sled's namespace, brought up to date once in a process. */
  #sled(): Namespace {
    const { names, namespaces } = this.#around
    const found = namespaces.find(names.sled)
    if (found !== null && this.#current.has(found.incarnation)) return found
    const sled = ensureUnderlay(this.#around, this.#underlay)
    this.#current.add(sled.incarnation)
    return sled
  }

  #vpc(sled: Namespace, vni: number): Namespace {
    const { names, namespaces } = this.#around
    const found = namespaces.find(names.vpc(vni))
    const isCurrent = found !== null && this.#current.has(found.incarnation) && isJoined(found)
    const vpc = isCurrent ? found : ensureVpc(this.#around, sled, vni)
    this.#current.add(vpc.incarnation)
    if (this.#underlay.rack !== null) this.#joinOthers({ sled, vpc }, vni)
    return vpc
  }

  /** Leads to the VPC's guests on other sleds, as far as they are known. */
  #joinOthers(at: { readonly sled: Namespace; readonly vpc: Namespace }, vni: number): void {
    const own = this.#address()
    ensureOverlay(at, { vni, own, mtu: this.#around.mtu })
    const told = this.#told.get(vni)
    if (told === undefined) return
    const ports = this.#find().filter((port) => port.vni === vni)
    syncV2p(at.vpc, told, { own, ports })
  }

  /** The sled's own address on the underlay. */
  #address(): string {
    const address = this.#underlay.addresses.map(addressOf).find((text) => text.includes(':'))
    if (address !== undefined) return address
    throw new NotPossible('the sled has no IPv6 address on its underlay: give it one')
  }

  /** The gateway's address. Throws when the port's addresses do not fit together or are ours. */
  #checkSpec(spec: PortSpec, { external, snat }: Note): string {
    const gateway = gatewayOf(spec.subnet)
    if (!overlap(prefixOf(spec.subnet), prefixOf(`${spec.ip}/32`)) || spec.ip === gateway) {
      throw new NotPossible(`${spec.ip} is no address for a guest in subnet ${spec.subnet}`)
    }
    const { uplink } = this.#underlay
    for (const own of [addressOf(uplink.gateway), addressOf(uplink.address)]) {
      if (own !== external && own !== snat?.[0]) continue
      throw new AddressTaken(`external address ${own} is the uplink's: take it out of the IP pool`)
    }
    return gateway
  }

  #makeTap(namespace: Namespace, others: readonly GuestPort[], note: Note): Link {
    const used = new Set(others.map(({ link }) => link.name))
    let number = 0
    while (used.has(`${tapPrefix}${number}`)) number += 1
    const name = `${tapPrefix}${number}`
    return namespace.inside(() => {
      this.#trace(`make tap ${name}`)
      using tap = attachTap(name)
      const link = namespace.rt.link(name)
      if (link === null) throw new NotPossible(`tap ${name} is gone as soon as it is made`)
      const alias = JSON.stringify(note)
      namespace.rt.change(link, { alias })
      this.#trace(`keep tap ${name}`)
      keepTap(tap)
      return { ...link, alias }
    })
  }

  #configureTap(
    { namespace, link, ip, mac, ...port }: GuestPort,
    wanted: { readonly subnet: string; readonly gateway: string; readonly old: Note | null },
  ): void {
    const { old } = wanted
    const { rt } = namespace
    if (old !== null && old.ip !== ip) {
      rt.removeRoute({ destination: `${old.ip}/32`, link: link.index, via: null, table: tableMain })
      rt.removeNeighbour(link, old.ip)
    }
    const alias = JSON.stringify({ id: port.id, ip, mac, external: port.external, snat: port.snat })
    const change = { mac: gatewayMac, mtu: this.#around.mtu, isUp: true } as const
    rt.change(link, alias === link.alias ? change : { ...change, alias })
    rt.setAddresses(link, [`${wanted.gateway}/32`])
    // Unknown addresses of the VPC are nowhere: they must not leave by the way out.
    rt.ensureRoute({ destination: network(wanted.subnet), link: null, via: null, table: tableMain })
    if (!this.#isElsewhere({ namespace, ip })) {
      rt.ensureRoute({ destination: `${ip}/32`, link: link.index, via: null, table: tableMain })
    }
    rt.ensureNeighbour(link, ip, mac)
  }

  /** Whether Nexus says that an address of a VPC is on another sled. */
  #isElsewhere({ namespace, ip }: Pick<GuestPort, 'namespace' | 'ip'>): boolean {
    return this.#underlay.rack !== null && isElsewhere(namespace, ip)
  }

  #applyRules(
    port: GuestPort,
    rules: readonly PortRule[],
    others: readonly GuestPort[],
    isNew: boolean,
  ): void {
    const own = rulesFor(rules, port)
    const here = [...others.filter(({ vni }) => vni === port.vni), port]
    const host = this.#hostAddresses()
    const text = `${guardText(port)}${portRulesText(port, own)}`
    const whole = `${text}${portMapsText(here, host, 'replace')}`
    const grown = isNew ? `${text}${portMapsText([port], host, 'add')}` : null
    applyGrowing(port.namespace, { grown, whole }, `set the rules of ${port.link.name}`)
    if (!isNew) pruneFlows(port, own)
  }

  /**
   * What guests must not reach although it is outside: the machine we run on, where the outside is
   * its own network. As of now: addresses that it gets later are known at the next change.
   */
  #hostAddresses(): readonly string[] {
    const outside = this.#around.namespaces.find(null)
    if (this.#underlay.uplink.outside_netns !== null || outside === null) return []
    const addresses = outside.rt.addresses().filter(({ bytes }) => bytes.length === 4)
    return [...new Set(addresses.map(({ bytes }) => [...bytes].join('.')))]
  }

  #syncExternal(sled: Namespace, ports: readonly GuestPort[], added: GuestPort | null): void {
    const isTrunk = (this.#underlay.rack?.trunk ?? null) !== null
    syncExternal(sled, ports, { added, isTrunk })
  }

  #serveDhcp(port: GuestPort, gateway: string, hostname: string): void {
    const { path, incarnation } = port.namespace
    if (path === null) throw new Error('a VPC is a namespace with a name')
    const tap = {
      netns: path,
      link: port.link.name,
      incarnation: `${incarnation} ${port.link.index}`,
    }
    this.#dhcp.serve(port.id, tap, {
      mac: port.mac,
      ip: port.ip,
      gateway,
      resolvers: this.#resolvers,
      hostname,
      mtu: this.#around.mtu,
    })
  }

  /** The tap goes last: as long as it is there, so is the note of what else is. */
  #removePort(port: GuestPort): void {
    const { names, namespaces } = this.#around
    this.#dhcp.stop(port.id)
    const others = this.#find().filter(({ id }) => id !== port.id)
    const sled = namespaces.find(names.sled)
    if (sled !== null) this.#syncExternal(sled, others, null)
    const neighbours = others.filter(({ vni }) => vni === port.vni)
    const text = removePortText(port, portMapsText(neighbours, this.#hostAddresses(), 'replace'))
    port.namespace.nft.apply(text, `remove the rules of ${port.link.name}`)
    if (this.#isElsewhere(port)) leaveFlows(port, neighbours)
    else forgetFlows(port)
    port.namespace.rt.removeLink(port.link.name)
    this.#removeEmptyVpcs()
  }

  #removeEmptyVpcs(): void {
    const inUse = new Set(this.#find().map(({ vni }) => vni))
    for (const vni of this.#around.names.vnis()) {
      if (inUse.has(vni)) continue
      removeVpc(this.#around, vni)
      this.#told.delete(vni)
    }
  }
}

const viewOf = ({ id, ip, link, namespace }: GuestPort): LinkView => ({
  id,
  link: link.name,
  netns: namespace.path,
  addresses: [ip],
})

/** A subnet without host bits: the kernel takes no route with them. */
function network(subnet: string): string {
  const { bytes, length } = prefixOf(subnet)
  const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0
  bytes.writeUInt32BE((bytes.readUInt32BE(0) & mask) >>> 0)
  return `${[...bytes].join('.')}/${length}`
}
