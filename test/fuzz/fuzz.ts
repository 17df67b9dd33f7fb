/**
 * A fuzzer that learns: an input that a target treats in a new way is kept, and more inputs are made of
 * it. `corpus/` holds such inputs, one file each, named by what they are; every run begins with them.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '#runtime/random.ts'
import { mutate, picker, type Pick } from './mutate.ts'
import { targets, type Target } from './targets.ts'

export const corpus = fileURLToPath(new URL('corpus/', import.meta.url))

/** The kept inputs of a target by their names. */
export function kept(target: string): ReadonlyMap<string, Buffer> {
  const folder = `${corpus}${target}`
  if (!existsSync(folder)) return new Map()
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(`${folder}/${name}`)]))
}

export function keep(target: string, name: string, input: Buffer): string {
  const file = `${corpus}${target}/${name}`
  mkdirSync(`${corpus}${target}`, { recursive: true })
  writeFileSync(file, input)
  return file
}

export interface Find {
  readonly input: Buffer
  readonly error: unknown
}
export interface Fuzzed {
  readonly runs: number
  /** Inputs that were treated in a new way, by how. */
  readonly novel: ReadonlyMap<string, Buffer>
  /** What does not hold; null when all does. */
  readonly find: Find | null
}

/** Runs the corpus, then new inputs from `seed`, while `isOn`. */
export async function fuzz(
  name: string,
  seed: number,
  isOn: (runs: number) => boolean,
): Promise<Fuzzed> {
  const target = targets[name]
  if (target === undefined) throw new Error(`there is no target ${name}`)
  const pick = picker(seededRandom(seed))
  const ways = new Ways()
  const pool = [...Object.values(target.seeds()), ...kept(name).values()]
  const known = pool.length
  let runs = 0
  for (; runs < known || isOn(runs); runs += 1) {
    const input = runs < known ? (pool[runs] ?? nothing) : next(target, pool, pick)
    const tried = await attempt(target, input)
    if (typeof tried !== 'string') return { runs, novel: ways.novel, find: tried }
    if (ways.add(tried, input, runs < known) && runs >= known) pool.push(input)
  }
  return { runs, novel: ways.novel, find: null }
}

const nothing = Buffer.alloc(0)
function next(target: Target, pool: readonly Buffer[], pick: Pick): Buffer {
  const [one, other] = [pool[pick(pool.length)], pool[pick(pool.length)]]
  const changed = mutate(one ?? nothing, other ?? nothing, pick)
  return target.mend?.(changed, pick) ?? changed
}

/** The ways in which inputs were treated. */
class Ways {
  readonly novel = new Map<string, Buffer>()
  readonly #known = new Set<string>()

  /** True when it is a new way. Of those that are new the shortest input is kept: it says best what it is. */
  add(way: string, input: Buffer, isKnown: boolean): boolean {
    const isNew = !this.#known.has(way)
    this.#known.add(way)
    const shortest = this.novel.get(way)
    const isShorter = shortest !== undefined && input.length < shortest.length
    if ((isNew && !isKnown) || isShorter) this.novel.set(way, input)
    return isNew
  }
}

async function attempt(target: Target, input: Buffer): Promise<string | Find> {
  try {
    return await target.run(input)
  } catch (error) {
    return { input, error }
  }
}
