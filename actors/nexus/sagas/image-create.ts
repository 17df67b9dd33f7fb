/**
 * image-create: for an image of a snapshot a volume of its own, so that the two go in any order; then the
 * record. Nobody can see the image before it is whole.
 */
import { alreadyExists } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import type { Saga, SagaNode } from '../saga-nodes.ts'
import type { Image } from '../storage/sources.ts'
import { isConflict } from '../store/failure.ts'
import { transact } from '../store/transact.ts'
import { destroyVolume, makeVolume } from '../storage/volumes.ts'

export interface ImageCreateParams {
  /** The record as it will be inserted. */
  readonly image: Image
  /** Null when the image is fetched from elsewhere each time. */
  readonly snapshot: { readonly id: string; readonly sled_id: string } | null
}
type Node = SagaNode<ImageCreateParams>

export const imageCreateSaga: Saga<ImageCreateParams> = {
  name: 'image-create',
  nodes: ({ snapshot }) => (snapshot === null ? [recordNode] : [volumeNode(snapshot), recordNode]),
}

const volumeNode = ({ id, sled_id }: NonNullable<ImageCreateParams['snapshot']>): Node => ({
  name: 'image_volume',
  action: async ({ services, params }) => {
    const { image } = params
    await makeVolume(services, { ...image, sled_id, source: { type: 'volume', id } })
  },
  undo: async ({ services, params }) => {
    await destroyVolume(services, { id: params.image.id, sled_id })
  },
})

const recordNode: Node = {
  name: 'created_image',
  writes:
    ({ params: { image } }) =>
    async (store) => {
      await demandLive(store, 'project', { id: image.project_id, name: null })
      try {
        await store.insertInto('image').values(image).execute()
      } catch (error) {
        throw isConflict(error) ? alreadyExists('image', image.name) : error
      }
      return null
    },
  undo: async ({ services, params }) => {
    await transact(services, async (store) => {
      await store.deleteFrom('image').where('id', '=', params.image.id).execute()
    })
  },
}
