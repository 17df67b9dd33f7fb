/** image-delete: the volume, where the image has one, then the record. */
import type { Saga } from '../saga-nodes.ts'
import type { Image } from '../storage/sources.ts'
import { volumeGoneNodes } from './volume-gone.ts'

type Params = Pick<Image, 'id' | 'sled_id'>

export const imageDeleteSaga: Saga<Params> = {
  name: 'image-delete',
  nodes: () => volumeGoneNodes('image', { volume: 'image_volume', record: 'image_record' }),
}
