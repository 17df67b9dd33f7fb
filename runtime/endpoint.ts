/**
 * One end of a channel that carries frames to another thread or host: calls waiting for a reply on
 * this side, calls being served for the other. What is in flight is bounded on both.
 */
import { limits } from '#config/limits.ts'
import type { CallOptions } from './actor.ts'
import type { Answer } from './cell.ts'
import type { Clock } from './clock.ts'
import type { Protocol } from './protocol.ts'
import { err, ok, type Result } from './result.ts'
import { misfit } from './schema.ts'
import { encodeFrame, flags, FrameError, type Frame } from './wire/frame.ts'

/** A call that has arrived and wants an actor. */
export interface Incoming {
  /** The host it is for. */
  readonly host: string
  readonly protocol: string
  readonly actor: string
  readonly op: number
  readonly urgent: boolean
  readonly request: unknown
  readonly timeout_ms: number
  readonly signal: AbortSignal
  readonly answer: (result: Answer) => void
}
export interface EndpointOptions {
  readonly clock: Clock
  /** Hands bytes to the channel; false when it can take no more now. */
  readonly send: (bytes: Uint8Array) => boolean
  readonly onCall: (incoming: Incoming) => void
}
/** Whom a call is for. */
export interface Target {
  readonly host: string
  readonly protocol: Protocol
  readonly id: string
  readonly name: string
}
interface Outgoing {
  readonly host: string
  readonly protocol: string
  readonly actor: string
  readonly op: number
  readonly urgent: boolean
  readonly request: unknown
  /** The call in words, for errors. */
  readonly what: string
}

export class Endpoint {
  readonly #options: EndpointOptions
  readonly #pending = new Map<number, (result: Answer) => void>()
  readonly #serving = new Map<number, AbortController>()
  #next = 1
  #closed: string | null = null

  constructor(options: EndpointOptions) {
    this.#options = options
  }

  get inflight(): number {
    return this.#pending.size
  }

  /** Sends a call and waits for its reply, its deadline, or the end of the channel. */
  async call(target: Target, request: unknown, options: CallOptions): Promise<Answer> {
    const { host, protocol, id, name } = target
    const row = protocol.messages[name]
    const what = `${protocol.name}/${id} ${name}`
    if (row === undefined) return err('unsupported', `${what}: no such message`)
    const urgent = row.lane === 'urgent'
    const outgoing = { host, protocol: protocol.name, actor: id, op: row.op, urgent, request, what }
    const answer = await this.#exchange(outgoing, options)
    if (!answer.ok) return answer
    const wrong = misfit(row.reply, answer.value)
    return wrong === '' ? answer : err('invalid', `${what}: the reply breaks its schema: ${wrong}`)
  }

  /** Passes a call on that came over another channel; its schema is checked where it is served. */
  async forward(incoming: Incoming): Promise<Answer> {
    const what = `${incoming.protocol}/${incoming.actor} op ${incoming.op}`
    return await this.#exchange({ ...incoming, what }, incoming)
  }

  async #exchange(outgoing: Outgoing, options: CallOptions): Promise<Answer> {
    const { what } = outgoing
    if (this.#closed !== null) return err('unreachable', `${what}: ${this.#closed}`)
    if (this.#pending.size >= limits.link_inflight_max) {
      return err('busy', `${what}: ${this.#pending.size} calls are in flight`)
    }
    const correlation = this.#freeCorrelation()
    const { promise, resolve } = Promise.withResolvers<Answer>()
    this.#pending.set(correlation, resolve)
    const sent = this.#send({
      kind: 'call',
      flags: outgoing.urgent ? flags.urgent : 0,
      op: outgoing.op,
      correlation,
      remaining_ms: options.timeout_ms,
      host: outgoing.host,
      protocol: outgoing.protocol,
      actor: outgoing.actor,
      payload: outgoing.request,
    })
    if (!sent.ok) resolve(sent)
    const giveUp = (result: Answer) => {
      this.#send({ ...empty, kind: 'cancel', correlation })
      resolve(result)
    }
    const cancelTimer = this.#options.clock.after(options.timeout_ms, () => {
      giveUp(err('deadline', `${what}: no answer within ${options.timeout_ms} ms`))
    })
    const onAbort = () => {
      giveUp(err('cancelled', `${what}: the caller gave up`))
    }
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const answer = await promise
    cancelTimer()
    options.signal?.removeEventListener('abort', onAbort)
    this.#pending.delete(correlation)
    return answer
  }

  /** Takes a frame that has arrived. Throws FrameError on one that may not come here. */
  receive(frame: Frame): void {
    switch (frame.kind) {
      case 'call':
        this.#serve(frame)
        return
      case 'reply':
        this.#pending.get(frame.correlation)?.(readAnswer(frame))
        return
      case 'cancel':
        this.#serving.get(frame.correlation)?.abort(new Error('the caller gave up'))
        return
      case 'hello':
      case 'ping':
      case 'pong':
        throw new FrameError(`a frame of kind ${frame.kind} out of place`)
    }
  }

  /** The channel is gone: every waiting call fails, everything being served is cancelled. */
  close(code: 'unreachable' | 'crashed', why: string): void {
    if (this.#closed !== null) return
    this.#closed = why
    for (const settle of this.#pending.values()) settle(err(code, why))
    for (const abort of this.#serving.values()) abort.abort(new Error(why))
    this.#serving.clear()
  }

  #serve(frame: Frame): void {
    const { correlation } = frame
    const refuse = (result: Answer) => this.#reply(correlation, result)
    if (this.#serving.size >= limits.link_inflight_max) {
      refuse(err('busy', `${frame.protocol}/${frame.actor}: too many calls in flight`))
      return
    }
    if (this.#serving.has(correlation)) throw new FrameError(`correlation ${correlation} twice`)
    const abort = new AbortController()
    this.#serving.set(correlation, abort)
    this.#options.onCall({
      host: frame.host,
      protocol: frame.protocol,
      actor: frame.actor,
      op: frame.op,
      urgent: (frame.flags & flags.urgent) !== 0,
      request: frame.payload,
      timeout_ms: frame.remaining_ms,
      signal: abort.signal,
      answer: (result) => {
        if (this.#serving.delete(correlation)) this.#reply(correlation, result)
      },
    })
  }

  #reply(correlation: number, result: Answer): void {
    const payload = result.ok ? result.value : [result.error, result.detail]
    const sent = this.#send({
      ...empty,
      kind: 'reply',
      op: result.ok ? 0 : 1,
      correlation,
      payload,
    })
    if (!sent.ok && sent.error === 'invalid') {
      this.#send({
        ...empty,
        kind: 'reply',
        op: 1,
        correlation,
        payload: [sent.error, sent.detail],
      })
    }
  }

  #send(frame: Frame): Result<null, 'busy' | 'invalid'> {
    if (this.#closed !== null) return ok(null)
    let bytes: Uint8Array
    try {
      bytes = encodeFrame(frame)
    } catch (error) {
      if (error instanceof FrameError) return err('invalid', error.message)
      throw error
    }
    return this.#options.send(bytes) ? ok(null) : err('busy', 'the channel can take no more now')
  }

  #freeCorrelation(): number {
    do this.#next = this.#next >= 0xffff_ffff ? 1 : this.#next + 1
    while (this.#pending.has(this.#next))
    return this.#next
  }
}

const empty = {
  flags: 0,
  op: 0,
  correlation: 0,
  remaining_ms: 0,
  host: '',
  protocol: '',
  actor: '',
  payload: null,
} as const

function readAnswer(frame: Frame): Answer {
  if (frame.op === 0) return ok(frame.payload)
  const [code, detail] = Array.isArray(frame.payload) ? frame.payload : []
  if (typeof code !== 'string' || typeof detail !== 'string') {
    return err('invalid', 'a failure without a code and a sentence')
  }
  return err(code, detail)
}
