/** The tables of what the guide walks through. */
import type { Migration } from '../migrate.ts'
import {
  boolean,
  createIndex,
  createListIndices,
  createTable,
  inet,
  integer,
  json,
  live,
  named,
  optional,
  text,
  time_ms,
  uuid,
  type MigrationTransaction,
} from '../table.ts'

export const guide: Migration = {
  name: '0001-guide',
  up: async (db) => {
    await identities(db)
    await containers(db)
    await networks(db)
    await addresses(db)
    await machines(db)
    await rack(db)
    await sagas(db)
  },
}

async function identities(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'silo', { ...named, discoverable: boolean, identity_mode: text })
  await createListIndices(db, 'silo', [])
  await createTable(db, 'silo_user', {
    id: uuid,
    silo_id: uuid,
    external_id: text,
    time_created_ms: time_ms,
    time_deleted_ms: optional(time_ms),
  })
  await createIndex(db, 'silo_user', ['silo_id', 'external_id'], { unique: true, where: live })
  await createIndex(db, 'silo_user', ['silo_id', 'id'], { where: live })
  const role = { resource_type: text, resource_id: uuid, role_name: text, identity_id: uuid }
  await createTable(db, 'role_assignment', role, [
    'identity_id',
    'resource_type',
    'resource_id',
    'role_name',
  ])
  await createIndex(db, 'role_assignment', ['resource_type', 'resource_id'])
  const session = {
    token_hash: text,
    silo_user_id: uuid,
    time_created_ms: time_ms,
    time_last_used_ms: time_ms,
  }
  await createTable(db, 'console_session', session, ['token_hash'])
  const request = {
    user_code: text,
    device_code: text,
    client_id: uuid,
    time_created_ms: time_ms,
    time_expires_ms: time_ms,
    silo_user_id: optional(uuid),
  }
  await createTable(db, 'device_auth_request', request, ['user_code'])
  await createIndex(db, 'device_auth_request', ['client_id', 'device_code'], { unique: true })
  const token = { token_hash: text, client_id: uuid, silo_user_id: uuid, time_created_ms: time_ms }
  await createTable(db, 'device_access_token', token, ['token_hash'])
  await createTable(db, 'ssh_key', { ...named, silo_user_id: uuid, public_key: text })
  await createListIndices(db, 'ssh_key', ['silo_user_id'])
}

async function containers(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'organization', { ...named, silo_id: uuid })
  await createListIndices(db, 'organization', ['silo_id'])
  await createTable(db, 'project', { ...named, organization_id: uuid })
  await createListIndices(db, 'project', ['organization_id'])
}

async function networks(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'vpc', {
    ...named,
    project_id: uuid,
    system_router_id: uuid,
    vni: integer,
    ipv6_prefix: inet,
    dns_name: text,
  })
  await createListIndices(db, 'vpc', ['project_id'])
  await createIndex(db, 'vpc', ['vni'], { unique: true, where: live })
  await createTable(db, 'vpc_subnet', {
    ...named,
    vpc_id: uuid,
    ipv4_block: inet,
    ipv6_block: inet,
  })
  await createListIndices(db, 'vpc_subnet', ['vpc_id'])
  await createTable(db, 'vpc_router', { ...named, vpc_id: uuid, kind: text })
  await createListIndices(db, 'vpc_router', ['vpc_id'])
  await createTable(db, 'router_route', {
    ...named,
    vpc_router_id: uuid,
    kind: text,
    target: json,
    destination: json,
  })
  await createListIndices(db, 'router_route', ['vpc_router_id'])
  await createTable(db, 'vpc_firewall_rule', {
    ...named,
    vpc_id: uuid,
    status: text,
    direction: text,
    targets: json,
    filters: json,
    action: text,
    priority: integer,
  })
  await createListIndices(db, 'vpc_firewall_rule', ['vpc_id'])
}

async function addresses(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'ip_pool', {
    ...named,
    project_id: optional(uuid),
    rack_id: optional(uuid),
  })
  await createListIndices(db, 'ip_pool', [])
  await createIndex(db, 'ip_pool', ['project_id'], { where: live })
  await createTable(db, 'ip_pool_range', {
    id: uuid,
    ip_pool_id: uuid,
    first_address: inet,
    last_address: inet,
    first_sort: text,
    last_sort: text,
    time_created_ms: time_ms,
    time_deleted_ms: optional(time_ms),
  })
  await createIndex(db, 'ip_pool_range', ['first_sort'], { where: live })
  await createIndex(db, 'ip_pool_range', ['ip_pool_id', 'first_sort'], { where: live })
  await createTable(db, 'external_ip', {
    id: uuid,
    ip_pool_id: uuid,
    ip_pool_range_id: uuid,
    instance_id: uuid,
    kind: text,
    ip: inet,
    first_port: integer,
    last_port: integer,
    time_created_ms: time_ms,
    time_deleted_ms: optional(time_ms),
  })
  await createIndex(db, 'external_ip', ['ip', 'first_port'], { unique: true, where: live })
  await createIndex(db, 'external_ip', ['instance_id'], { where: live })
  await createIndex(db, 'external_ip', ['ip_pool_range_id'], { where: live })
}

async function machines(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'global_image', {
    ...named,
    url: optional(text),
    distribution: text,
    version: text,
    block_size: integer,
    size_bytes: integer,
    source: json,
  })
  await createListIndices(db, 'global_image', [])
  await createTable(db, 'disk', {
    ...named,
    project_id: uuid,
    sled_id: uuid,
    image_id: optional(uuid),
    size_bytes: integer,
    block_size: integer,
    source: optional(json),
    state: text,
    attach_instance_id: optional(uuid),
    slot: optional(integer),
  })
  await createListIndices(db, 'disk', ['project_id'])
  await createIndex(db, 'disk', ['attach_instance_id', 'name'], {
    where: 'attach_instance_id is not null',
  })
  await createTable(db, 'instance', {
    ...named,
    project_id: uuid,
    sled_id: uuid,
    propolis_id: uuid,
    ncpus: integer,
    memory_bytes: integer,
    hostname: text,
    user_data: text,
    public_keys: json,
    run_state: text,
    time_run_state_updated_ms: time_ms,
    gen: integer,
    pending_target: optional(text),
  })
  await createListIndices(db, 'instance', ['project_id'])
  await createIndex(db, 'instance', ['sled_id', 'id'], { where: live })
  await createTable(db, 'network_interface', {
    ...named,
    instance_id: uuid,
    vpc_id: uuid,
    subnet_id: uuid,
    mac: text,
    ip: inet,
    slot: integer,
    is_primary: boolean,
  })
  await createListIndices(db, 'network_interface', ['instance_id'])
  // Also of deleted ones: the VPCs that an instance was in are told that it has gone.
  await createIndex(db, 'network_interface', ['instance_id', 'vpc_id'])
  await createIndex(db, 'network_interface', ['subnet_id', 'ip'], { unique: true, where: live })
  await createIndex(db, 'network_interface', ['vpc_id', 'mac'], { unique: true, where: live })
}

async function rack(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'rack', { id: uuid, time_created_ms: time_ms, time_modified_ms: time_ms })
  await createTable(db, 'sled', {
    id: uuid,
    rack_id: uuid,
    ip: inet,
    port: integer,
    platform: text,
    time_created_ms: time_ms,
    time_modified_ms: time_ms,
  })
}

async function sagas(db: MigrationTransaction): Promise<void> {
  await createTable(db, 'saga', {
    id: uuid,
    name: text,
    params: json,
    state: text,
    error_node_name: optional(text),
    error: optional(json),
    time_created_ms: time_ms,
  })
  await createIndex(db, 'saga', ['state', 'time_created_ms'])
  const node = {
    saga_id: uuid,
    position: integer,
    name: text,
    state: text,
    output: optional(json),
  }
  await createTable(db, 'saga_node', node, ['saga_id', 'position'])
  await createTable(db, 'published', { what: text, generation: integer }, ['what'])
}
