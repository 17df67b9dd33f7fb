/**
 * Where to look for a free one of many numbered places: addresses of a subnet, MACs of a VPC. Who
 * creates first looks at the lowest ones, so that a small rack's addresses are those that one
 * expects (Omicron takes the lowest always). But the lowest free one is where everybody goes: those
 * who create at the same time would get into each other's way, and in a large subnet all places
 * below would have to be walked over. So when the lowest few are taken, or somebody was in the way,
 * the search begins at a random place and goes round from there.
 *
 * Places are looked at in groups, each by one statement that reads its own places by their index
 * and nothing else. The first group nearly always has a free one; when nearly all are taken, later
 * groups come to every last place.
 */
import type { Services } from '../context.ts'
import { storeError } from '../store/failure.ts'
import type { Store, StoreTransaction } from '../store/schema.ts'

/** One search for a free place: `tries` is 1 unless others were in the way of the one before. */
export interface Attempt {
  readonly services: Services
  readonly store: Store | StoreTransaction
  readonly tries: number
}
export interface Group {
  /** To be taken before the others, the first that is free first. */
  readonly lowest: readonly number[]
  readonly others: readonly number[]
}

/** How many of the lowest are looked at. */
const lowest_max = 16
/** With more places in a statement, databases would rather read the whole index. */
const group_max = 64

/**
 * Groups that together hold all places from 0 to `count` - 1, round the ring from a random one. The first has
 * `size` of them: few where every free one will do.
 */
export function* placesToTry(
  count: number,
  size: number,
  { services, tries }: Attempt,
): Generator<Group> {
  const start = Math.floor(services.random.next() * count)
  const isFirst = tries === 1
  let group = size
  for (let seen = 0; seen < count; group = Math.min(group * 2, group_max)) {
    const length = Math.min(group, count - seen)
    const others = Array.from({ length }, (_, step) => (start + seen + step) % count)
    const hasLowest = isFirst && seen === 0
    yield { lowest: hasLowest ? numbers(Math.min(lowest_max, count)) : [], others }
    seen += length
  }
}

/**
 * What a transaction throws whose place somebody took after it had looked: it is run again. (Where
 * the database sees that itself it says either this, or that the row is there already.)
 */
export const takenMeanwhile = (place: string): Error =>
  storeError('retry', `${place} was taken meanwhile`)

const numbers = (length: number) => Array.from({ length }, (_, place) => place)
