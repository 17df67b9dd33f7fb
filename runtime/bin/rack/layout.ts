/** Where a rack keeps what. Everything below the state directory is the rack's own. */
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where a rack's state is when nobody says: system-wide for root, else the user's own. */
export function defaultState(): string {
  if (process.getuid?.() === 0) return '/var/lib/luge'
  const base = process.env['XDG_STATE_HOME']
  return join(base === undefined || base === '' ? join(homedir(), '.local/state') : base, 'luge')
}

export const sledState = (state: string, number: number): string => join(state, `sled${number}`)
/** Of the k-th Nexus, k from 1. */
export const nexusState = (state: string, number: number): string =>
  join(state, `nexus${suffix(number)}`)
export const nexusZoneName = (number: number): string => `oxz_nexus${suffix(number)}`
export const isNexusZone = (zone: string): boolean => /^oxz_nexus[0-9]*$/.test(zone)
/** The first is called as if there were one only. */
const suffix = (number: number): string => (number === 1 ? '' : String(number))

/** The rack's certificate authority. No process but `luge rack` opens it. */
export const authorityState = (state: string): string => join(state, 'authority')

/** The files of a sled's directory that more than one program knows. */
export const sledFiles = (sled: string) =>
  ({
    config: join(sled, 'sled.json'),
    identity: join(sled, 'supervisor.json'),
    control: join(sled, 'control.sock'),
    /** Where the sled agent's API is, in sim. */
    internal: join(sled, 'internal.sock'),
    journal: join(sled, 'journal.sqlite'),
    log: join(sled, 'supervisor.log'),
    zones: join(sled, 'zones'),
    tls: join(sled, 'tls'),
  }) as const

/** The files of Nexus' directory, as the host sees them; the zone sees it as /var/nexus. */
export const nexusFiles = (nexus: string) =>
  ({
    config: join(nexus, 'config.toml'),
    wire: join(nexus, 'wire.sock'),
    control: join(nexus, 'control.sock'),
    /** Where the internal API is, in sim. */
    internal: join(nexus, 'internal.sock'),
    log: join(nexus, 'nexus.log'),
    tls: join(nexus, 'tls'),
    /** What the API shows to its clients: a copy of the operator's. */
    certs: join(nexus, 'certs'),
  }) as const
