/** Virtual machines: QEMU, propolis, or the state machine of sim. They outlive the supervisor. */
import type { Result } from '#runtime/result.ts'

export interface MachineSpec {
  readonly instance_id: string
  readonly propolis_id: string
  readonly hostname: string
  readonly ncpus: number
  readonly memory_bytes: number
  readonly nics: ReadonlyArray<{
    readonly link: string
    readonly netns: string | null
    readonly mac: string
    readonly slot: number
  }>
  readonly disks: ReadonlyArray<{
    readonly id: string
    readonly slot: number
    readonly read_only: boolean
    readonly block_size: number
    readonly socket: string
    readonly export: string
  }>
  readonly cidata: { readonly public_keys: readonly string[]; readonly user_data: string }
}

export type MachineEvent = 'running' | 'reset' | 'shutdown' | 'exited'
export interface Machine {
  readonly propolis_id: string
  readonly state: 'running' | 'paused' | 'stopping' | 'exited'
}
export interface SerialChunk {
  readonly data: Uint8Array
  /** Offset since the guest's start just behind `data`. */
  readonly last_byte_offset: number
}

/** A running machine that another sled may take over, and where it is had. */
export interface MachineOffer {
  readonly migration_id: string
  readonly propolis_id: string
  readonly address: string
}

/** What a guest has asked of its disks, counted from one moment on: its start. */
export interface DiskCounters {
  readonly start_ms: number
  readonly disks: ReadonlyArray<{
    readonly slot: number
    readonly flush: number
    readonly read: number
    readonly read_bytes: number
    readonly write: number
    readonly write_bytes: number
  }>
}

export interface Vmm {
  /** The machine of an instance; null when none was started or it is gone. */
  readonly find: (instance_id: string) => Promise<Result<Machine | null, 'os_failed'>>
  readonly list: () => Promise<
    Result<
      ReadonlyArray<{ readonly instance_id: string; readonly propolis_id: string }>,
      'os_failed'
    >
  >
  /** Starts a guest; answers when it executes. On failure nothing is left of it. */
  readonly start: (spec: MachineSpec) => Promise<Result<Machine, 'no_space' | 'os_failed'>>
  /** Calls back on everything the machine does from now on, until the returned function is called. */
  readonly watch: (instance_id: string, onEvent: (event: MachineEvent) => void) => () => void
  readonly diskCounters: (
    instance_id: string,
  ) => Promise<Result<DiskCounters, 'not_running' | 'os_failed'>>
  /** Lets one migration take the machine over; answers with where. The machine runs on meanwhile. */
  readonly offer: (
    instance_id: string,
    migration_id: string,
  ) => Promise<Result<string, 'not_running' | 'os_failed'>>
  /**
   * Makes a machine of one that another sled offers, with its memory and its console's history. From
   * then on both stand still until one of them is resumed. On failure nothing is left here.
   */
  readonly receive: (
    spec: MachineSpec,
    from: MachineOffer,
  ) => Promise<Result<Machine, 'source_gone' | 'no_space' | 'os_failed'>>
  /** Lets a machine go on that stands still, and is offered no more. One that runs goes on. */
  readonly resume: (instance_id: string) => Promise<Result<null, 'not_running' | 'os_failed'>>
  /** Presses the power button. */
  readonly powerdown: (instance_id: string) => Promise<Result<null, 'os_failed'>>
  readonly reset: (instance_id: string) => Promise<Result<null, 'os_failed'>>
  /** Ends the machine at once and removes its zone; the console's history goes with `forget`. */
  readonly kill: (instance_id: string) => Promise<Result<null, 'os_failed'>>
  readonly forget: (instance_id: string) => Promise<Result<null, 'os_failed'>>
  /** Console output from an offset; `from` negative counts back from the end. */
  readonly serialRead: (
    instance_id: string,
    from: number,
    max_bytes: number,
  ) => Promise<Result<SerialChunk, 'not_running' | 'os_failed'>>
  /** Like serialRead from `from`, but waits up to `wait_ms` for the first byte. */
  readonly serialFollow: (
    instance_id: string,
    from: number,
    options: { readonly max_bytes: number; readonly wait_ms: number; readonly signal: AbortSignal },
  ) => Promise<Result<SerialChunk, 'not_running' | 'os_failed'>>
  readonly serialWrite: (
    instance_id: string,
    data: Uint8Array,
  ) => Promise<Result<null, 'not_running' | 'os_failed'>>
  /** How guests run here and why: `kvm`, or `tcg: /dev/kvm cannot be opened`. */
  readonly accelerator: () => Promise<string>
  /** Ends what a killed process was trying out; guests end with their zones. */
  readonly endTrials: () => Promise<Result<null, 'os_failed'>>
  readonly close: () => void
}
