/** Global images: what a disk's first bytes may come from. */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import type { ImageSource } from '#actors/disk.protocol.ts'
import type { globalImageCreate } from './api/contract/images.ts'
import { implement } from './api/route.ts'
import { demandFleet, powers } from './authz.ts'
import { newRow, type Services } from './context.ts'
import {
  type ApiError,
  alreadyExists,
  internal,
  invalidValue,
  notFound,
  notFoundById,
  unavailable,
} from './errors.ts'
import { identityView } from './names.ts'
import { isConflict } from './store/failure.ts'
import { listPage } from './store/page.ts'
import type { Tables } from './store/schema.ts'

export type Image = Selectable<Tables['global_image']>

/** Size of the guest image that stands where the guide has alpine.iso: fixed, as there. */
const alpine_bytes = 104_857_600

const view = (row: Image) => ({
  ...identityView(row),
  url: row.url,
  distribution: row.distribution,
  version: row.version,
  digest: null,
  block_size: row.block_size,
  size: row.size_bytes,
})

type Create = Static<typeof globalImageCreate>
type Content = Pick<
  Image,
  'url' | 'distribution' | 'version' | 'block_size' | 'size_bytes' | 'source'
>

export const imageRoutes = [
  implement('system_image_list', async ({ services, page }) => {
    return await listPage(
      services.store.selectFrom('global_image').selectAll().where('time_deleted_ms', 'is', null),
      page,
      view,
    )
  }),

  implement('system_image_create', async ({ services, actor, body }) => {
    await demandFleet(services, actor, powers.admin)
    const row = { ...newRow(services, body), ...(await contentOf(services, body)) }
    try {
      await services.store.insertInto('global_image').values(row).execute()
    } catch (error) {
      throw isConflict(error) ? alreadyExists('global-image', body.name) : error
    }
    return view(row)
  }),

  implement('system_image_view', async ({ services, path }) => {
    const name = path('image_name')
    const row = await services.store
      .selectFrom('global_image')
      .selectAll()
      .where('name', '=', name)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (row === undefined) throw notFound('global-image', name)
    return view(row)
  }),

  implement('system_image_view_by_id', async ({ services, path }) =>
    view(await imageById(services, path('id'))),
  ),

  // Not built there, and answered as there: the guide's table of refusals has it.
  implement('system_image_delete', async ({ services, actor }) => {
    await demandFleet(services, actor, powers.admin)
    throw internal()
  }),
]

export async function imageById(services: Services, id: string): Promise<Image> {
  const row = await services.store
    .selectFrom('global_image')
    .selectAll()
    .where('id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFoundById('global-image', id)
  return row
}

async function contentOf(services: Services, body: Create): Promise<Content> {
  switch (body.source.type) {
    case 'snapshot':
      throw unavailable()
    case 'url':
      return await fromUrl(services, body, body.source.url)
    case 'you_can_boot_anything_as_long_as_its_alpine': {
      const source: ImageSource = { type: 'alpine', size_bytes: alpine_bytes }
      // What the request says of blocks and distribution is not asked for this source.
      return {
        url: null,
        distribution: 'alpine',
        version: 'propolis-blob',
        block_size: 512,
        size_bytes: alpine_bytes,
        source: JSON.stringify(source),
      }
    }
  }
}

async function fromUrl(services: Services, body: Create, url: string): Promise<Content> {
  const probed = await services.sleds.probeImage(url)
  if (!probed.ok) {
    throw urlError(probed.error, probed.detail)
  }
  const { size_bytes } = probed.value
  if (size_bytes % body.block_size !== 0) {
    throw invalidValue(
      'size',
      `total size ${size_bytes} must be divisible by block size ${body.block_size}`,
    )
  }
  const source: ImageSource = { type: 'url', url, size_bytes }
  return {
    url,
    distribution: body.distribution.name,
    version: body.distribution.version,
    block_size: body.block_size,
    size_bytes,
    source: JSON.stringify(source),
  }
}

function urlError(code: string, detail: string): ApiError {
  if (code === 'bad_status') return invalidValue('url', `querying url returned: ${detail}`)
  if (code === 'no_length') return invalidValue('url', `error querying url: ${detail}`)
  if (code === 'unreachable_url') return invalidValue('url', `error querying url: ${detail}`)
  return unavailable()
}
