/**
 * A trunk: the cable from a sled without an uplink of its own to the one that has it. Its far end is
 * named after the sled and notes, for whoever looks there, how the sled is reached.
 */
import { Type, type Static } from 'typebox'
import { addressOf, ipText, prefixOf } from './addresses.ts'
import { readAlias } from './alias.ts'
import type { Namespace } from './namespace.ts'
import { type Link, type Rtnetlink, tableMain } from './rtnetlink.ts'

/** Far ends are named so, and numbered. */
export const trunkLinks = 'sled'
/** Marks what is for a sled's guests, and numbers the routing table that leads there. */
export const trunkMark = (number: number): number => 0x02000000 + number

const note = Type.Object({
  /** The sled's address on the underlay. */
  sled: Type.String(),
  /** Its end of the trunk. */
  via: Type.String(),
})
export interface Trunk extends Static<typeof note> {
  readonly link: Link
  readonly number: number
}

/** The ends' addresses for the underlay, link-local, of which each knows the other's. */
export const hops = { near: 'fe80::2', far: 'fe80::1' } as const

interface End {
  readonly namespace: Namespace
  readonly link: Link
}

/** Routes the underlay over a trunk, both ways, and what is steered to the sled. */
export function joinTrunk(
  { near, far }: { readonly near: End; readonly far: End },
  trunk: {
    readonly number: number
    readonly address: string
    readonly prefix: string
    /** Of the sled on the underlay; the first is its own. */
    readonly addresses: readonly string[]
  },
): void {
  const { rt } = near.namespace
  const farRt = far.namespace.rt
  const [own = ''] = trunk.addresses
  const via = addressOf(trunk.address)
  farRt.change(far.link, { alias: JSON.stringify({ sled: addressOf(own), via }) })
  // Nobody is asked for a MAC that is known.
  if (far.link.mac !== null) rt.ensureNeighbour(near.link, hops.far, far.link.mac)
  if (near.link.mac !== null) farRt.ensureNeighbour(far.link, hops.near, near.link.mac)
  const table = tableMain
  rt.ensureRoute({ destination: trunk.prefix, link: near.link.index, via: hops.far, table })
  const link = far.link.index
  for (const address of trunk.addresses) {
    farRt.ensureRoute({ destination: subnetOf(address), link, via: hops.near, table })
  }
  const mark = trunkMark(trunk.number)
  farRt.ensureRoute({ destination: '0.0.0.0/0', link, via, table: mark })
  farRt.ensureRule(mark, mark)
}

/** An underlay address's /64. */
function subnetOf(address: string): string {
  const { bytes, length } = prefixOf(address)
  const host = Buffer.alloc(bytes.length)
  bytes.copy(host, 0, 0, length / 8)
  return `${ipText(host)}/${length}`
}

/** Takes a trunk away; absent is fine. */
export function removeTrunk(
  far: Namespace,
  { link, number }: { link: string; number: number },
): void {
  const mark = trunkMark(number)
  far.rt.removeRule(mark, mark)
  far.rt.removeLink(link)
}

/** The trunks that end here, by their sleds' addresses on the underlay. */
export function findTrunks(rt: Rtnetlink): ReadonlyMap<string, Trunk> {
  const found = rt.links().flatMap((link) => {
    const number = Number(new RegExp(`^${trunkLinks}([0-9]+)$`).exec(link.name)?.[1] ?? Number.NaN)
    const read = Number.isNaN(number) ? null : readAlias(note, link.alias)
    return read === null ? [] : [[read.sled, { ...read, link, number }] as const]
  })
  return new Map(found)
}
