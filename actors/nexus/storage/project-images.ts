/** Images of a project: what its disks' first bytes may come from. */
import type { VolumeSource } from '#actors/disk.protocol.ts'
import { implement, type Call, type UserCall } from '../api/route.ts'
import { powers, type Power } from '../access/authz.ts'
import { newRow } from '../context.ts'
import { notFound } from '#actors/http/errors.ts'
import { alpineSource, urlSource } from './images.ts'
import { projectOf, type Project } from '../lookup.ts'
import { identityView } from '../names.ts'
import { imageCreateSaga, type ImageCreateParams } from '../sagas/image-create.ts'
import { imageDeleteSaga } from '../sagas/image-delete.ts'
import { imageById, readySnapshot, type Image } from './sources.ts'
import { listPage } from '../store/page.ts'

const view = (row: Image) => ({
  ...identityView(row),
  project_id: row.project_id,
  url: row.url,
  version: row.version,
  digest: null,
  block_size: row.block_size,
  size: row.size_bytes,
})

async function imageOf(call: UserCall, needed: Power): Promise<Image> {
  const project = await projectOf(call, needed)
  const name = call.path('image_name')
  const row = await call.services.store
    .selectFrom('image')
    .selectAll()
    .where('project_id', '=', project.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('image', name)
  return row
}

export const projectImageRoutes = [
  implement('image_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('image')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      view,
    )
  }),

  implement('image_create', async (call) => {
    const project = await projectOf(call, powers.collaborator)
    const params = await planImage(call, project)
    const { sagas, work } = call.services
    await sagas.run(imageCreateSaga, params, work?.span)
    return view(params.image)
  }),

  implement('image_view', async (call) => view(await imageOf(call, powers.viewer))),

  implement('image_view_by_id', async (call) => view(await imageById(call, call.path('id')))),

  implement('image_delete', async (call) => {
    const { id, sled_id } = await imageOf(call, powers.collaborator)
    const { sagas, work } = call.services
    await sagas.run(imageDeleteSaga, { id, sled_id }, work?.span)
    return null
  }),
]

/** What the request says of blocks counts for a URL only: other sources have theirs. */
async function planImage(call: Call<'image_create'>, project: Project): Promise<ImageCreateParams> {
  const { services, body } = call
  const row = { ...newRow(services, body), project_id: project.id, version: null }
  switch (body.source.type) {
    case 'snapshot': {
      const { id, sled_id, block_size, size_bytes } = await readySnapshot(call, body.source.id)
      const source: VolumeSource = { type: 'volume', id: row.id }
      const made = { url: null, sled_id, block_size, size_bytes, source: JSON.stringify(source) }
      return { image: { ...row, ...made }, snapshot: { id, sled_id } }
    }
    case 'url': {
      const { url } = body.source
      const { block_size } = body
      const source = await urlSource(services, url, block_size)
      const { size_bytes } = source
      const found = { url, sled_id: null, block_size, size_bytes, source: JSON.stringify(source) }
      return { image: { ...row, ...found }, snapshot: null }
    }
    case 'you_can_boot_anything_as_long_as_its_alpine': {
      const { size_bytes } = alpineSource
      const known = { url: null, sled_id: null, block_size: 512, size_bytes }
      return { image: { ...row, ...known, source: JSON.stringify(alpineSource) }, snapshot: null }
    }
  }
}
