/**
 * Takes what other threads send to this one. After work it looks again for a few microseconds before
 * it sleeps, because a wake costs twenty times a look; but only while looking finds something and this
 * thread has a core to itself. It never blocks: after a few looks the event loop has its turn.
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
/**
 * So many looks and frames may follow each other before timers and sockets have their turn: a turn of
 * the loop takes longer than another thread does to answer.
 */
const in_a_row_max = 64
/** How often to look at once, with pauses of some 50 ns that leave a shared core to others. */
const glances = 64
/** Between looks all that was set off is done first, so that others see it: promises, then ticks. */
const soon = Promise.resolve()
/** How long to look for more after the last frame. */
const look_ms_max = 0.05
/** Two looks further apart than this: the core is shared, or the loop has other work. */
const look_gap_ms_max = 0.02
/** How long not to look at all after looking was in vain. */
const rest_ms = 10
/** And after the core was taken away: at first this long, then twice as long each time, until finds came in a row. */
const rest_ms_min = 0.5
const finds_in_a_row = 256
/** Of this many spells of looking, half must find something. */
const spells = 16

export class Poller {
  readonly #sources = new Set<Source>()
  readonly #bell: Bell
  #isQueued = false
  #inARow = 0
  #isStopped = false
  #lookUntil_ms = 0
  #lastLook_ms = 0
  #restUntil_ms = 0
  #spells = 0
  #finds = 0
  #findsInARow = 0
  #rest_ms = rest_ms_min

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
    if (this.#inARow < in_a_row_max) {
      void soon.then(this.#afterPromises)
    } else {
      this.#inARow = 0
      setImmediate(this.#turn)
    }
  }

  readonly #afterPromises = (): void => {
    process.nextTick(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isQueued = false
    if (this.#isStopped) return
    let taken = this.#drainAll()
    const mayLook = taken > 0 || this.#mayLook()
    if (taken === 0 && mayLook && this.#glance()) taken = this.#drainAll()
    this.#inARow += 1 + taken
    if (taken > 0 && this.#lookUntil_ms > 0) this.#found()
    if (mayLook) this.#queue()
    else this.#sleep()
  }

  #found(): void {
    this.#lookUntil_ms = 0
    this.#finds += 1
    this.#findsInARow += 1
    if (this.#findsInARow > finds_in_a_row) this.#rest_ms = rest_ms_min
  }

  #drainAll(): number {
    let taken = 0
    for (const source of this.#sources) taken += this.#drain(source)
    return taken
  }

  /** Whether something comes within a few microseconds. */
  #glance(): boolean {
    for (let glance = 0; glance < glances; glance += 1) {
      for (const source of this.#sources) if (source.hasMore()) return true
      Atomics.pause()
    }
    return false
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
      const isWorth = this.#finds * 2 >= this.#spells
      this.#spells = 0
      this.#finds = 0
      if (!isWorth) this.#restUntil_ms = now_ms + rest_ms
      return isWorth
    }
    if (gap_ms > look_gap_ms_max) {
      this.#restUntil_ms = now_ms + this.#rest_ms
      this.#rest_ms = Math.min(rest_ms, this.#rest_ms * 2)
      this.#findsInARow = 0
      return false
    }
    return now_ms < this.#lookUntil_ms
  }

  #sleep(): void {
    this.#lookUntil_ms = 0
    this.#inARow = 0
    this.#bell.sleep()
    for (const source of this.#sources) {
      if (!source.hasMore()) continue
      this.#bell.awake()
      this.#queue()
      return
    }
  }
}
