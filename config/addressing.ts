/**
 * The rack's addressing plan (RFD 63 as Omicron had it on 2022-11-11): which subnet a sled has and
 * which of its addresses is whose. Pure data; an index is the last 16-bit group of an address.
 */

/** Address indices inside a sled's /64. Those up to `reserved_max` are the rack's own. */
export const sledAddressIndex = {
  sled_agent: 1,
  switch_zone: 2,
  cockroach: 3,
  nexus: 4,
  oximeter: 5,
  clickhouse: 6,
  reserved_max: 16,
} as const

/** As many sleds as a rack has places for. */
export const sledsMax = 32

/** Of the members of Nexus on a sled: the first has the RFD's, others what is left of the rack's own. */
export const nexusMembersMax = 11

/** The address index of the k-th Nexus of a sled, k from 1. */
export function nexusAddressIndex(member: number): number {
  if (!Number.isInteger(member) || member < 1 || member > nexusMembersMax) {
    throw new Error(`Nexus number ${member} is outside 1…${nexusMembersMax}`)
  }
  return member === 1 ? sledAddressIndex.nexus : sledAddressIndex.clickhouse + member - 1
}

/** Address indices inside a DNS /64. */
export const dnsAddressIndex = { server: 1, global_zone: 2 } as const

/** The first 48 bits of the availability zone, as the shipped config-rss.toml has it. */
const azPrefix = 'fd00:1122:3344'
/** The rack's byte, above the sled's byte in the fourth group. */
const rackByte = 0x01

/** The availability zone's, which all underlay addresses of its racks are within. */
export const azSubnet = `${azPrefix}::/48`

/**
 * Both ends of a sled's cable to the one with the uplink, `address/length`: IPv4 that no guest ever sees.
 * The sled's number is the third byte, as it is the last of its underlay subnet.
 */
export function trunkAddresses(sled: number): {
  readonly gateway: string
  readonly address: string
} {
  const subnet = `169.254.${sled}`
  return { gateway: `${subnet}.1/30`, address: `${subnet}.2/30` }
}

/** A sled's /64 without its length. `sled` counts from 1 to 255. */
export function sledSubnet(sled: number): string {
  if (!Number.isInteger(sled) || sled < 1 || sled > 255) {
    throw new Error(`sled number ${sled} is outside 1…255`)
  }
  return `${azPrefix}:${(rackByte * 256 + sled).toString(16)}::`
}

/** An address of a sled's subnet, without its length. */
export function sledAddress(sled: number, index: number): string {
  return `${sledSubnet(sled)}${index.toString(16)}`
}

/** An address of the k-th DNS subnet (k from 1), without its length. */
export function dnsAddress(subnet: number, index: number): string {
  return `${azPrefix}:${subnet.toString(16)}::${index.toString(16)}`
}

/** The zone that the rack's own services are named in. */
export const dnsZone = 'control-plane.oxide.internal'

/** Built-in identities that the guide's commands use (spec of 2022-11-11). */
export const wellKnown = {
  user_privileged: '001de000-05e4-4000-8000-000000004007',
  user_unprivileged: '001de000-05e4-4000-8000-000000060001',
  nexus_zone: 'e6bff1ff-24fb-49dc-a54e-c6a350cd4d6c',
} as const
