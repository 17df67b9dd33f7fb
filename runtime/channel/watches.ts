/** Who watches whom over a channel: ours for actors there, theirs for actors here. */
import { limits } from '#config/limits.ts'
import type { Down } from '../actor/actor.ts'
import type { Cursor } from '../codec/cursor.ts'
import { FrameError } from '../wire/frame.ts'
import type { Bound } from './bindings.ts'
import { readPair } from './calls.ts'

export class Watches {
  readonly #ours = new Map<number, (down: Down) => void>()
  readonly #theirs = new Map<number, () => void>()
  #next = 1

  get counts(): { readonly watches: number; readonly watched: number } {
    return { watches: this.#ours.size, watched: this.#theirs.size }
  }
  get isFull(): boolean {
    return this.#ours.size >= limits.link_watches_max
  }

  /** A number for one more watch of ours; the caller has looked whether there is room. */
  add(watcher: (down: Down) => void): number {
    const watch = this.#next
    this.#next = watch === 0xffff_ffff ? 1 : watch + 1
    this.#ours.set(watch, watcher)
    return watch
  }

  /** False when it has ended already. */
  delete(watch: number): boolean {
    return this.#ours.delete(watch)
  }

  /** Takes a `down` frame's payload. Throws FrameError. */
  takeDown(watch: number, cursor: Cursor): void {
    const [reason, detail] = readPair(cursor)
    const watcher = this.#ours.get(watch)
    this.#ours.delete(watch)
    watcher?.({ reason: isReason(reason) ? reason : 'crashed', detail })
  }

  /**
   * Begins a watch for the other end: `begin` watches, `told` sends what came of it. Throws FrameError
   * beyond the bound.
   */
  serve(
    watch: number,
    bound: Bound,
    begin: (watcher: (down: Down) => void) => () => void,
    told: (down: Down) => void,
  ): void {
    if (this.#theirs.has(watch) || this.#theirs.size >= limits.link_watches_max) {
      throw new FrameError(`watch ${watch} is one too many`)
    }
    const tell = (down: Down) => {
      this.#theirs.delete(watch)
      told(down)
    }
    const { refusal } = bound
    this.#theirs.set(watch, () => undefined)
    if (refusal !== null && !refusal.ok) {
      tell({ reason: 'absent', detail: refusal.detail })
      return
    }
    const stop = begin(tell)
    // It may have told at once.
    if (this.#theirs.has(watch)) this.#theirs.set(watch, stop)
  }

  /** The other end does not want to know any more. */
  end(watch: number): void {
    this.#theirs.get(watch)?.()
    this.#theirs.delete(watch)
  }

  /** The channel is gone. */
  close(down: Down): void {
    for (const stop of this.#theirs.values()) stop()
    this.#theirs.clear()
    const watchers = [...this.#ours.values()]
    this.#ours.clear()
    for (const watcher of watchers) watcher(down)
  }
}

const reasons: ReadonlySet<string> = new Set<Down['reason']>([
  'absent',
  'ended',
  'stopped',
  'crashed',
  'unreachable',
])
const isReason = (text: string): text is Down['reason'] => reasons.has(text)
