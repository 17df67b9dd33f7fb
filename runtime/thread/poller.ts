/**
 * Takes what other threads send to this one. After work it looks again for a few microseconds before
 * it sleeps, because a wake costs twenty times a look; but only while looking finds something and this
 * thread has a core to itself. It never blocks: between two looks the event loop has its turn.
 */
import { FrameError } from '../wire/frame.ts'
import { Bell, type BellMemory, type Pipes } from './bell.ts'

/** Something that frames come from. */
export interface Source {
  /** Takes up to `max` frames; throws FrameError when the source is broken. */
  readonly drain: (max: number) => number
  readonly hasMore: () => boolean
  /** It is broken: nothing more will be taken. */
  readonly broken: (error: FrameError) => void
}

const frames_a_turn_max = 512
/** How long to look for more after the last frame. */
const look_ms_max = 0.05
/** Two looks further apart than this: the core is shared, or the loop has other work. */
const look_gap_ms_max = 0.02
/** How long not to look at all after looking was in vain. */
const rest_ms = 10
/** Of this many spells of looking, a quarter must find something. */
const spells = 16

export class Poller {
  readonly #sources = new Set<Source>()
  readonly #bell: Bell
  #isQueued = false
  #isStopped = false
  #lookUntil_ms = 0
  #lastLook_ms = 0
  #restUntil_ms = 0
  #spells = 0
  #finds = 0

  constructor(bell: BellMemory, pipes: Pipes | null) {
    this.#bell = new Bell(bell, pipes, () => {
      this.#turn()
    })
    this.#queue()
  }

  add(source: Source): void {
    this.#sources.add(source)
    this.#queue()
  }

  delete(source: Source): void {
    this.#sources.delete(source)
  }

  stop(): void {
    this.#isStopped = true
    this.#bell.close()
  }

  #queue(): void {
    if (this.#isQueued || this.#isStopped) return
    this.#isQueued = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isQueued = false
    if (this.#isStopped) return
    let taken = 0
    for (const source of this.#sources) taken += this.#drain(source)
    if (taken > 0) {
      if (this.#lookUntil_ms > 0) this.#finds += 1
      this.#lookUntil_ms = 0
      this.#queue()
    } else if (this.#mayLook()) {
      this.#queue()
    } else {
      this.#sleep()
    }
  }

  #drain(source: Source): number {
    try {
      return source.drain(frames_a_turn_max)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#sources.delete(source)
      source.broken(error)
      return 0
    }
  }

  /** Whether to look once more instead of sleeping. */
  #mayLook(): boolean {
    const now_ms = performance.now()
    const gap_ms = now_ms - this.#lastLook_ms
    this.#lastLook_ms = now_ms
    if (now_ms < this.#restUntil_ms) return false
    if (this.#lookUntil_ms === 0) {
      this.#lookUntil_ms = now_ms + look_ms_max
      this.#spells += 1
      if (this.#spells < spells) return true
      const isWorth = this.#finds * 4 >= this.#spells
      this.#spells = 0
      this.#finds = 0
      return isWorth || this.#rest(now_ms)
    }
    if (gap_ms > look_gap_ms_max) return this.#rest(now_ms)
    return now_ms < this.#lookUntil_ms
  }

  #rest(now_ms: number): false {
    this.#restUntil_ms = now_ms + rest_ms
    return false
  }

  #sleep(): void {
    this.#lookUntil_ms = 0
    this.#bell.sleep()
    for (const source of this.#sources) {
      if (!source.hasMore()) continue
      this.#bell.awake()
      this.#queue()
      return
    }
  }
}
