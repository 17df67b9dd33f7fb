/** Images of the fleet and of projects. */
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
  url,
  version,
} from '#actors/http/words.ts'

const imagesPath = '/organizations/{organization_name}/projects/{project_name}/images'

export const digest = Type.Union(
  [Type.Object({ type: Type.Literal('sha256'), value: Type.String() })],
  { component: 'Digest' },
)

export const distribution = Type.Object({ name, version }, { component: 'Distribution' })

export const globalImage = Type.Object(
  {
    ...named,
    block_size: byteCount,
    digest: maybe(digest),
    distribution: Type.String(),
    size: byteCount,
    url: maybe(Type.String()),
    version: Type.String(),
  },
  { component: 'GlobalImage' },
)

export const imageSource = Type.Union(
  [
    Type.Object({ type: Type.Literal('url'), url }),
    Type.Object({ type: Type.Literal('snapshot'), id: uuid }),
    Type.Object({ type: Type.Literal('you_can_boot_anything_as_long_as_its_alpine') }),
  ],
  { component: 'ImageSource' },
)

export const globalImageCreate = Type.Object(
  { ...identity, block_size: blockSize, distribution, source: imageSource },
  { component: 'GlobalImageCreate' },
)

export const image = Type.Object(
  {
    ...named,
    block_size: byteCount,
    digest: maybe(digest),
    project_id: uuid,
    size: byteCount,
    url: maybe(Type.String()),
    version: maybe(Type.String()),
  },
  { component: 'Image' },
)

export const imageCreate = Type.Object(
  { ...identity, block_size: blockSize, source: imageSource },
  { component: 'ImageCreate' },
)

export const imagesOperations = {
  image_view_by_id: operation('GET /by-id/images/{id}', {
    tag: 'images',
    summary: 'Fetch an image by id',
    reply: image,
  }),
  image_list: operation(`GET ${imagesPath}`, {
    tag: 'images',
    summary: 'List images',
    page: 'name',
    reply: page(image),
  }),
  image_create: operation(`POST ${imagesPath}`, {
    tag: 'images',
    summary: 'Create an image',
    body: imageCreate,
    reply: image,
  }),
  image_view: operation(`GET ${imagesPath}/{image_name}`, {
    tag: 'images',
    summary: 'Fetch an image',
    reply: image,
  }),
  image_delete: operation(`DELETE ${imagesPath}/{image_name}`, {
    tag: 'images',
    summary: 'Delete an image',
    reply: 'nothing',
  }),
  system_image_view_by_id: operation('GET /system/by-id/images/{id}', {
    tag: 'system',
    summary: 'Fetch a system-wide image by id',
    reply: globalImage,
  }),
  system_image_list: operation('GET /system/images', {
    tag: 'system',
    summary: 'List system-wide images',
    page: 'name',
    reply: page(globalImage),
  }),
  system_image_create: operation('POST /system/images', {
    tag: 'system',
    summary: 'Create a system-wide image',
    body: globalImageCreate,
    reply: globalImage,
  }),
  system_image_view: operation('GET /system/images/{image_name}', {
    tag: 'system',
    summary: 'Fetch a system-wide image',
    reply: globalImage,
  }),
  system_image_delete: operation('DELETE /system/images/{image_name}', {
    tag: 'system',
    summary: 'Delete a system-wide image',
    reply: 'nothing',
  }),
}
