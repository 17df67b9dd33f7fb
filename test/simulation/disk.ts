/**
 * A sled's disk, and the journal on it as far as actors see it: a map from keys to texts whose writes end
 * when they are durable, those of one turn together. The disk outlives processes; a write that was
 * under way when its thread ended is there afterwards or is not.
 */
import type { Random } from '#runtime/random.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import type { Life, World } from './world.ts'

interface Write {
  readonly key: string
  readonly text: string
  readonly done: (answer: Result<null, 'refused'>) => void
  readonly ended: Promise<unknown>
}

export interface DiskTrouble {
  /** What a sync takes at most. */
  sync_ms_max: number
  /** Of syncs: they fail, and nothing of them is durable. */
  failing_share: number
}
export const calmDisk = (): DiskTrouble => ({ sync_ms_max: 5, failing_share: 0 })

export class SimDisk {
  readonly trouble: DiskTrouble = calmDisk()
  readonly #durable = new Map<string, string>()
  readonly #world: World
  readonly #random: Random
  readonly #name: string
  readonly #changed: (key: string, text: string) => void

  /** `changed` sees every entry that has become durable. */
  constructor(world: World, name: string, changed: (key: string, text: string) => void) {
    this.#world = world
    this.#random = world.fork()
    this.#name = name
    this.#changed = changed
  }

  get random(): Random {
    return this.#random
  }

  look(key: string): string | null {
    return this.#durable.get(key) ?? null
  }
  apply(writes: readonly Write[], how: string): void {
    this.#world.note(this.#name, `sync ${how} ${writes.map(({ key }) => key).join(' ')}`)
    if (how !== 'done' && how !== 'done unseen') return
    for (const { key, text } of writes) {
      this.#durable.set(key, text)
      this.#changed(key, text)
    }
  }
}

/** The disk as one thread has opened it. */
export class SimJournal {
  readonly #disk: SimDisk
  readonly #life: Life
  #waiting: Write[] = []
  #syncing: readonly Write[] | null = null

  constructor(disk: SimDisk, life: Life) {
    this.#disk = disk
    this.#life = life
    life.onEnd(() => {
      const writes = this.#syncing
      this.#syncing = null
      if (writes === null) return
      disk.apply(writes, disk.random.next() < 0.5 ? 'done unseen' : 'lost')
    })
  }

  /** What is durable when all that came before is, or is refused. */
  async get(key: string): Promise<string | null> {
    if (this.#waiting.length > 0) await this.#waiting.at(-1)?.ended
    return this.#disk.look(key)
  }

  /** Ends when the text is durable, or is surely not. */
  put(key: string, text: string): Promise<Result<null, 'refused'>> {
    const { promise, resolve } = Promise.withResolvers<Result<null, 'refused'>>()
    this.#waiting.push({ key, text, done: resolve, ended: promise })
    if (this.#waiting.length === 1) {
      this.#life.after(0, () => {
        this.#sync()
      })
    }
    return promise
  }

  /** The thread waits for the disk, and nothing else of it runs meanwhile. */
  #sync(): void {
    const { trouble, random } = this.#disk
    const writes = this.#waiting
    this.#waiting = []
    this.#syncing = writes
    const isFailing = random.next() < trouble.failing_share
    const sync_ms = 0.2 + random.next() * trouble.sync_ms_max
    this.#life.stop(sync_ms)
    this.#life.after(sync_ms, () => {
      this.#syncing = null
      this.#disk.apply(writes, isFailing ? 'failed' : 'done')
      for (const { key, done } of writes) {
        done(isFailing ? err('refused', `${key}: the disk does not sync`) : ok(null))
      }
    })
  }
}
