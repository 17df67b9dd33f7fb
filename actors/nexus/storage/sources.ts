/** What volumes are made from, by id: global images, images of projects, snapshots. */
import type { Selectable } from 'kysely'
import { powers } from '../access/authz.ts'
import type { Actor, Services } from '../context.ts'
import { invalidRequest, notFoundById } from '#actors/http/errors.ts'
import { demandProject } from '../lookup.ts'
import type { Tables } from '../store/schema.ts'

export type GlobalImage = Selectable<Tables['global_image']>
export type Image = Selectable<Tables['image']>
export type Snapshot = Selectable<Tables['snapshot']>

/** Who asks: to those who may not read a project, what it has is absent. */
interface Caller {
  readonly services: Services
  readonly actor: Actor
}

export async function globalImageById({ store }: Services, id: string): Promise<GlobalImage> {
  const row = await store
    .selectFrom('global_image')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFoundById('global-image', id)
  return row
}

export async function imageById(caller: Caller, id: string): Promise<Image> {
  const row = await caller.services.store
    .selectFrom('image')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFoundById('image', id)
  await demandProject(caller, { type: 'image', id, project_id: row.project_id }, powers.viewer)
  return row
}

export async function snapshotById(caller: Caller, id: string): Promise<Snapshot> {
  const row = await caller.services.store
    .selectFrom('snapshot')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFoundById('snapshot', id)
  await demandProject(caller, { type: 'snapshot', id, project_id: row.project_id }, powers.viewer)
  return row
}

/** A snapshot that something can be made from. Throws 400 when it is not whole yet, or on its way out. */
export async function readySnapshot(caller: Caller, id: string): Promise<Snapshot> {
  const row = await snapshotById(caller, id)
  if (row.state === 'ready') return row
  throw invalidRequest(`snapshot "${row.name}" cannot be used in state "${row.state}"`)
}
