/** Disks and snapshots. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import {
  maybe,
  name,
  uuid,
  byteCount,
  blockSize,
  identity,
  named,
  page,
} from '#actors/http/words.ts'

const snapshotsPath = '/organizations/{organization_name}/projects/{project_name}/snapshots'
const disksPath = '/organizations/{organization_name}/projects/{project_name}/disks'

export const diskState = Type.Union(
  [
    Type.Object({ state: Type.Literal('creating') }),
    Type.Object({ state: Type.Literal('detached') }),
    Type.Object({ state: Type.Literal('attaching'), instance: uuid }),
    Type.Object({ state: Type.Literal('attached'), instance: uuid }),
    Type.Object({ state: Type.Literal('detaching'), instance: uuid }),
    Type.Object({ state: Type.Literal('destroyed') }),
    Type.Object({ state: Type.Literal('faulted') }),
  ],
  { component: 'DiskState' },
)

export const disk = Type.Object(
  {
    ...named,
    block_size: byteCount,
    device_path: Type.String(),
    image_id: maybe(uuid),
    project_id: uuid,
    size: byteCount,
    snapshot_id: maybe(uuid),
    state: diskState,
  },
  { component: 'Disk' },
)

export const diskSource = Type.Union(
  [
    Type.Object({ type: Type.Literal('blank'), block_size: blockSize }),
    Type.Object({ type: Type.Literal('snapshot'), snapshot_id: uuid }),
    Type.Object({ type: Type.Literal('image'), image_id: uuid }),
    Type.Object({ type: Type.Literal('global_image'), image_id: uuid }),
  ],
  { component: 'DiskSource' },
)

export const diskCreate = Type.Object(
  { ...identity, disk_source: diskSource, size: byteCount },
  { component: 'DiskCreate' },
)

export const snapshotState = Type.Enum(['creating', 'ready', 'faulted', 'destroyed'], {
  component: 'SnapshotState',
})

export const snapshot = Type.Object(
  { ...named, disk_id: uuid, project_id: uuid, size: byteCount, state: snapshotState },
  { component: 'Snapshot' },
)

export const snapshotCreate = Type.Object(
  { ...identity, disk: name },
  { component: 'SnapshotCreate' },
)

export const disksOperations = {
  disk_view_by_id: operation('GET /by-id/disks/{id}', {
    tag: 'disks',
    summary: 'Fetch a disk by id',
    reply: disk,
  }),
  snapshot_view_by_id: operation('GET /by-id/snapshots/{id}', {
    tag: 'snapshots',
    summary: 'Fetch a snapshot by id',
    reply: snapshot,
  }),
  disk_list: operation(`GET ${disksPath}`, {
    tag: 'disks',
    summary: 'List disks',
    page: 'name',
    reply: page(disk),
  }),
  disk_create: operation(`POST ${disksPath}`, {
    tag: 'disks',
    summary: 'Create a disk',
    body: diskCreate,
    reply: disk,
  }),
  disk_view: operation(`GET ${disksPath}/{disk_name}`, {
    tag: 'disks',
    summary: 'Fetch a disk',
    reply: disk,
  }),
  disk_delete: operation(`DELETE ${disksPath}/{disk_name}`, {
    tag: 'disks',
    summary: 'Delete a disk',
    reply: 'nothing',
  }),
  snapshot_list: operation(`GET ${snapshotsPath}`, {
    tag: 'snapshots',
    summary: 'List snapshots',
    page: 'name',
    reply: page(snapshot),
  }),
  snapshot_create: operation(`POST ${snapshotsPath}`, {
    tag: 'snapshots',
    summary: 'Create a snapshot',
    body: snapshotCreate,
    reply: snapshot,
  }),
  snapshot_view: operation(`GET ${snapshotsPath}/{snapshot_name}`, {
    tag: 'snapshots',
    summary: 'Fetch a snapshot',
    reply: snapshot,
  }),
  snapshot_delete: operation(`DELETE ${snapshotsPath}/{snapshot_name}`, {
    tag: 'snapshots',
    summary: 'Delete a snapshot',
    reply: 'nothing',
  }),
}
