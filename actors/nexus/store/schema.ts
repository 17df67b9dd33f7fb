/**
 * The store's tables as kysely sees them. Times are milliseconds since the epoch, documents JSON
 * text, numbers whole up to 2^53: what SQLite, PostgreSQL and CockroachDB can all hold.
 */
import type { Kysely, Transaction } from 'kysely'

/** The store, or a transaction of it: what only reads or writes once takes either. */
export type Store = Kysely<Tables>
export type StoreTransaction = Transaction<Tables>
import type { Static } from 'typebox'
import type { diskState, snapshotState } from '../api/contract/disks.ts'
import type { instanceState } from '../api/contract/instances.ts'
import type { datasetKind, serviceKind, sledRole } from '../internal/contract.ts'
import type { routerRouteKind, vpcFirewallRule } from '../api/contract/vpcs.ts'

type DiskState = Static<typeof diskState>['state']
type SnapshotState = Static<typeof snapshotState>
type InstanceState = Static<typeof instanceState>
type RouteKind = Static<typeof routerRouteKind>
type Rule = Static<typeof vpcFirewallRule>

type SledRole = Static<typeof sledRole>
type ServiceKind = Static<typeof serviceKind>
type DatasetKind = Static<typeof datasetKind>

/** What is reported again and again: the last word counts. */
interface Reported {
  id: string
  time_created_ms: number
  time_modified_ms: number
}

/** Soft-deleted rows keep their name out of the way of new ones. */
interface Named {
  id: string
  name: string
  description: string
  time_created_ms: number
  time_modified_ms: number
  time_deleted_ms: number | null
}

export interface Tables {
  silo: Named & { discoverable: boolean; identity_mode: 'saml_jit' | 'local_only' }
  silo_user: {
    id: string
    silo_id: string
    external_id: string
    time_created_ms: number
    time_deleted_ms: number | null
  }
  role_assignment: {
    resource_type: 'fleet' | 'silo' | 'organization' | 'project'
    resource_id: string
    role_name: 'admin' | 'collaborator' | 'viewer'
    identity_id: string
    /** Null is a user: assignments of before there were groups. */
    identity_type: 'silo_user' | 'silo_group' | null
  }
  silo_group: {
    id: string
    silo_id: string
    external_id: string
    time_created_ms: number
    time_deleted_ms: number | null
  }
  silo_group_membership: { silo_user_id: string; silo_group_id: string }
  silo_user_password: { silo_user_id: string; hash: string; time_created_ms: number }
  saml_identity_provider: Named & {
    silo_id: string
    /** The XML that the provider describes itself with. */
    idp_metadata: string
    idp_entity_id: string
    sp_client_id: string
    acs_url: string
    slo_url: string
    technical_contact_email: string
    public_cert: string | null
    private_key: string | null
    group_attribute_name: string | null
  }
  /** Logins that were sent to a provider and have not come back. */
  saml_login_request: { id: string; identity_provider_id: string; time_expires_ms: number }
  /** Each counts once; kept for as long as it would be taken. */
  saml_assertion_used: {
    identity_provider_id: string
    assertion_hash: string
    time_expires_ms: number
  }
  console_session: {
    token_hash: string
    silo_user_id: string
    time_created_ms: number
    time_last_used_ms: number
  }
  device_auth_request: {
    user_code: string
    device_code: string
    client_id: string
    time_created_ms: number
    time_expires_ms: number
    /** Null until somebody confirms. */
    silo_user_id: string | null
  }
  device_access_token: {
    token_hash: string
    client_id: string
    silo_user_id: string
    time_created_ms: number
  }
  ssh_key: Named & { silo_user_id: string; public_key: string }
  organization: Named & { silo_id: string }
  project: Named & { organization_id: string }
  vpc: Named & {
    project_id: string
    system_router_id: string
    vni: number
    ipv6_prefix: string
    dns_name: string
  }
  vpc_subnet: Named & { vpc_id: string; ipv4_block: string; ipv6_block: string }
  vpc_router: Named & { vpc_id: string; kind: 'system' | 'custom' }
  router_route: Named & {
    vpc_router_id: string
    kind: RouteKind
    target: string
    destination: string
  }
  vpc_firewall_rule: Named & {
    vpc_id: string
    status: Rule['status']
    direction: Rule['direction']
    targets: string
    filters: string
    action: Rule['action']
    priority: number
  }
  ip_pool: Named & { project_id: string | null; rack_id: string | null }
  ip_pool_range: {
    id: string
    ip_pool_id: string
    first_address: string
    last_address: string
    /** The addresses as sortable text. */
    first_sort: string
    last_sort: string
    time_created_ms: number
    time_deleted_ms: number | null
  }
  external_ip: {
    id: string
    ip_pool_id: string
    ip_pool_range_id: string
    instance_id: string
    kind: 'snat' | 'ephemeral'
    ip: string
    first_port: number
    last_port: number
    time_created_ms: number
    time_deleted_ms: number | null
  }
  global_image: Named & {
    url: string | null
    distribution: string
    version: string
    block_size: number
    size_bytes: number
    /** JSON of the disk's source on the sled. */
    source: string
  }
  disk: Named & {
    project_id: string
    sled_id: string
    image_id: string | null
    size_bytes: number
    block_size: number
    source: string | null
    state: DiskState
    attach_instance_id: string | null
    slot: number | null
    /** Of the last report of its state that counted; null: there was none. */
    reported_gen: number | null
    snapshot_id: string | null
  }
  /** A volume of its own on the disk's sled, whose id is the snapshot's. */
  snapshot: Named & {
    project_id: string
    disk_id: string
    sled_id: string
    size_bytes: number
    block_size: number
    state: SnapshotState
  }
  image: Named & {
    project_id: string
    /** Where its volume is, which has its id; null when it is fetched each time. */
    sled_id: string | null
    url: string | null
    version: string | null
    size_bytes: number
    block_size: number
    /** JSON of the disk's source on the sled. */
    source: string
  }
  /** What a disk's guest had done since `start_ms`, counted at `time_ms`. */
  disk_sample: {
    disk_id: string
    time_ms: number
    start_ms: number
    activated: number
    flush: number
    read: number
    read_bytes: number
    write: number
    write_bytes: number
  }
  instance: Named & {
    project_id: string
    sled_id: string
    propolis_id: string
    ncpus: number
    memory_bytes: number
    hostname: string
    user_data: string
    public_keys: string
    run_state: InstanceState
    time_run_state_updated_ms: number
    gen: number
    /** What was asked for and not yet taken by the sled. */
    pending_target: string | null
    /** The migration that is under way, which alone may move the instance; null for none. */
    migration_id: string | null
  }
  network_interface: Named & {
    instance_id: string
    vpc_id: string
    subnet_id: string
    mac: string
    ip: string
    slot: number
    is_primary: boolean
  }
  rack: {
    id: string
    /** Null: nobody has said that its set-up is complete. */
    initialized: boolean | null
    time_created_ms: number
    time_modified_ms: number
  }
  sled: {
    id: string
    rack_id: string
    ip: string
    port: number
    platform: string
    /** Null: it has not said. */
    role: SledRole | null
    time_created_ms: number
    time_modified_ms: number
  }
  /** What programs have reported of the hardware and of what serves on it. */
  zpool: Reported & { sled_id: string; size_bytes: number }
  dataset: Reported & { zpool_id: string; ip: string; port: number; kind: DatasetKind }
  service: Reported & { sled_id: string; ip: string; kind: ServiceKind }
  /** Metric collectors. */
  oximeter: Reported & { ip: string; port: number }
  metric_producer: Reported & {
    /** The collector that looks after it. */
    oximeter_id: string
    ip: string
    port: number
    base_route: string
    interval_s: number
    interval_ns: number
  }
  saga: {
    id: string
    name: string
    params: string
    state: 'running' | 'unwinding' | 'succeeded' | 'failed'
    error_node_name: string | null
    error: string | null
    time_created_ms: number
    /** Null while it goes on, and for those that ended before this was written down. */
    time_ended_ms: number | null
    /** The session that runs it (`nexus-1#3`); null: one of before there were owners. */
    owner: string | null
  }
  saga_node: {
    saga_id: string
    position: number
    name: string
    state: 'started' | 'done' | 'undone'
    output: string | null
  }
  /** What sleds are to be sent, and whether they have it. */
  propagation: {
    kind: 'firewall' | 'nat' | 'dns'
    /** Of the VPC; empty for DNS. */
    id: string
    generation: number
    is_owed: boolean
  }
  /** Who ran a background task last, under which generation of its lease. */
  background_task: {
    name: string
    generation: number
    member: string
    time_last_run_ms: number
  }
  /** Generations of what Nexus sends out, by what it is. */
  published: { what: string; generation: number }
}
