/** The nouns that can only be looked at: `vpc`, `image`, `rack`, `sled`. */
import type { Noun } from './command.ts'
import { listVerb, viewVerb, type Kind } from './crud.ts'
import { images, racks, sleds, vpcs } from './kinds.ts'

const look = (name: string, kind: Kind): Noun => ({
  name,
  aliases: [`${name}s`],
  summary: kind.labels,
  verbs: [listVerb(kind), viewVerb(kind)],
})

export const vpc = look('vpc', vpcs)
export const image = look('image', images)
export const rack = look('rack', racks)
export const sled = look('sled', sleds)
