/**
 * A fuzzer that learns: an input that a target treats in a new way is kept, and more inputs are made of
 * it. `corpus/` holds such inputs, one file each, named by what they are; every run begins with them.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '#runtime/random.ts'
import { mutate, picker } from './mutate.ts'
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
  const ways = new Map<string, Buffer>()
  const novel = new Map<string, Buffer>()
  const pool = [...Object.values(target.seeds()), ...kept(name).values()]
  let runs = 0
  for (const input of pool) {
    const tried = await attempt(target, input)
    runs += 1
    if (typeof tried !== 'string') return { runs, novel, find: tried }
    ways.set(tried, input)
  }
  while (isOn(runs)) {
    const [one, other] = [pool[pick(pool.length)], pool[pick(pool.length)]]
    if (one === undefined || other === undefined) break
    const changed = mutate(one, other, pick)
    const input = target.mend?.(changed, pick) ?? changed
    const tried = await attempt(target, input)
    runs += 1
    if (typeof tried !== 'string') return { runs, novel, find: tried }
    const known = ways.get(tried)
    if (known !== undefined) {
      // The shortest of its kind says best what it is.
      if (novel.has(tried) && input.length < (novel.get(tried)?.length ?? 0)) {
        novel.set(tried, input)
      }
      continue
    }
    ways.set(tried, input)
    novel.set(tried, input)
    pool.push(input)
  }
  return { runs, novel, find: null }
}

async function attempt(target: Target, input: Buffer): Promise<string | Find> {
  try {
    return await target.run(input)
  } catch (error) {
    return { input, error }
  }
}
