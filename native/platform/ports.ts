/**
 * The sled's network: its underlay, zones' control links and guests' ports (OPTE's part).
 * Calls are synchronous and idempotent; the thread that hosts them may block in the kernel.
 * Data keeps the spelling of the messages it comes from.
 */
import type { Result } from '#runtime/result.ts'

export type NetFailure = 'address_taken' | 'no_space' | 'os_failed'

export interface PortRule {
  readonly status: 'enabled' | 'disabled'
  readonly direction: 'inbound' | 'outbound'
  readonly targets: ReadonlyArray<{ readonly mac: string; readonly vni: number }>
  readonly filter_hosts: readonly string[] | null
  readonly filter_ports: readonly string[] | null
  readonly filter_protocols: ReadonlyArray<'TCP' | 'UDP' | 'ICMP'> | null
  readonly action: 'allow' | 'deny'
  readonly priority: number
}

export interface PortSpec {
  readonly id: string
  readonly instance_id: string
  readonly vni: number
  readonly subnet: string
  readonly ip: string
  readonly mac: string
  readonly primary: boolean
  readonly slot: number
  readonly hostname: string
  readonly source_nat: {
    readonly ip: string
    readonly first_port: number
    readonly last_port: number
  } | null
  readonly external_ips: readonly string[]
  readonly firewall_rules: readonly PortRule[]
}

export interface ControlSpec {
  readonly id: string
  readonly zone: string
  /** `address/length` on the underlay. */
  readonly address: string
}

/** Where a link is: its name and the path of its network namespace (null in sim). */
export interface LinkView {
  readonly id: string
  readonly link: string
  readonly netns: string | null
  readonly addresses: readonly string[]
}

/** What the sled has whatever guests come: made at start, idempotent. */
export interface UnderlaySpec {
  /** Addresses of the sled itself, `address/length`: the sled agent's, and DNS's when it serves it. */
  readonly addresses: readonly string[]
  /** The way out: where the outer end of the uplink goes and what both ends are called. */
  readonly uplink: {
    /** Path of the namespace that stands for the outside; null: the host's own. */
    readonly outside_netns: string | null
    /** `address/length` of the outer end, which is the guests' internet gateway. */
    readonly gateway: string
    /** `address/length` of the sled's end. */
    readonly address: string
  }
  /** How this sled is joined to the rack's others; null: it is the only one. */
  readonly rack: {
    /** All sleds' underlay addresses are within it. */
    readonly prefix: string
    /**
     * The cable to the sled that has the uplink, and so is the others' way out and to each other; null
     * on that one.
     */
    readonly trunk: {
      /** Path of that sled's namespace. */
      readonly netns: string
      /** What its end is called there, and its number. */
      readonly link: string
      readonly number: number
      /** `address/length` of its end, and of this sled's. */
      readonly gateway: string
      readonly address: string
    } | null
  } | null
}

/** Which sled a guest of a VPC is on: OPTE's mapping from virtual to physical. */
export interface V2pMapping {
  /** The guest's address in its VPC. */
  readonly ip: string
  /** Its sled's address on the underlay. */
  readonly sled: string
}

/** Which sled has a range of an external address's ports; an address that is one guest's has them all. */
export interface NatEntry {
  readonly ip: string
  readonly first_port: number
  readonly last_port: number
  readonly sled: string
}

export interface Ports {
  readonly ensureUnderlay: (spec: UnderlaySpec) => Result<LinkView, NetFailure>
  readonly ensureControl: (spec: ControlSpec) => Result<LinkView, NetFailure>
  readonly ensurePort: (spec: PortSpec) => Result<LinkView, NetFailure>
  readonly setRules: (
    id: string,
    rules: readonly PortRule[],
  ) => Result<null, 'not_found' | 'os_failed'>
  /** Lets other sleds of the rack see a port's flows; answers with where, for their `adopt`. */
  readonly offer: (id: string) => Result<string, 'not_found' | 'os_failed'>
  /**
   * Has a port go on with the flows of the one of its address that another sled offers: whose guest stands
   * still, and comes here.
   */
  readonly adopt: (
    id: string,
    address: string,
  ) => Result<null, 'not_found' | 'source_gone' | 'os_failed'>
  /**
   * Where all guests of a VPC are that run: what goes to one on another sled is sent there. A port of this
   * sled counts for nothing while its address is said to be elsewhere: its guest is coming, or has gone.
   */
  readonly setV2p: (vni: number, mappings: readonly V2pMapping[]) => Result<null, NetFailure>
  /** Where all external addresses of the rack are; of use on the sled that has the uplink. */
  readonly setNat: (entries: readonly NatEntry[]) => Result<null, NetFailure>
  /** Removes a port or a control link; absent is fine. */
  readonly remove: (id: string) => Result<null, 'os_failed'>
  /** What the kernel has now, whoever made it: ports and control links of this sled. */
  readonly list: () => Result<readonly LinkView[], 'os_failed'>
  /** Removes everything of this sled, also what an earlier, killed process made. */
  readonly destroyAll: () => Result<null, 'os_failed'>
  /** Stops what serves the ports from this process (DHCP sockets); the kernel's objects stay. */
  readonly close: () => void
}
