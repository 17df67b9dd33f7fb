/** The numbers that stand for actors on a channel: ours for those there, theirs for those here. */
import { limits } from '#config/limits.ts'
import type { Cell } from '../actor/cell.ts'
import type { Cursor } from '../codec/cursor.ts'
import type { Answer } from '../actor/message.ts'
import type { ActorRef } from '../actor/ref.ts'
import { err } from '../result.ts'
import type { Kind } from '../actor/services.ts'
import { bindCodec, FrameError } from '../wire/frame.ts'

/** Whom a number of the other end stands for. */
export interface Bound {
  /** Empty for this host. */
  readonly host: string
  readonly protocol: string
  readonly actor: string
  /** Why it may not be called; null when it may. */
  readonly refusal: Answer | null
  /** What was found here at the last call. */
  kind: Kind | null
  cell: Cell | null
}

export const nameOf = ({ protocol, actor }: Bound): string => `${protocol}/${actor}`

export class Bindings {
  /** What no number was given to. */
  readonly nobody = bound('', '', '', err('unreachable', 'nobody was called'))
  readonly #guard: ((host: string, protocol: string) => Answer | null) | null
  readonly #theirs: Bound[] = []
  readonly #numbers = new Map<string, number>()
  readonly #names: (string | null)[] = []
  #next = 0

  constructor(guard: ((host: string, protocol: string) => Answer | null) | null) {
    this.#guard = guard
  }

  isBound(ref: ActorRef): boolean {
    return ref.key !== '' && this.#names[ref.number] === ref.key
  }

  remember(ref: ActorRef, number: number): void {
    ref.number = number
    ref.key = this.#names[number] ?? ''
  }

  /** The number of an actor there; a new one has still to be told to the other end. */
  numberOf(host: string, protocol: string, actor: string): { number: number; isNew: boolean } {
    const name = `${host}\n${protocol}\n${actor}`
    const found = this.#numbers.get(name)
    if (found !== undefined) return { number: found, isNew: false }
    // When all are used the oldest is given away: whoever still uses it binds again.
    const number = this.#next
    this.#next = (number + 1) % limits.link_bindings_max
    this.forget(number)
    this.#numbers.set(name, number)
    this.#names[number] = name
    return { number, isNew: true }
  }

  forget(number: number): void {
    const name = this.#names[number] ?? null
    if (name !== null) this.#numbers.delete(name)
    this.#names[number] = null
  }

  /** Takes a `bind` frame's payload. Throws FrameError. */
  take(number: number, cursor: Cursor): void {
    if (number >= limits.link_bindings_max) throw new FrameError(`binding ${number} is too high`)
    let names: readonly string[]
    try {
      names = bindCodec.read(cursor) as readonly string[]
    } catch (cause) {
      throw new FrameError('a binding that names nobody', { cause })
    }
    const [host = '', protocol = '', actor = ''] = names
    this.#theirs[number] = bound(host, protocol, actor, this.#guard?.(host, protocol) ?? null)
  }

  /** Whom a number stands for. Throws FrameError when it was given to nobody. */
  at(number: number): Bound {
    const found = this.#theirs[number]
    if (found === undefined) throw new FrameError(`number ${number} was bound to nobody`)
    return found
  }
}

const bound = (host: string, protocol: string, actor: string, refusal: Answer | null): Bound => ({
  host,
  protocol,
  actor,
  refusal,
  kind: null,
  cell: null,
})
