/** From the plan to what each process is started with: a sled's JSON, and Nexus' TOML. */
import { isIP } from 'node:net'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import {
  azSubnet,
  dnsAddress,
  dnsAddressIndex,
  nexusAddressIndex,
  sledAddress,
  sledAddressIndex,
  trunkAddresses,
} from '#config/addressing.ts'
import type { ExternalListener } from '#actors/nexus/config.ts'
import { ports } from '#config/ports.ts'
import type { ServiceZone, SledConfig } from '#config/sled.ts'
import type { InternalListen, WireAddress } from '#config/wire.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { certificateFiles } from './https.ts'
import { writeSocketAddress } from '#actors/http/words.ts'
import { nexusFiles, nexusState, nexusZoneName, sledFiles, sledState } from './layout.ts'
import { home, type RackPlan } from './plan.ts'
import { sledNetns } from '../routes.ts'
import { storeSocketOf } from './store.ts'

/** Where the repository and Node itself are inside a zone. */
const zoneHome = '/opt/luge'
const zoneNode = '/opt/node/bin/node'
const zoneNexus = '/var/nexus'
const zoneConsole = '/var/nexus/static'
const prefix_bits = 64

/** A supervisor's configuration. Pure: the same plan gives the same text at every start. */
export function sledConfigOf(state: string, plan: RackPlan, number: number): SledConfig {
  const sled = plan.sleds.find((candidate) => candidate.number === number)
  if (sled === undefined) throw new Error(`the plan has no sled ${number}`)
  const directory = sledState(state, number)
  const isSim = plan.platform === 'sim'
  const address = sledAddress(number, sledAddressIndex.sled_agent)
  // The rack's services are on its first sled.
  const isFirst = sled === plan.sleds[0]
  const dns = dnsAddress(1, dnsAddressIndex.server)
  return {
    sled_id: sled.id,
    rack_id: plan.rack_id,
    tag: tagOf(plan, number),
    platform: plan.platform,
    state: directory,
    address,
    underlay: {
      addresses: [address, ...(isFirst ? [dns] : [])].map((own) => `${own}/${prefix_bits}`),
      uplink: plan.profile.uplink,
      ...rackOf(plan, number),
    },
    dns: isFirst ? { address: isSim ? '127.0.0.1' : dns, port: plan.dns_port } : null,
    guest_image: join(home, 'out/guest/alpine.img'),
    nexus: membersOf(plan).map((member) => ({
      host: member.id,
      wire: wireOf(state, plan, member.number),
    })),
    tls: hostFiles(sledFiles(directory).tls),
    zones: isFirst ? membersOf(plan).map((member) => nexusZone(state, plan, member.number)) : [],
    internal: internalOf(
      plan,
      isSim ? { path: sledFiles(directory).internal } : { address, port: ports.sled_agent },
    ),
    development: plan.profile.development,
    log: sledFiles(directory).log,
    // All of them are on loopback.
    ...seeingOf(plan, '127.0.0.1', counted(plan.profile.metrics?.sled_port, number)),
  }
}

/** The first sled's kernel objects carry the rack's tag, and the others' their number as well. */
const tagOf = ({ tag, sleds }: RackPlan, number: number): string =>
  number === sleds[0]?.number ? tag : `${tag}s${number}`

/** Of several sleds the first has the uplink, and the others a trunk to it. */
function rackOf(plan: RackPlan, number: number): Pick<SledConfig['underlay'], 'rack'> {
  const [first] = plan.sleds
  if (first === undefined || plan.sleds.length === 1) return {}
  if (number === first.number) return { rack: { prefix: azSubnet, trunk: null } }
  const netns = sledNetns({ tag: tagOf(plan, first.number) })
  const trunk = { netns, link: `sled${number}`, number, ...trunkAddresses(number) }
  return { rack: { prefix: azSubnet, trunk } }
}

/** A member of Nexus as the plan has it. */
export interface PlannedMember {
  readonly id: string
  /** From 1. */
  readonly number: number
  readonly internal_address: string
  /** Where it serves the API: the profile's port, and one more for each. */
  readonly external: RackPlan['profile']['external']
}

export function membersOf({ nexus, sleds, profile }: RackPlan): readonly PlannedMember[] {
  const { address, port } = profile.external
  return nexus.map(({ id }, index) => ({
    id,
    number: index + 1,
    internal_address: sledAddress(sleds[0]?.number ?? 1, nexusAddressIndex(index + 1)),
    external: { address, port: port + index },
  }))
}

/** Where the API is had. */
export const urlOf = ({ address, port }: PlannedMember['external']): string =>
  `http://${writeSocketAddress(address, port)}`

function memberOf(plan: RackPlan, number: number): PlannedMember {
  const member = membersOf(plan)[number - 1]
  if (member === undefined) throw new Error(`the plan has no Nexus ${number}`)
  return member
}

/** The configuration file of the k-th Nexus. */
export function nexusConfigText(state: string, plan: RackPlan, number: number): string {
  const { id, internal_address } = memberOf(plan, number)
  const isSim = plan.platform === 'sim'
  const directory = isSim ? nexusState(state, number) : zoneNexus
  const { profile } = plan
  const port = profile.metrics?.nexus_port
  return stringify({
    id,
    rack_id: plan.rack_id,
    development: profile.development,
    store: plan.store ?? `sqlite:${join(directory, 'nexus.sqlite')}`,
    external: listenersOf(plan, directory, number),
    own_addresses: ownAddresses(plan),
    ...consoleOf(plan),
    wire: wireOf(state, plan, number),
    internal: internalOf(
      plan,
      isSim
        ? { path: nexusFiles(directory).internal }
        : { address: internal_address, port: ports.nexus_internal },
    ),
    control: nexusFiles(directory).control,
    tls: hostFiles(nexusFiles(directory).tls),
    internal_address,
    members: membersOf(plan).map((member) => ({
      id: member.id,
      internal_address: member.internal_address,
    })),
    dns_address: dnsAddress(1, dnsAddressIndex.server),
    sleds: plan.sleds.map((sled) => sled.id),
    // On sim all of them are on loopback.
    ...(isSim
      ? seeingOf(plan, '127.0.0.1', counted(port, number))
      : seeingOf(plan, internal_address, port)),
    // From its zone Nexus reaches no collector: its spans go out with its sled's.
    ...(profile.telemetry === undefined || isSim
      ? {}
      : { telemetry: { sample_ratio: profile.telemetry.sample_ratio } }),
    authn: {
      schemes: profile.authn_schemes,
      session_idle_timeout_minutes: profile.session_idle_timeout_minutes,
      session_absolute_timeout_minutes: profile.session_absolute_timeout_minutes,
    },
  })
}

/** The k-th of consecutive ports, k from 1. */
const counted = (port: number | undefined, number: number): number | undefined =>
  port === undefined ? undefined : port + number - 1

/** Whoever comes there has a certificate of the rack, unless the profile says otherwise. */
const internalOf = ({ profile }: RackPlan, at: WireAddress): InternalListen => ({
  at,
  plain: profile.internal?.plain ?? false,
})

/** The console, which a zone sees in a place of its own. */
function consoleOf({ profile, platform }: RackPlan) {
  if (profile.console === undefined) return {}
  const static_dir = platform === 'sim' ? profile.console.static_dir : zoneConsole
  return { console: { static_dir, cache_control_max_age_minutes: 10 } }
}

/** Where the k-th Nexus serves the API: plain, and over TLS where the profile says so. */
function listenersOf(plan: RackPlan, directory: string, number: number): ExternalListener[] {
  const { external } = memberOf(plan, number)
  const { https } = plan.profile
  if (https === undefined) return [external]
  const tls = certificateFiles(nexusFiles(directory).certs)
  return [external, { address: https.address, port: https.port + number - 1, tls }]
}

/** Both ends of the uplink, and where the API is served. */
function ownAddresses({ profile: { uplink, external, https } }: RackPlan): string[] {
  const ends = [uplink.gateway, uplink.address].map((end) => end.split('/', 1).join(''))
  const served = [external, ...(https === undefined ? [] : [https])].map(({ address }) => address)
  return [...new Set([...ends, ...served])].filter((address) => isIP(address) !== 0)
}

/** What the profile says of metrics and traces. */
function seeingOf({ profile }: RackPlan, address: string, port: number | undefined) {
  return {
    ...(port === undefined ? {} : { metrics: { address, port } }),
    ...(profile.telemetry === undefined ? {} : { telemetry: profile.telemetry }),
  }
}

/** Where sleds reach Nexus: on the underlay, or through a unix socket where there is none. */
function wireOf(state: string, plan: RackPlan, number: number): WireAddress {
  if (plan.platform === 'sim') return { path: nexusFiles(nexusState(state, number)).wire }
  return { address: memberOf(plan, number).internal_address, port: ports.nexus_wire }
}

function nexusZone(state: string, plan: RackPlan, number: number): ServiceZone {
  const directory = nexusState(state, number)
  const { internal_address } = memberOf(plan, number)
  const name = nexusZoneName(number)
  const listen = listenersOf(plan, directory, number).map(({ address, port }) => ({
    address,
    port,
  }))
  const log = nexusFiles(directory).log
  const script = 'runtime/bin/nexus.ts'
  if (plan.platform === 'sim') {
    return {
      name,
      control: null,
      args: [process.execPath, join(home, script), nexusFiles(directory).config],
      env: [],
      mounts: [],
      listen,
      log,
    }
  }
  return {
    name,
    control: {
      id: `oxControlService${number - 1}`,
      address: `${internal_address}/${prefix_bits}`,
    },
    args: [zoneNode, join(zoneHome, script), nexusFiles(zoneNexus).config],
    // It reads there what other programs of the host have compiled, and cannot write.
    env: [
      `NODE_COMPILE_CACHE=${join(zoneHome, 'node_modules/.cache/luge')}`,
      'NODE_COMPILE_CACHE_PORTABLE=1',
    ],
    mounts: [
      { source: home, destination: zoneHome, read_only: true },
      { source: process.execPath, destination: zoneNode, read_only: true },
      { source: directory, destination: zoneNexus, read_only: false },
      ...storeMounts(plan),
      ...consoleMounts(plan),
      // Its key and certificates, and no other's: it may use them, not change them.
      {
        source: nexusFiles(directory).tls,
        destination: nexusFiles(zoneNexus).tls,
        read_only: true,
      },
    ],
    listen,
    log,
  }
}

const consoleMounts = ({ profile: { console } }: RackPlan): ServiceZone['mounts'] =>
  console === undefined
    ? []
    : [{ source: console.static_dir, destination: zoneConsole, read_only: true }]

/** A database on a unix socket is seen in the zone where the host has it; others are on the underlay. */
function storeMounts(plan: RackPlan): ServiceZone['mounts'] {
  const directory = storeSocketOf(plan)
  return directory === null ? [] : [{ source: directory, destination: directory, read_only: false }]
}
