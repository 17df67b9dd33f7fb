/** Service zones' links on the underlay, each zone in a namespace of its own. */
import type { ControlSpec, LinkView } from '#native/platform/ports.ts'
import { addressOf, ipText } from './addresses.ts'
import { AddressTaken, NotPossible } from './failure.ts'
import type { Namespace, Namespaces, Names } from './namespace.ts'
import { tableMain } from './rtnetlink.ts'
import { stub, type Surroundings, up } from './underlay.ts'

const prefix = 'oxControl'
const kernelPrefix = 'ox'
const name_bytes_max = 15

/**
 * The kernel's name of a control link: `oxControlService0` is longer than it allows, so the link is
 * `oxService0` there and has the long one as its alternative name.
 */
function kernelName(id: string): string {
  const name = id.startsWith(prefix) ? `${kernelPrefix}${id.slice(prefix.length)}` : ''
  if (name.length > kernelPrefix.length && name.length <= name_bytes_max) return name
  throw new NotPossible(`"${id}" is no name for a control link: it is ${prefix}, a kind, a number`)
}

/** Makes what is missing and corrects what differs. */
export function ensureControl(
  around: Surroundings,
  sled: { readonly namespace: Namespace; readonly address: string },
  spec: ControlSpec,
): LinkView {
  const { names, namespaces, mtu } = around
  const name = kernelName(spec.id)
  const path = names.zone(spec.zone)
  const elsewhere = findControl(names, namespaces, spec.id)
  if (elsewhere !== null && elsewhere.path !== path) {
    throw new AddressTaken(`control link ${spec.id} is already in ${elsewhere.path}`)
  }
  const zone = namespaces.ensure(path)
  zone.configure({
    'ipv6/conf/all/accept_dad': '0',
    'ipv6/conf/default/accept_dad': '0',
    'ipv6/conf/default/accept_ra': '0',
  })
  up(zone.rt, 'lo')
  if (zone.rt.link(name) === null) {
    // Its other end in the sled goes with it, but one without the other is not ruled out.
    sled.namespace.rt.removeLink(name)
    zone.withFd((fd) => {
      sled.namespace.rt.createVeth({ name, mtu }, { name, mtu }, fd)
    })
  }
  const bridge = up(sled.namespace.rt, stub)
  sled.namespace.rt.change(up(sled.namespace.rt, name), { master: bridge.index })
  const link = up(zone.rt, name)
  if (name !== spec.id) zone.rt.ensureAltName(link, spec.id)
  zone.rt.setAddresses(link, [spec.address])
  zone.rt.ensureRoute({
    destination: '::/0',
    link: link.index,
    via: sled.address,
    table: tableMain,
  })
  return { id: spec.id, link: spec.id, netns: path, addresses: [addressOf(spec.address)] }
}

/** The namespace that a control link is in; null when there is no such link. */
function findControl(names: Names, namespaces: Namespaces, id: string): Namespace | null {
  const name = kernelName(id)
  for (const path of names.zones()) {
    const zone = namespaces.find(path)
    if (zone !== null && zone.rt.link(name) !== null) return zone
  }
  return null
}

export function listControls({ names, namespaces }: Surroundings): readonly LinkView[] {
  return names.zones().flatMap((path) => {
    const zone = namespaces.find(path)
    if (zone === null) return []
    const addresses = zone.rt.addresses()
    return controlsIn(zone).map(({ index, name }) => ({
      id: `${prefix}${name.slice(kernelPrefix.length)}`,
      link: `${prefix}${name.slice(kernelPrefix.length)}`,
      netns: path,
      addresses: addresses
        .filter(({ link, bytes }) => link === index && bytes[0] !== 0xfe)
        .map(({ bytes }) => ipText(bytes)),
    }))
  })
}

const controlsIn = (zone: Namespace) =>
  zone.rt.links().filter(({ name, kind }) => kind === 'veth' && name.startsWith(kernelPrefix))

/** Removes a control link, and its namespace with the last one in it; absent is fine. */
export function removeControl({ names, namespaces }: Surroundings, id: string): void {
  const zone = findControl(names, namespaces, id)
  zone?.rt.removeLink(kernelName(id))
  // Also what an interrupted attempt left: a zone's namespace without any link is nobody's.
  for (const path of names.zones()) {
    const found = namespaces.find(path)
    if (found === null || controlsIn(found).length === 0) namespaces.remove(path)
  }
}
