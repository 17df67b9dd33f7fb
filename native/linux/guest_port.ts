/**
 * What the kernel itself remembers of a guest's port: a small JSON text, kept as the alias of its
 * tap. A tap has it before it is made to stay, so there is none without.
 */
import { Type, type Static } from 'typebox'
import type { PortSpec } from '#native/platform/ports.ts'
import { readAlias } from './alias.ts'
import type { Names, Namespace, Namespaces } from './namespace.ts'
import type { Link } from './rtnetlink.ts'

const note = Type.Object({
  id: Type.String(),
  ip: Type.String(),
  mac: Type.String(),
  /** The address that is translated one to one; null: none. */
  external: Type.Union([Type.String(), Type.Null()]),
  /** Shared address, first and last port; null: none. */
  snat: Type.Union([Type.Tuple([Type.String(), Type.Integer(), Type.Integer()]), Type.Null()]),
})
export type Note = Static<typeof note>

/** A guest's port as found in the kernel. */
export interface GuestPort extends Note {
  readonly vni: number
  readonly namespace: Namespace
  readonly link: Link
}

export const tapPrefix = 'opte'

/** Only a primary NIC has external addresses, and of those only the first (spec/01 §12). */
export function noteOf(spec: PortSpec): Note {
  const { source_nat } = spec
  return {
    id: spec.id,
    ip: spec.ip,
    mac: spec.mac,
    external: spec.primary ? (spec.external_ips[0] ?? null) : null,
    snat:
      spec.primary && source_nat !== null
        ? [source_nat.ip, source_nat.first_port, source_nat.last_port]
        : null,
  }
}

/** Every guest port of the sled. */
export function findGuestPorts(names: Names, namespaces: Namespaces): readonly GuestPort[] {
  return names.vnis().flatMap((vni) => {
    const namespace = namespaces.find(names.vpc(vni))
    if (namespace === null) return []
    return namespace.rt.links().flatMap((link) => {
      const read = link.name.startsWith(tapPrefix) ? readAlias(note, link.alias) : null
      return read === null ? [] : [{ ...read, vni, namespace, link }]
    })
  })
}

/** Why another port stands in the way of one, as a sentence; null when none does. */
export function conflictOf(
  wanted: Note & { readonly vni: number },
  others: ReadonlyArray<Note & { readonly vni: number }>,
): string | null {
  for (const other of others) {
    if (other.id === wanted.id) continue
    if (other.vni === wanted.vni && other.ip === wanted.ip) {
      return `${wanted.ip} is already the address of port ${other.id} of VPC ${wanted.vni}`
    }
    const shared = sharedAddress(wanted, other)
    if (shared !== null) return `external address ${shared} is already used by port ${other.id}`
  }
  return null
}

/** An external address that both use, ports considered; null when there is none. */
function sharedAddress(a: Note, b: Note): string | null {
  if (a.external !== null && [b.external, b.snat?.[0]].includes(a.external)) return a.external
  if (b.external !== null && a.snat?.[0] === b.external) return b.external
  if (a.snat === null || b.snat === null || a.snat[0] !== b.snat[0]) return null
  const areApart = a.snat[2] < b.snat[1] || b.snat[2] < a.snat[1]
  return areApart ? null : `${a.snat[0]} ports ${a.snat[1]}-${a.snat[2]}`
}
