/** The sled agent's API: what a sled can be told over HTTP (spec/01 §13). */
import { Type, type Static, type TSchema } from 'typebox'
import { problemOf } from '#actors/http/check.ts'
import type { About } from '#actors/http/openapi.ts'
import { operation } from '#actors/http/operation.ts'
import {
  diskRuntimeState,
  instanceRuntimeState,
  updateArtifactKind,
} from '#actors/nexus/api/contract/runtime.ts'
import {
  vpcFirewallRuleAction,
  vpcFirewallRuleDirection,
  vpcFirewallRuleProtocol,
  vpcFirewallRuleStatus,
} from '#actors/nexus/api/contract/vpcs.ts'
import {
  int64,
  ipAddress,
  ipNet,
  ipv6,
  l4PortRange,
  macAddr,
  maybe,
  name,
  socketAddress,
  uint16,
  uint32,
  uint64,
  uint8,
  uuid,
  whole,
  withDefault,
} from '#actors/http/words.ts'

export const aboutSledAgent: About = {
  title: 'Oxide Sled Agent API',
  description: 'API for interacting with individual sleds',
  tags: null,
}

const slot = whole({ component: 'Slot', format: 'uint8', minimum: 0 }, 0xff)
const vni = whole({ component: 'Vni', format: 'uint32', minimum: 0 }, 0xff_ffff)

const networkInterface = Type.Object(
  { name, ip: ipAddress, mac: macAddr, subnet: ipNet, vni, primary: Type.Boolean(), slot: uint8 },
  { component: 'NetworkInterface' },
)
export type NetworkInterface = Static<typeof networkInterface>

const vpcFirewallRule = Type.Object(
  {
    status: vpcFirewallRuleStatus,
    direction: vpcFirewallRuleDirection,
    targets: Type.Array(networkInterface),
    filter_hosts: maybe(Type.Array(ipNet)),
    filter_ports: maybe(Type.Array(l4PortRange)),
    filter_protocols: maybe(Type.Array(vpcFirewallRuleProtocol)),
    action: vpcFirewallRuleAction,
    priority: uint16,
  },
  { component: 'VpcFirewallRule' },
)
export type VpcFirewallRule = Static<typeof vpcFirewallRule>
const vpcFirewallRulesEnsureBody = Type.Object(
  { rules: Type.Array(vpcFirewallRule) },
  { component: 'VpcFirewallRulesEnsureBody' },
)

const crucibleOpts = Type.Object(
  {
    id: uuid,
    target: Type.Array(Type.String()),
    lossy: Type.Boolean(),
    flush_timeout: maybe(uint32),
    key: maybe(Type.String()),
    cert_pem: maybe(Type.String()),
    key_pem: maybe(Type.String()),
    root_cert_pem: maybe(Type.String()),
    control: maybe(Type.String()),
    read_only: Type.Boolean(),
  },
  { component: 'CrucibleOpts' },
)
/** A volume within a volume: of the same schema, which is not there yet where it is named. */
const inner: TSchema = Type.Refine(
  Type.Unknown({ component: 'VolumeConstructionRequest' }),
  (value) => problemOf(volumeConstructionRequest, value) === null,
  (value) => problemOf(volumeConstructionRequest, value)?.words ?? '',
)
export const volumeConstructionRequest = Type.Union(
  [
    Type.Object({
      type: Type.Literal('volume'),
      id: uuid,
      block_size: uint64,
      sub_volumes: Type.Array(inner),
      read_only_parent: maybe(inner),
    }),
    Type.Object({ type: Type.Literal('url'), id: uuid, block_size: uint64, url: Type.String() }),
    Type.Object({
      type: Type.Literal('region'),
      block_size: uint64,
      opts: crucibleOpts,
      gen: uint64,
    }),
    Type.Object({ type: Type.Literal('file'), id: uuid, block_size: uint64, path: Type.String() }),
  ],
  { component: 'VolumeConstructionRequest' },
)

const diskStateRequested = Type.Union(
  [
    Type.Object({ state: Type.Literal('detached') }),
    Type.Object({ state: Type.Literal('attached'), instance: uuid }),
    Type.Object({ state: Type.Literal('destroyed') }),
    Type.Object({ state: Type.Literal('faulted') }),
  ],
  { component: 'DiskStateRequested' },
)
const diskEnsureBody = Type.Object(
  { initial_runtime: diskRuntimeState, target: diskStateRequested },
  { component: 'DiskEnsureBody' },
)
export type DiskEnsure = Static<typeof diskEnsureBody>
const diskRequest = Type.Object(
  {
    name: Type.String(),
    slot,
    read_only: Type.Boolean(),
    device: Type.String(),
    gen: uint64,
    volume_construction_request: volumeConstructionRequest,
  },
  { component: 'DiskRequest' },
)
export type DiskRequest = Static<typeof diskRequest>

const sourceNatConfig = Type.Object(
  { ip: ipAddress, first_port: uint16, last_port: uint16 },
  { component: 'SourceNatConfig' },
)
const instanceHardware = Type.Object(
  {
    runtime: instanceRuntimeState,
    nics: Type.Array(networkInterface),
    source_nat: sourceNatConfig,
    external_ips: Type.Array(ipAddress),
    firewall_rules: Type.Array(vpcFirewallRule),
    disks: Type.Array(diskRequest),
    cloud_init_bytes: maybe(Type.String()),
  },
  { component: 'InstanceHardware' },
)
export type InstanceHardware = Static<typeof instanceHardware>
const instanceStateRequested = Type.Union(
  [
    Type.Literal('running'),
    Type.Literal('stopped'),
    Type.Literal('reboot'),
    Type.Literal('migrating'),
    Type.Literal('destroyed'),
  ],
  { component: 'InstanceStateRequested' },
)
const instanceEnsureBody = Type.Object(
  {
    initial: instanceHardware,
    target: Type.Object(
      {
        run_state: instanceStateRequested,
        migration_params: maybe(
          Type.Object(
            { migration_id: uuid, dst_propolis_id: uuid },
            { component: 'InstanceRuntimeStateMigrateParams' },
          ),
        ),
      },
      { component: 'InstanceRuntimeStateRequested' },
    ),
    migrate: maybe(
      Type.Object(
        { src_propolis_id: uuid, src_propolis_addr: Type.String() },
        { component: 'InstanceMigrateParams' },
      ),
    ),
  },
  { component: 'InstanceEnsureBody' },
)
export type InstanceEnsure = Static<typeof instanceEnsureBody>
const instanceSerialConsoleData = Type.Object(
  { data: Type.Array(uint8), last_byte_offset: uint64 },
  { component: 'InstanceSerialConsoleData' },
)

const datasetKind = Type.Union(
  [
    Type.Object({ type: Type.Literal('cockroach_db'), all_addresses: Type.Array(socketAddress) }),
    Type.Object({ type: Type.Literal('crucible') }),
    Type.Object({ type: Type.Literal('clickhouse') }),
  ],
  { component: 'DatasetKind' },
)
const datasetEnsureBody = Type.Object(
  { id: uuid, zpool_id: uuid, dataset_kind: datasetKind, address: socketAddress },
  { component: 'DatasetEnsureBody' },
)

const dendriteAsic = Type.Enum(['tofino_asic', 'tofino_stub', 'softnpu'], {
  component: 'DendriteAsic',
})
const serviceType = Type.Union(
  [
    Type.Object({ type: Type.Literal('nexus'), internal_ip: ipv6, external_ip: ipAddress }),
    Type.Object({
      type: Type.Literal('internal_dns'),
      server_address: socketAddress,
      dns_address: socketAddress,
    }),
    Type.Object({ type: Type.Literal('oximeter') }),
    Type.Object({ type: Type.Literal('dendrite'), asic: dendriteAsic }),
    Type.Object({ type: Type.Literal('tfport'), pkt_source: Type.String() }),
  ],
  { component: 'ServiceType' },
)
const zoneType = Type.Enum(['internal_dns', 'nexus', 'oximeter', 'switch'], {
  component: 'ZoneType',
})
const serviceZoneRequest = Type.Object(
  {
    id: uuid,
    zone_type: zoneType,
    addresses: Type.Array(ipv6),
    gz_addresses: withDefault(Type.Array(ipv6), []),
    services: Type.Array(serviceType),
  },
  { component: 'ServiceZoneRequest' },
)
const serviceEnsureBody = Type.Object(
  { services: Type.Array(serviceZoneRequest) },
  { component: 'ServiceEnsureBody' },
)

const updateArtifact = Type.Object(
  { name: Type.String(), version: int64, kind: updateArtifactKind },
  { component: 'UpdateArtifact' },
)
const given = (component: string) => Type.Object({ snapshot_id: uuid }, { component })

export const sledAgentOperations = {
  disk_put: operation('PUT /disks/{disk_id}', {
    summary: 'Ask for a state of a disk',
    access: 'anyone',
    body: diskEnsureBody,
    reply: diskRuntimeState,
  }),
  issue_disk_snapshot_request: operation('POST /disks/{disk_id}/snapshot', {
    summary: 'Take a snapshot of a disk that is attached to nothing',
    access: 'anyone',
    body: Type.Object(
      { snapshot_id: uuid, volume_construction_request: volumeConstructionRequest },
      { component: 'DiskSnapshotRequestBody' },
    ),
    status: 200,
    reply: given('DiskSnapshotRequestResponse'),
  }),
  filesystem_put: operation('PUT /filesystem', {
    summary: 'Ask for a dataset and its service',
    access: 'anyone',
    body: datasetEnsureBody,
    status: 204,
    reply: 'nothing',
  }),
  instance_put: operation('PUT /instances/{instance_id}', {
    summary: 'Ask for a state of an instance',
    access: 'anyone',
    body: instanceEnsureBody,
    reply: instanceRuntimeState,
  }),
  instance_issue_disk_snapshot_request: operation(
    'POST /instances/{instance_id}/disks/{disk_id}/snapshot',
    {
      summary: 'Take a snapshot of a disk while its guest runs',
      access: 'anyone',
      body: given('InstanceIssueDiskSnapshotRequestBody'),
      status: 200,
      reply: given('InstanceIssueDiskSnapshotRequestResponse'),
    },
  ),
  instance_serial_get: operation('GET /instances/{instance_id}/serial', {
    summary: "Read a part of a guest's console",
    access: 'anyone',
    query: Type.Object({
      from_start: maybe(uint64),
      max_bytes: maybe(uint64),
      most_recent: maybe(uint64),
    }),
    reply: instanceSerialConsoleData,
  }),
  services_put: operation('PUT /services', {
    summary: 'Ask for the service zones of the sled',
    access: 'anyone',
    body: serviceEnsureBody,
    status: 204,
    reply: 'nothing',
  }),
  update_artifact: operation('POST /update', {
    summary: 'Ask to fetch an artifact of an update',
    access: 'anyone',
    body: updateArtifact,
    status: 204,
    reply: 'nothing',
  }),
  vpc_firewall_rules_put: operation('PUT /vpc/{vpc_id}/firewall/rules', {
    summary: "Replace the firewall rules of a VPC's ports",
    access: 'anyone',
    body: vpcFirewallRulesEnsureBody,
    status: 204,
    reply: 'nothing',
  }),
}
