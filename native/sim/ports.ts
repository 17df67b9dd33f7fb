/** The sled's network in memory, with scripted faults. It refuses what the real one refuses. */
import type {
  ControlSpec,
  LinkView,
  NatEntry,
  Ports,
  PortSpec,
  V2pMapping,
} from '#native/platform/ports.ts'
import { err, ok, type Result } from '#runtime/result.ts'

export interface SimPorts extends Ports {
  /** Names of methods that fail with `os_failed` while they are in here. */
  readonly faults: Set<string>
  /** Guests' ports as they were last asked for, for tests to look at. */
  readonly specs: ReadonlyMap<string, PortSpec>
  /** What was last said of guests' places by VNI, and of external addresses', for tests to look at. */
  readonly told: {
    readonly v2p: ReadonlyMap<number, readonly V2pMapping[]>
    readonly nat: readonly NatEntry[]
  }
}

/** Outlives every actor that uses it: the world of a test, or of one process. */
export function simPorts(): SimPorts {
  const links = new Map<string, LinkView>()
  const specs = new Map<string, PortSpec>()
  const holders = new Holders()
  const names = new Names()
  const faults = new Set<string>()
  const fault: Fault = (name, on) =>
    faults.has(name) ? err('os_failed', `${name} of ${on} fails as scripted`) : null

  const ensurePort = (spec: PortSpec) => {
    const failed = fault('ensurePort', spec.id)
    if (failed !== null) return failed
    const conflict = conflictOf(spec, holders.around(spec))
    if (conflict !== null) return err('address_taken', `port ${spec.id}: ${conflict}`)
    const link = links.get(spec.id)?.link ?? names.take()
    const view: LinkView = { id: spec.id, link, netns: null, addresses: [spec.ip] }
    holders.release(specs.get(spec.id))
    holders.hold(spec)
    links.set(spec.id, view)
    specs.set(spec.id, spec)
    return ok(view)
  }

  const ensureControl = (spec: ControlSpec) => {
    const failed = fault('ensureControl', spec.id)
    if (failed !== null) return failed
    const address = spec.address.replace(/\/.*$/, '')
    const view: LinkView = { id: spec.id, link: spec.id, netns: null, addresses: [address] }
    links.set(spec.id, view)
    return ok(view)
  }

  return {
    faults,
    specs,
    ...betweenSleds(fault, specs),
    ensureUnderlay: ({ addresses }) =>
      fault('ensureUnderlay', 'the sled') ?? ok(underlayOf(addresses)),
    ensureControl,
    ensurePort,
    setRules: (id, firewall_rules) => {
      const spec = specs.get(id)
      if (spec === undefined) return err('not_found', `there is no port ${id} on this sled`)
      const failed = fault('setRules', id)
      if (failed !== null) return failed
      specs.set(id, { ...spec, firewall_rules })
      return ok(null)
    },
    remove: (id) => {
      const failed = fault('remove', id)
      if (failed !== null) return failed
      holders.release(specs.get(id))
      if (specs.delete(id)) names.give(links.get(id)?.link)
      links.delete(id)
      return ok(null)
    },
    list: () => fault('list', 'links') ?? ok([...links.values()]),
    destroyAll: () => {
      const failed = fault('destroyAll', 'the sled')
      if (failed !== null) return failed
      holders.clear()
      names.clear()
      links.clear()
      specs.clear()
      return ok(null)
    },
    close: () => undefined,
  }
}

type Fault = (name: string, on: string) => Result<never, 'os_failed'> | null

/** What concerns other sleds: it is kept, and nothing follows from it. */
function betweenSleds(
  fault: Fault,
  specs: ReadonlyMap<string, PortSpec>,
): Pick<SimPorts, 'told' | 'offer' | 'adopt' | 'setV2p' | 'setNat'> {
  const v2p = new Map<number, readonly V2pMapping[]>()
  const told = { v2p, nat: [] as readonly NatEntry[] }
  return {
    told,
    offer: (id) =>
      fault('offer', id) ??
      (specs.has(id) ? ok('sim') : err('not_found', `there is no port ${id} on this sled`)),
    adopt: (id) =>
      fault('adopt', id) ??
      (specs.has(id) ? ok(null) : err('not_found', `there is no port ${id} on this sled`)),
    setV2p: (vni, mappings) => {
      const failed = fault('setV2p', `VPC ${vni}`)
      if (failed !== null) return failed
      v2p.set(vni, mappings)
      return ok(null)
    },
    setNat: (entries) => {
      const failed = fault('setNat', 'the rack')
      if (failed !== null) return failed
      told.nat = entries
      return ok(null)
    },
  }
}

const underlayOf = (addresses: readonly string[]): LinkView => ({
  id: 'underlay0',
  link: 'underlay0',
  netns: null,
  addresses: addresses.map((address) => address.replace(/\/.*$/, '')),
})

/** Names of ports' links: one that is free again is given first. */
class Names {
  readonly #spare: string[] = []
  #given = 0

  take(): string {
    const spare = this.#spare.pop()
    if (spare !== undefined) return spare
    this.#given += 1
    return `opte${this.#given - 1}`
  }

  give(name: string | undefined): void {
    if (name !== undefined) this.#spare.push(name)
  }

  clear(): void {
    this.#spare.length = 0
    this.#given = 0
  }
}

/** Ports by what they can be in each other's way for: whoever comes need not look at all of them. */
class Holders {
  readonly #ports = new Map<string, Map<string, PortSpec>>()

  /** Ports that have an address of this one's. */
  around(spec: PortSpec): readonly PortSpec[] {
    return addressesOf(spec).flatMap((key) => [...(this.#ports.get(key)?.values() ?? [])])
  }

  hold(spec: PortSpec): void {
    for (const key of addressesOf(spec)) {
      this.#ports.set(key, (this.#ports.get(key) ?? new Map()).set(spec.id, spec))
    }
  }

  release(spec: PortSpec | undefined): void {
    if (spec === undefined) return
    for (const key of addressesOf(spec)) {
      const ports = this.#ports.get(key)
      ports?.delete(spec.id)
      if (ports?.size === 0) this.#ports.delete(key)
    }
  }

  clear(): void {
    this.#ports.clear()
  }
}

const addressesOf = (spec: PortSpec): readonly string[] => [
  `${spec.vni} ${spec.ip}`,
  ...externalOf(spec).map(({ ip }) => ip),
]

function conflictOf(wanted: PortSpec, known: readonly PortSpec[]): string | null {
  for (const spec of known) {
    if (spec.id === wanted.id) continue
    if (spec.vni === wanted.vni && spec.ip === wanted.ip) {
      return `${spec.ip} is already the address of port ${spec.id} of VPC ${spec.vni}`
    }
    const shared = externalOf(wanted).find((a) => externalOf(spec).some((b) => collide(a, b)))
    if (shared !== undefined) {
      return `external address ${shared.ip} is already used by port ${spec.id}`
    }
  }
  return null
}

interface External {
  readonly ip: string
  readonly first: number
  readonly last: number
}
function externalOf({ primary, external_ips, source_nat }: PortSpec): readonly External[] {
  if (!primary) return []
  const whole = external_ips.slice(0, 1).map((ip) => ({ ip, first: 0, last: 65_535 }))
  if (source_nat === null) return whole
  return [...whole, { ip: source_nat.ip, first: source_nat.first_port, last: source_nat.last_port }]
}
const collide = (a: External, b: External): boolean =>
  a.ip === b.ip && a.first <= b.last && b.first <= a.last
