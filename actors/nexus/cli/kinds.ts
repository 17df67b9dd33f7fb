/** What the API's objects look like in lists, and where they are kept. */
import { path } from './client.ts'
import { byId, byName, byNameOrId, type Kind, type Scope } from './crud.ts'

const named = ['name', 'description'] as const
const times = ['time_created', 'time_modified'] as const

const projectPath = ({ organization, project }: Scope): string =>
  path`/organizations/${organization}/projects/${project}`

export const organizations: Kind = {
  label: 'organization',
  labels: 'organizations',
  columns: [...named, 'id', ...times],
  sorts: byNameOrId,
  scope: 'none',
  collection: () => '/organizations',
  byId: '/by-id/organizations',
}

export const projects: Kind = {
  label: 'project',
  labels: 'projects of an organization',
  columns: [...named, 'id', 'organization_id', ...times],
  sorts: byNameOrId,
  scope: 'organization',
  collection: ({ organization }) => path`/organizations/${organization}/projects`,
  byId: '/by-id/projects',
}

export const disks: Kind = {
  label: 'disk',
  labels: 'disks of a project',
  columns: [
    ...named,
    'state',
    'size',
    'block_size',
    'device_path',
    'id',
    'image_id',
    'snapshot_id',
    'project_id',
    ...times,
  ],
  sorts: byName,
  scope: 'project',
  collection: (scope) => `${projectPath(scope)}/disks`,
  byId: '/by-id/disks',
}

export const instances: Kind = {
  label: 'instance',
  labels: 'instances of a project',
  columns: [
    ...named,
    'run_state',
    'ncpus',
    'memory',
    'hostname',
    'id',
    'project_id',
    'time_run_state_updated',
    ...times,
  ],
  sorts: byName,
  scope: 'project',
  collection: (scope) => `${projectPath(scope)}/instances`,
  byId: '/by-id/instances',
}

export const vpcs: Kind = {
  label: 'VPC',
  labels: 'VPCs of a project',
  columns: [...named, 'dns_name', 'ipv6_prefix', 'id', 'system_router_id', 'project_id', ...times],
  sorts: byName,
  scope: 'project',
  collection: (scope) => `${projectPath(scope)}/vpcs`,
  byId: '/by-id/vpcs',
}

export const images: Kind = {
  label: 'image',
  labels: 'global images',
  columns: [
    ...named,
    'distribution',
    'version',
    'size',
    'block_size',
    'url',
    'digest',
    'id',
    ...times,
  ],
  sorts: byName,
  scope: 'none',
  collection: () => '/system/images',
  byId: '/system/by-id/images',
}

/** Racks and sleds have no names: their id is what they are viewed by. */
export const racks: Kind = {
  label: 'rack',
  labels: 'racks',
  columns: ['id', ...times],
  sorts: byId,
  scope: 'none',
  collection: () => '/system/hardware/racks',
  byId: null,
}

export const sleds: Kind = {
  label: 'sled',
  labels: 'sleds',
  columns: ['id', 'service_address', ...times],
  sorts: byId,
  scope: 'none',
  collection: () => '/system/hardware/sleds',
  byId: null,
}

export const sshKeys: Kind = {
  label: 'SSH key',
  labels: 'your SSH keys',
  columns: [...named, 'public_key', 'id', 'silo_user_id', ...times],
  sorts: byName,
  scope: 'none',
  collection: () => '/session/me/sshkeys',
  byId: null,
}
