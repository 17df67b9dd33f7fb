/** Calls over channels, as those who wait for them see them. */
import type { Down } from '../actor.ts'
import { Caller } from '../caller.ts'
import { Misfit, type Cursor } from '../codec/cursor.ts'
import type { Answer } from '../message.ts'
import { isDeliveryFailure } from '../protocol.ts'
import { err, ok } from '../result.ts'
import { failureCodec, FrameError, kinds } from '../wire/frame.ts'
import type { Channel } from './channel.ts'

/** A call that waits for the other end. */
export interface Pending {
  /** Reads the reply at the cursor. */
  readonly take: (kind: number, cursor: Cursor) => void
  readonly finish: (answer: Answer) => void
}
/** A call that is served for the other end. */
export interface Served {
  readonly cancel: (why: string) => void
}

/** A call of an actor of this thread. */
export class RemoteCall extends Caller implements Pending {
  channel: Channel | null = null
  correlation = 0

  take(kind: number, cursor: Cursor): void {
    if (kind === kinds.failure) {
      const [code, detail] = readPair(cursor)
      const isKnown = isDeliveryFailure(code) || this.row.call.errors.includes(code)
      this.finish(
        isKnown ? err(code, detail) : err('invalid', `${this.what}: undeclared failure ${code}`),
      )
      return
    }
    try {
      this.finish(ok(this.row.reply.read(cursor)))
    } catch (error) {
      if (!(error instanceof Misfit)) throw error
      this.finish(err('invalid', `${this.what}: the reply breaks its schema: ${error.message}`))
    }
  }

  protected override cancel(): void {
    this.channel?.abandon(this.correlation)
  }
}

/** A call that is passed on: pending on one channel, served for another. */
export class Relay implements Pending, Served {
  readonly #from: Channel
  readonly #fromCorrelation: number
  readonly #to: Channel
  correlation = 0

  constructor(from: Channel, fromCorrelation: number, to: Channel) {
    this.#from = from
    this.#fromCorrelation = fromCorrelation
    this.#to = to
  }

  take(kind: number, cursor: Cursor): void {
    const payload = cursor.buffer.subarray(cursor.at, cursor.limit)
    this.#from.relay(kind, this.#fromCorrelation, payload)
  }
  finish(answer: Answer): void {
    this.#from.relayFailure(this.#fromCorrelation, answer)
  }
  cancel(): void {
    this.#to.abandon(this.correlation)
  }
}

/** A code and a sentence. Throws FrameError. */
export function readPair(cursor: Cursor): readonly [string, string] {
  try {
    const [code, detail] = failureCodec.read(cursor) as [string, string]
    return [code, detail]
  } catch (cause) {
    throw new FrameError('a failure without a code and a sentence', { cause })
  }
}

const reasons: ReadonlySet<string> = new Set([
  'absent',
  'ended',
  'stopped',
  'crashed',
  'unreachable',
])
const isReason = (text: string): text is Down['reason'] => reasons.has(text)

/** Why an actor is there no more. Throws FrameError. */
export function readDown(cursor: Cursor): Down {
  const [reason, detail] = readPair(cursor)
  return { reason: isReason(reason) ? reason : 'crashed', detail }
}
