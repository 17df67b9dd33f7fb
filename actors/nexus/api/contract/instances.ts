/** Instances, their interfaces, addresses, disks and consoles. */
import { Type } from 'typebox'
import { disk, diskSource } from './disks.ts'
import { operation } from '#actors/http/operation.ts'
import {
  withDefault,
  instanceCpuCount,
  maybe,
  name,
  uuid,
  time,
  uint8,
  uint64,
  byteCount,
  ipAddress,
  macAddr,
  identity,
  updatedIdentity,
  named,
  page,
  userData,
  hostname,
} from '#actors/http/words.ts'

const instancesPath = '/organizations/{organization_name}/projects/{project_name}/instances'
const instancePath = `${instancesPath}/{instance_name}` as const

export const diskIdentifier = Type.Object({ name }, { component: 'DiskIdentifier' })

export const ipKind = Type.Enum(['ephemeral', 'floating'], { component: 'IpKind' })

export const externalIp = Type.Object({ ip: ipAddress, kind: ipKind }, { component: 'ExternalIp' })

export const externalIpCreate = Type.Union(
  [Type.Object({ type: Type.Literal('ephemeral'), pool_name: maybe(name) })],
  { component: 'ExternalIpCreate' },
)

export const instanceState = Type.Union(
  [
    Type.Literal('creating'),
    Type.Literal('starting'),
    Type.Literal('running'),
    Type.Literal('stopping'),
    Type.Literal('stopped'),
    Type.Literal('rebooting'),
    Type.Literal('migrating'),
    Type.Literal('repairing'),
    Type.Literal('failed'),
    Type.Literal('destroyed'),
  ],
  { component: 'InstanceState' },
)

export const instance = Type.Object(
  {
    ...named,
    hostname: Type.String(),
    memory: byteCount,
    ncpus: instanceCpuCount,
    project_id: uuid,
    run_state: instanceState,
    time_run_state_updated: time,
  },
  { component: 'Instance' },
)

export const instanceDiskAttachment = Type.Union(
  [
    Type.Object({
      ...identity,
      type: Type.Literal('create'),
      disk_source: diskSource,
      size: byteCount,
    }),
    Type.Object({ type: Type.Literal('attach'), name }),
  ],
  { component: 'InstanceDiskAttachment' },
)

export const networkInterfaceCreate = Type.Object(
  { ...identity, ip: maybe(ipAddress), subnet_name: name, vpc_name: name },
  { component: 'NetworkInterfaceCreate' },
)

export const instanceNetworkInterfaceAttachment = Type.Union(
  [
    Type.Object({ type: Type.Literal('create'), params: Type.Array(networkInterfaceCreate) }),
    Type.Object({ type: Type.Literal('default') }),
    Type.Object({ type: Type.Literal('none') }),
  ],
  { component: 'InstanceNetworkInterfaceAttachment' },
)

export const instanceCreate = Type.Object(
  {
    ...identity,
    disks: withDefault(Type.Array(instanceDiskAttachment), []),
    external_ips: withDefault(Type.Array(externalIpCreate), []),
    hostname,
    memory: byteCount,
    ncpus: instanceCpuCount,
    network_interfaces: withDefault(instanceNetworkInterfaceAttachment, { type: 'default' }),
    start: withDefault(Type.Boolean(), true),
    user_data: withDefault(userData, ''),
  },
  { component: 'InstanceCreate' },
)

export const instanceMigrate = Type.Object({ dst_sled_id: uuid }, { component: 'InstanceMigrate' })

export const instanceSerialConsoleData = Type.Object(
  { data: Type.Array(uint8), last_byte_offset: uint64 },
  { component: 'InstanceSerialConsoleData' },
)

export const networkInterface = Type.Object(
  {
    ...named,
    instance_id: uuid,
    ip: ipAddress,
    mac: macAddr,
    primary: Type.Boolean(),
    subnet_id: uuid,
    vpc_id: uuid,
  },
  { component: 'NetworkInterface' },
)

export const networkInterfaceUpdate = Type.Object(
  { ...updatedIdentity, primary: withDefault(Type.Boolean(), false) },
  { component: 'NetworkInterfaceUpdate' },
)

export const instancesOperations = {
  instance_view_by_id: operation('GET /by-id/instances/{id}', {
    tag: 'instances',
    summary: 'Fetch an instance by id',
    reply: instance,
  }),
  instance_network_interface_view_by_id: operation('GET /by-id/network-interfaces/{id}', {
    tag: 'instances',
    summary: 'Fetch a network interface by id',
    reply: networkInterface,
  }),
  instance_list: operation(`GET ${instancesPath}`, {
    tag: 'instances',
    summary: 'List instances',
    page: 'name',
    reply: page(instance),
  }),
  instance_create: operation(`POST ${instancesPath}`, {
    tag: 'instances',
    summary: 'Create an instance',
    body: instanceCreate,
    reply: instance,
  }),
  instance_view: operation(`GET ${instancePath}`, {
    tag: 'instances',
    summary: 'Fetch an instance',
    reply: instance,
  }),
  instance_delete: operation(`DELETE ${instancePath}`, {
    tag: 'instances',
    summary: 'Delete an instance',
    reply: 'nothing',
  }),
  instance_disk_list: operation(`GET ${instancePath}/disks`, {
    tag: 'instances',
    summary: "List an instance's disks",
    page: 'name',
    reply: page(disk),
  }),
  instance_disk_attach: operation(`POST ${instancePath}/disks/attach`, {
    tag: 'instances',
    summary: 'Attach a disk to an instance',
    body: diskIdentifier,
    status: 202,
    reply: disk,
  }),
  instance_disk_detach: operation(`POST ${instancePath}/disks/detach`, {
    tag: 'instances',
    summary: 'Detach a disk from an instance',
    body: diskIdentifier,
    status: 202,
    reply: disk,
  }),
  instance_external_ip_list: operation(`GET ${instancePath}/external-ips`, {
    tag: 'instances',
    summary: 'List external IP addresses',
    reply: page(externalIp),
  }),
  instance_migrate: operation(`POST ${instancePath}/migrate`, {
    tag: 'instances',
    summary: 'Migrate an instance',
    body: instanceMigrate,
    status: 200,
    reply: instance,
  }),
  instance_network_interface_list: operation(`GET ${instancePath}/network-interfaces`, {
    tag: 'instances',
    summary: 'List network interfaces',
    page: 'name',
    reply: page(networkInterface),
  }),
  instance_network_interface_create: operation(`POST ${instancePath}/network-interfaces`, {
    tag: 'instances',
    summary: 'Create a network interface',
    body: networkInterfaceCreate,
    reply: networkInterface,
  }),
  instance_network_interface_view: operation(
    `GET ${instancePath}/network-interfaces/{interface_name}`,
    { tag: 'instances', summary: 'Fetch a network interface', reply: networkInterface },
  ),
  instance_network_interface_update: operation(
    `PUT ${instancePath}/network-interfaces/{interface_name}`,
    {
      tag: 'instances',
      summary: 'Update a network interface',
      body: networkInterfaceUpdate,
      reply: networkInterface,
    },
  ),
  instance_network_interface_delete: operation(
    `DELETE ${instancePath}/network-interfaces/{interface_name}`,
    { tag: 'instances', summary: 'Delete a network interface', reply: 'nothing' },
  ),
  instance_reboot: operation(`POST ${instancePath}/reboot`, {
    tag: 'instances',
    summary: 'Reboot an instance',
    status: 202,
    reply: instance,
  }),
  instance_serial_console: operation(`GET ${instancePath}/serial-console`, {
    tag: 'instances',
    summary: "Fetch an instance's serial console",
    query: Type.Object({
      from_start: maybe(uint64),
      max_bytes: maybe(uint64),
      most_recent: maybe(uint64),
    }),
    reply: instanceSerialConsoleData,
  }),
  instance_serial_console_stream: operation(`GET ${instancePath}/serial-console/stream`, {
    tag: 'instances',
    summary: "Connect to an instance's serial console",
    reply: 'websocket',
  }),
  instance_start: operation(`POST ${instancePath}/start`, {
    tag: 'instances',
    summary: 'Boot an instance',
    status: 202,
    reply: instance,
  }),
  instance_stop: operation(`POST ${instancePath}/stop`, {
    tag: 'instances',
    summary: 'Halt an instance',
    status: 202,
    reply: instance,
  }),
}
