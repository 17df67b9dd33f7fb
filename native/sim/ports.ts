/** The sled's network in memory, with scripted faults. */
import type { LinkView, Ports, PortSpec } from '#native/platform/ports.ts'
import { err, ok } from '#runtime/result.ts'

export interface SimPorts extends Ports {
  /** Names of methods that fail with `os_failed` while they are in here. */
  readonly faults: Set<string>
  /** What was asked for, for tests to look at. */
  readonly specs: ReadonlyMap<string, PortSpec>
}

export function simPorts(): SimPorts {
  const faults = new Set<string>()
  const links = new Map<string, LinkView>()
  const specs = new Map<string, PortSpec>()
  const guarded = (name: string) =>
    faults.has(name) ? err('os_failed', `${name} fails as scripted`) : null
  const freeName = () => {
    const taken = new Set([...links.values()].map(({ link }) => link))
    let number = 0
    while (taken.has(`opte${number}`)) number += 1
    return `opte${number}`
  }
  return {
    faults,
    specs,
    ensureUnderlay: (spec) =>
      guarded('ensureUnderlay') ??
      ok({ id: 'underlay0', link: 'underlay0', netns: null, addresses: [...spec.addresses] }),
    ensureControl: (spec) => {
      const fault = guarded('ensureControl')
      if (fault !== null) return fault
      const view = { id: spec.id, link: spec.id, netns: null, addresses: [spec.address] }
      links.set(spec.id, view)
      return ok(view)
    },
    ensurePort: (spec) => {
      const fault = guarded('ensurePort')
      if (fault !== null) return fault
      const link = links.get(spec.id)?.link ?? freeName()
      const view = { id: spec.id, link, netns: null, addresses: [spec.ip, ...spec.external_ips] }
      links.set(spec.id, view)
      specs.set(spec.id, spec)
      return ok(view)
    },
    setRules: (id, firewall_rules) => {
      const fault = guarded('setRules')
      if (fault !== null) return fault
      const spec = specs.get(id)
      if (spec === undefined) return err('not_found', `there is no port ${id}`)
      specs.set(id, { ...spec, firewall_rules })
      return ok(null)
    },
    remove: (id) => {
      const fault = guarded('remove')
      if (fault !== null) return fault
      links.delete(id)
      specs.delete(id)
      return ok(null)
    },
    list: () => guarded('list') ?? ok([...links.values()]),
    destroyAll: () => {
      links.clear()
      specs.clear()
      return ok(null)
    },
    close: () => undefined,
  }
}
