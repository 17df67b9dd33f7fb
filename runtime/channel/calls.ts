/** Calls over channels: who waits for their answers, and calls that are passed on. */
import type { Cursor } from '../codec/cursor.ts'
import type { Answer } from '../actor/message.ts'
import type { Row } from '../actor/protocol.ts'
import type { ActorRef } from '../actor/ref.ts'
import { failureCodec, FrameError } from '../wire/frame.ts'
import type { Channel } from './channel.ts'

/** A call or cast that is sent. */
export interface Outgoing {
  readonly ref: ActorRef
  readonly row: Row
  /** 0 for a cast. */
  readonly correlation: number
  readonly timeout_ms: number
}
/** A call that waits for the other end. */
export interface Pending {
  /** Reads the reply at the cursor. */
  readonly take: (kind: number, cursor: Cursor) => void
  readonly finish: (answer: Answer) => void
}
/** A call that is served for the other end. */
export interface Served {
  /** Its caller waits no more. */
  readonly abandon: (why: string) => void
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
  abandon(): void {
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
