/** Zones: illumos zones, OCI containers, or plain child processes in sim. */
import type { Result } from '#runtime/result.ts'

export interface ZoneConfig {
  readonly name: string
  readonly args: readonly string[]
  readonly env: readonly string[]
  readonly mounts: ReadonlyArray<{
    readonly source: string
    readonly destination: string
    readonly read_only: boolean
  }>
  readonly devices: readonly string[]
  readonly netns: string | null
  readonly listen: ReadonlyArray<{ readonly address: string; readonly port: number }>
  readonly log: string
}
export interface ZoneFound {
  readonly name: string
  readonly state: 'absent' | 'created' | 'running' | 'stopped'
  readonly pid: number | null
}

export interface Zones {
  readonly find: (name: string) => Promise<Result<ZoneFound, 'os_failed'>>
  readonly list: () => Promise<Result<readonly ZoneFound[], 'os_failed'>>
  /** Boots the zone; one that already runs is left alone. */
  readonly boot: (config: ZoneConfig) => Promise<Result<ZoneFound, 'address_taken' | 'os_failed'>>
  /** Ends it (TERM, then KILL after `grace_ms`) and removes what was made for it. */
  readonly remove: (name: string, grace_ms: number) => Promise<Result<null, 'os_failed'>>
  /** Ends every zone of this sled, also what a killed process booted, and forgets all records. */
  readonly destroyAll: (grace_ms: number) => Promise<Result<null, 'os_failed'>>
}
