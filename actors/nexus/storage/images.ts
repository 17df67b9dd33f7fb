/** Global images: what a disk's first bytes may come from. */
import type { Static } from 'typebox'
import type { ImageSource } from '#actors/disk.protocol.ts'
import type { globalImageCreate } from '../api/contract/images.ts'
import { implement } from '../api/route.ts'
import { demandFleet, powers } from '../access/authz.ts'
import { newRow, type Services } from '../context.ts'
import {
  type ApiError,
  alreadyExists,
  invalidValue,
  notFound,
  unavailable,
} from '#actors/http/errors.ts'
import { identityView } from '../names.ts'
import { globalImageById, type GlobalImage } from './sources.ts'
import { isConflict } from '../store/failure.ts'
import { listPage } from '../store/page.ts'

/** The guest image that stands where the guide has alpine.iso: of a fixed size, as there. */
export const alpineSource: ImageSource = { type: 'alpine', size_bytes: 104_857_600 }

const view = (row: GlobalImage) => ({
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
  GlobalImage,
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

  implement('system_image_view', async ({ services, path }) =>
    view(await imageNamed(services, path('image_name'))),
  ),

  implement('system_image_view_by_id', async ({ services, path }) =>
    view(await globalImageById(services, path('id'))),
  ),

  // Disks that were made from it have its bytes, and go on saying where they are from.
  implement('system_image_delete', async ({ services, actor, path }) => {
    const { id } = await imageNamed(services, path('image_name'))
    await demandFleet(services, actor, powers.admin)
    await services.store
      .updateTable('global_image')
      .set({ time_deleted_ms: services.clock.now() })
      .where('id', '=', id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    return null
  }),
]

async function imageNamed({ store }: Services, name: string): Promise<GlobalImage> {
  const row = await store
    .selectFrom('global_image')
    .selectAll()
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('global-image', name)
  return row
}

async function contentOf(services: Services, body: Create): Promise<Content> {
  switch (body.source.type) {
    case 'snapshot':
      throw unavailable()
    case 'url':
      return await fromUrl(services, body, body.source.url)
    case 'you_can_boot_anything_as_long_as_its_alpine': {
      // What the request says of blocks and distribution is not asked for this source.
      return {
        url: null,
        distribution: 'alpine',
        version: 'propolis-blob',
        block_size: 512,
        size_bytes: alpineSource.size_bytes,
        source: JSON.stringify(alpineSource),
      }
    }
  }
}

async function fromUrl(services: Services, body: Create, url: string): Promise<Content> {
  const source = await urlSource(services, url, body.block_size)
  return {
    url,
    distribution: body.distribution.name,
    version: body.distribution.version,
    block_size: body.block_size,
    size_bytes: source.size_bytes,
    source: JSON.stringify(source),
  }
}

/** What is behind a URL, as a sled sees it. Throws 400 when it is not an image of whole blocks. */
export async function urlSource(
  services: Services,
  url: string,
  block_size: number,
): Promise<ImageSource> {
  const probed = await services.sleds.probeImage(url)
  if (!probed.ok) {
    throw urlError(probed.error, probed.detail)
  }
  const { size_bytes } = probed.value
  if (size_bytes % block_size !== 0) {
    throw invalidValue(
      'size',
      `total size ${size_bytes} must be divisible by block size ${block_size}`,
    )
  }
  return { type: 'url', url, size_bytes }
}

function urlError(code: string, detail: string): ApiError {
  if (code === 'bad_status') return invalidValue('url', `querying url returned: ${detail}`)
  if (code === 'no_length') return invalidValue('url', `error querying url: ${detail}`)
  if (code === 'unreachable_url') return invalidValue('url', `error querying url: ${detail}`)
  return unavailable()
}
