/**
 * One running actor: a mailbox, a state, and one handler at a time. A throw is a crash: its caller
 * and everyone in the queue are told, and `init` rebuilds the state from the world, within the
 * restart budget. Beyond the budget the actor is down for a while and says why.
 */
import type { AnyBehaviour, Context, RefMaker, Step } from './actor.ts'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'
import { Mailbox } from './mailbox.ts'
import type { AnyCall, DeliveryFailure, Lane } from './protocol.ts'
import type { Random } from './random.ts'
import { err, explain, type Result } from './result.ts'
import { misfit } from './schema.ts'

export type Answer = Result<unknown, string>

/** A message on its way to an actor of this thread. */
export interface Delivery {
  readonly name: string
  readonly request: unknown
  readonly deadline_ms: number
  readonly lane: Lane
  /** Aborted when the caller gives up. */
  readonly signal: AbortSignal
  readonly answer: (result: Answer) => void
}
export interface Services {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly ref: RefMaker
  /** Tells the system that an actor is gone and may be forgotten. */
  readonly ended: (cell: Cell) => void
  /** An actor used up its restart budget. */
  readonly exhausted: (name: string, why: string) => void
}
type Phase = 'starting' | 'idle' | 'busy' | 'down' | 'stopped'

export interface CellInfo {
  readonly name: string
  readonly phase: Phase
  readonly depth: number
  readonly handled: number
  readonly restarts: number
  readonly last_failure: string | null
}

export class Cell {
  readonly id: string
  readonly #behaviour: AnyBehaviour
  readonly #deps: unknown
  readonly #services: Services
  readonly #mailbox: Mailbox<Delivery>
  readonly #log: Log
  readonly #timers = new Set<() => void>()
  #state: unknown = null
  #phase: Phase = 'starting'
  #running: { readonly delivery: Delivery; readonly abort: AbortController } | null = null
  #handled = 0
  #restarts: number[] = []
  #restartsTotal = 0
  #lastFailure: string | null = null
  #settled: Promise<void> = Promise.resolve()

  constructor(behaviour: AnyBehaviour, id: string, deps: unknown, services: Services) {
    this.id = id
    this.#behaviour = behaviour
    this.#deps = deps
    this.#services = services
    this.#mailbox = new Mailbox(behaviour.child.mailbox_max)
    this.#log = services.log.child({ actor: this.name })
    this.#settled = this.#start()
  }

  get name(): string {
    return `${this.#behaviour.protocol.name}/${this.id}`
  }

  get isIdle(): boolean {
    return this.#phase === 'idle' && this.#mailbox.depth === 0
  }

  inspect(): CellInfo {
    return {
      name: this.name,
      phase: this.#phase,
      depth: this.#mailbox.depth,
      handled: this.#handled,
      restarts: this.#restartsTotal,
      last_failure: this.#lastFailure,
    }
  }

  /** Queues a message or refuses it at once. */
  deliver(delivery: Delivery): void {
    if (this.#phase === 'down' || this.#phase === 'stopped') {
      delivery.answer(err('crashed', `${this.name} is ${this.#phase}: ${this.#lastFailure ?? ''}`))
      return
    }
    if (!this.#mailbox.push(delivery.lane, delivery)) {
      delivery.answer(err('busy', `${this.name} has ${this.#mailbox.depth} messages waiting`))
      return
    }
    if (delivery.lane === 'urgent') this.#running?.abort.abort(new Error('an urgent message'))
    if (this.#phase === 'idle') this.#pump()
  }

  /** Lets the running handler end (at most `shutdown_ms`), answers the rest, releases resources. */
  async stop(): Promise<void> {
    if (this.#phase === 'stopped') return
    const wasUp = this.#phase === 'idle' || this.#phase === 'busy'
    this.#phase = 'stopped'
    this.#lastFailure = 'it was stopped'
    for (const cancel of this.#timers) cancel()
    this.#refuseQueue('it was stopped')
    this.#running?.abort.abort(new Error('the actor stops'))
    await Promise.race([
      this.#settled,
      this.#services.clock.sleep(this.#behaviour.child.shutdown_ms),
    ])
    if (wasUp) await this.#release()
    this.#services.ended(this)
  }

  async #start(): Promise<void> {
    this.#phase = 'starting'
    try {
      this.#state = await this.#behaviour.init(this.#context(never, Number.POSITIVE_INFINITY))
      this.#behaviour.invariant(this.#state)
    } catch (error) {
      this.#crash(error)
      return
    }
    if (this.#phase !== 'starting') return
    this.#phase = 'idle'
    this.#pump()
  }

  #pump(): void {
    if (this.#phase !== 'idle') return
    for (let next = this.#mailbox.take(); next !== null; next = this.#mailbox.take()) {
      if (next.signal.aborted) {
        next.answer(err('cancelled', `${this.name} ${next.name}: the caller gave up`))
      } else if (this.#services.clock.now() >= next.deadline_ms) {
        next.answer(err('deadline', `${this.name} ${next.name}: expired in the mailbox`))
      } else {
        this.#settled = this.#handle(next)
        return
      }
    }
  }

  async #handle(delivery: Delivery): Promise<void> {
    const row = this.#behaviour.protocol.messages[delivery.name]
    const handler = this.#behaviour.handlers[delivery.name]
    if (row === undefined || handler === undefined) {
      delivery.answer(err('unsupported', `${this.name} has no message ${delivery.name}`))
      this.#pump()
      return
    }
    this.#phase = 'busy'
    const abort = new AbortController()
    const onCancel = () => {
      abort.abort(new Error('the caller gave up'))
    }
    delivery.signal.addEventListener('abort', onCancel, { once: true })
    this.#running = { delivery, abort }
    try {
      const context = this.#context(abort.signal, delivery.deadline_ms)
      const step = await handler(context, this.#state, delivery.request)
      this.#accept(delivery, row, step)
    } catch (error) {
      delivery.answer(err('crashed', `${this.name} ${delivery.name}: ${explain(error)}`))
      this.#crash(error)
    } finally {
      delivery.signal.removeEventListener('abort', onCancel)
      this.#running = null
    }
  }

  #accept(delivery: Delivery, row: AnyCall, step: Step<unknown, unknown, string>): void {
    if (!(step.result instanceof Promise)) checkReply(delivery.name, row, step.result)
    this.#behaviour.invariant(step.state)
    this.#state = step.state
    this.#handled += 1
    if (step.result instanceof Promise) void this.#answerLate(delivery, row, step.result)
    else delivery.answer(step.result)
    if (this.#phase === 'stopped') return
    this.#phase = 'idle'
    if (step.stop === true && this.#mailbox.depth === 0) {
      // Forgotten at once: a message that comes now makes the actor anew.
      this.#services.ended(this)
      void this.stop()
    } else {
      this.#pump()
    }
  }

  async #answerLate(delivery: Delivery, row: AnyCall, result: Promise<Answer>): Promise<void> {
    try {
      const answer = await result
      checkReply(delivery.name, row, answer)
      delivery.answer(answer)
    } catch (error) {
      delivery.answer(err('crashed', `${this.name} ${delivery.name}: ${explain(error)}`))
      this.#crash(error)
    }
  }

  #crash(error: unknown): void {
    const why = explain(error)
    this.#lastFailure = why
    this.#log.error('actor crashed', { why, stack: error instanceof Error ? error.stack : null })
    for (const cancel of this.#timers) cancel()
    this.#refuseQueue(why)
    if (this.#phase === 'stopped') return
    void this.#release()
    const { restarts_max, restarts_period_ms, restart } = this.#behaviour.child
    const now = this.#services.clock.now()
    this.#restarts = [...this.#restarts.filter((at) => at > now - restarts_period_ms), now]
    this.#phase = 'down'
    if (restart === 'temporary') {
      this.#services.ended(this)
      return
    }
    if (this.#restarts.length > restarts_max) {
      this.#services.exhausted(this.name, why)
      this.#services.clock.after(restarts_period_ms, () => {
        this.#restart()
      })
      return
    }
    this.#restart()
  }

  #restart(): void {
    if (this.#phase !== 'down') return
    this.#restartsTotal += 1
    this.#settled = this.#start()
  }

  #refuseQueue(why: string): void {
    for (const waiting of this.#mailbox.drain()) {
      waiting.answer(err('crashed', `${this.name} ${waiting.name}: ${why}`))
    }
  }

  async #release(): Promise<void> {
    try {
      await this.#behaviour.stop?.(this.#context(never, Number.POSITIVE_INFINITY), this.#state)
    } catch (error) {
      this.#log.error('actor could not release what it held', { why: explain(error) })
    }
  }

  #context(signal: AbortSignal, deadline_ms: number): Context<unknown> {
    const { clock, random, ref } = this.#services
    return {
      id: this.id,
      signal,
      deadline_ms,
      deps: this.#deps,
      clock,
      random,
      ref,
      log: this.#log,
      after: (delay_ms, name, request) => this.#after(delay_ms, name, request),
    }
  }

  #after(delay_ms: number, name: string, request: unknown): () => void {
    const cancel = this.#services.clock.after(delay_ms, () => {
      this.#timers.delete(cancel)
      const lane = this.#behaviour.protocol.messages[name]?.lane ?? 'normal'
      this.deliver({
        name,
        request,
        deadline_ms: Number.POSITIVE_INFINITY,
        lane,
        signal: never,
        answer: (result) => {
          if (!result.ok && this.#phase !== 'stopped') {
            this.#log.warn('message to self failed', { message: name, detail: result.detail })
          }
        },
      })
    })
    this.#timers.add(cancel)
    return () => {
      this.#timers.delete(cancel)
      cancel()
    }
  }
}

/** A reply that breaks its row is a bug of the actor. */
function checkReply(message: string, row: AnyCall, answer: Answer): void {
  const wrong = answer.ok
    ? misfit(row.reply, answer.value)
    : row.errors.includes(answer.error) || isDeliveryFailure(answer.error)
      ? ''
      : `undeclared failure ${answer.error}`
  if (wrong !== '') throw new Error(`reply to ${message}: ${wrong}`)
}

const never = new AbortController().signal
const failures: ReadonlySet<string> = new Set<DeliveryFailure>([
  'busy',
  'deadline',
  'cancelled',
  'unreachable',
  'crashed',
  'unsupported',
  'invalid',
])
const isDeliveryFailure = (code: string) => failures.has(code)
