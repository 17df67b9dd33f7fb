/**
 * Watches the frames of one channel as its two ends send them, and knows what may be said when: every call
 * is answered once at most, only what was asked is answered, a watch tells once, and no end skips or
 * repeats a number.
 */
import { cursorOver } from '#runtime/codec/cursor.ts'
import { emptyHeader, kinds, readHeader, type Header } from '#runtime/wire/frame.ts'
import { Violation } from './world.ts'

export const kindNames: readonly string[] = [
  '?',
  ...Object.entries(kinds)
    .toSorted(([, one], [, other]) => one - other)
    .map(([name]) => name),
]

/** What one end has asked of the other. */
class Asked {
  sent = 0
  /** Calls without an answer; true when the caller has given up meanwhile. */
  readonly calls = new Map<number, boolean>()
  readonly watches = new Map<number, boolean>()
}
export type End = 0 | 1

export class FrameWatch {
  readonly #name: string
  readonly #fail: (violation: Violation) => void
  readonly #ends: readonly [Asked, Asked] = [new Asked(), new Asked()]
  readonly #header: Header = emptyHeader()

  /** `fail` is told of what may not be: whoever sends would take an error for its own. */
  constructor(name: string, fail: (violation: Violation) => void) {
    this.#name = name
    this.#fail = fail
  }

  /** Calls that an end still waits for, by the frames that it sent. */
  open(end: End): number {
    return [...this.#ends[end].calls.values()].filter((isGivenUp) => !isGivenUp).length
  }

  /** Takes a whole frame that an end has sent; gives back its header. */
  sent(end: End, bytes: Buffer): Readonly<Header> {
    const header = this.#header
    readHeader(cursorOver(bytes), header)
    const mine = this.#ends[end]
    const theirs = this.#ends[end === 0 ? 1 : 0]
    mine.sent += 1
    if (header.sequence !== mine.sent) {
      this.#wrong(end, `frame ${header.sequence} was sent where ${mine.sent} was due`)
    }
    const { kind, correlation } = header
    if (kind === kinds.call) this.#begin(end, mine.calls, 'call')
    else if (kind === kinds.monitor) this.#begin(end, mine.watches, 'watch')
    else if (kind === kinds.cancel) this.#giveUp(end, mine.calls, 'call')
    else if (kind === kinds.demonitor) this.#giveUp(end, mine.watches, 'watch')
    else if (kind === kinds.reply || kind === kinds.failure) {
      if (!theirs.calls.delete(correlation)) this.#wrong(end, 'an answer to no open call')
    } else if (kind === kinds.down && !theirs.watches.delete(correlation)) {
      this.#wrong(end, 'news of what is not watched')
    }
    return header
  }

  #begin(end: End, open: Map<number, boolean>, what: string): void {
    if (open.get(this.#header.correlation) === false) {
      this.#wrong(end, `a number for a new ${what} that an open one has`)
    }
    open.set(this.#header.correlation, false)
  }

  #giveUp(end: End, open: Map<number, boolean>, what: string): void {
    const { correlation } = this.#header
    // It may have been answered in this very moment: then the frames cross.
    if (open.get(correlation) === true) this.#wrong(end, `a ${what} is given up twice`)
    if (open.has(correlation)) open.set(correlation, true)
  }

  #wrong(end: End, what: string): void {
    const { kind, correlation } = this.#header
    const name = kindNames[kind] ?? String(kind)
    this.#fail(new Violation(`${this.#name}, end ${end}: ${what} (${name} ${correlation})`))
  }
}
