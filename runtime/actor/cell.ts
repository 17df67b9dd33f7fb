/**
 * One running actor: a mailbox, a state, and one handler at a time. A throw is a crash: its caller
 * and everyone in the queue are told, and `init` rebuilds the state from the world, within the
 * restart budget. Beyond the budget the actor is down for a while and says why.
 *
 *   starting ──► idle ◄──► ready ◄──► busy          ready: waits for its turn to handle messages
 *       ▲          │                   │
 *       └── down ◄─┴──── a throw ◄─────┘            down: until its supervisor starts it again
 */
import type { Down, Ref, Step } from './actor.ts'
import { atMost } from '../clock.ts'
import { Attention } from './attention.ts'
import { Misfit } from '../codec/cursor.ts'
import type { Log } from '../log.ts'
import { Mailbox } from './mailbox.ts'
import { Message, type Answer } from './message.ts'
import { isDeliveryFailure, type DeliveryFailure, type Protocol } from './protocol.ts'
import { err, explain } from '../result.ts'
import { explainMisfit } from '../schema.ts'
import type { Runnable } from './scheduler.ts'
import type { CellInfo, Kind, Phase, Services } from './services.ts'
import type { Work } from '../trace.ts'

/** It is its own mailbox: an object less to make, to keep, and to fetch from memory. */
export class Cell extends Mailbox<Message> implements Runnable {
  readonly id: string
  readonly kind: Kind
  handled = 0
  /** The sweep at which it last did something; see System's passivation. */
  touched = 0
  behind: Runnable | null = null
  #state: unknown = null
  #phase: Phase = 'starting'
  #running: Message | null = null
  #rare: Attention | null = null

  constructor(kind: Kind, id: string) {
    super()
    this.kind = kind
    this.id = id
  }

  get name(): string {
    return `${this.kind.protocol.name}/${this.id}`
  }
  /** It has nothing to do and owes nobody an answer. */
  get isQuiet(): boolean {
    return this.#phase === 'idle' && (this.#rare?.late ?? 0) === 0
  }
  get isGone(): boolean {
    return this.#phase === 'stopped'
  }
  get log(): Log {
    return (this.#attention.log ??= this.services.log.child({ actor: this.name }))
  }
  get #whyDown(): string {
    return `${this.name} is ${this.#phase}: ${this.#rare?.last_failure ?? ''}`
  }
  get services(): Services {
    return this.kind.services
  }
  /** The lease's, for a virtual actor. */
  get generation(): number {
    return this.#rare?.generation ?? 0
  }
  get #life(): number {
    return this.#rare?.life ?? 0
  }
  get #attention(): Attention {
    return (this.#rare ??= new Attention(this))
  }

  inspect(): CellInfo {
    return {
      name: this.name,
      phase: this.#phase,
      depth: this.depth,
      handled: this.handled,
      restarts: this.#rare?.restarts_total ?? 0,
      last_failure: this.#rare?.last_failure ?? null,
    }
  }

  /** What is worked on now, for those who ask why it takes long: a message, or the start. */
  get running(): Message | null {
    return this.#phase === 'starting' ? (this.#rare?.starting ?? null) : this.#running
  }

  /** Handles a message at once if it may, or queues it, or refuses it. */
  deliver(message: Message): void {
    const { scheduler } = this.services
    if (this.#phase === 'idle' && scheduler.begin()) {
      this.#phase = 'ready'
      this.touched = this.kind.sweep
      this.#handleIfWanted(message, this.services.clock.monotonic())
      if (this.#phase === 'ready') this.#rest()
      scheduler.end()
    } else if (this.#phase === 'down' || this.#phase === 'stopped') {
      this.#refuse(message, 'crashed', this.#whyDown)
    } else if (!this.push(message, this.kind.behaviour.child.mailbox_max)) {
      this.#refuse(message, 'busy', `${this.name} has ${this.depth} messages waiting`)
    } else if (this.#phase === 'idle') {
      this.#phase = 'ready'
      scheduler.add(this)
    } else if (message.isUrgent) {
      this.#running?.cancel('an urgent message')
    }
  }

  /** Handles up to `quantum` messages; the scheduler's call. Gives back how many it handled. */
  turn(quantum: number): number {
    let done = 0
    const now_ms = this.services.clock.monotonic()
    this.touched = this.kind.sweep
    while (this.#phase === 'ready' && done < quantum) {
      const message = this.take()
      if (message === null) break
      this.#handleIfWanted(message, now_ms)
      done += 1
    }
    if (this.#phase === 'ready') this.#rest()
    return done
  }

  /** Waits for its next turn, or for its next message. */
  #rest(): void {
    this.#phase = this.depth === 0 ? 'idle' : 'ready'
    if (this.#phase === 'ready') this.services.scheduler.add(this)
  }

  /** Handles a message that somebody still waits for. */
  #handleIfWanted(message: Message, now_ms: number): void {
    if (message.cancelled !== null) {
      this.#refuse(message, 'cancelled', `${message.what}: ${message.cancelled}`)
    } else if (message.expires_ms !== 0 && message.expires_ms <= now_ms) {
      this.#refuse(message, 'deadline', `${message.what}: expired in the mailbox`)
    } else if (this.kind.virtual?.holds(this) === false) {
      this.#refuse(message, 'unreachable', `${message.what}: its lease is in doubt`)
    } else {
      this.#handle(message)
    }
  }

  /** Reads the world and begins; also after a crash. A virtual actor first takes its lease. */
  start(): void {
    this.#phase = 'starting'
    if (this.kind.virtual === null || this.generation > 0) {
      this.#init()
      return
    }
    this.kind.virtual.claim(this).then(
      (claimed) => {
        if (!claimed.ok) {
          void this.stop('stopped', 'unreachable', claimed.detail)
        } else if (this.#phase === 'starting') {
          this.#attention.generation = claimed.value.generation
          this.#init()
        } else {
          this.kind.virtual?.release(this)
        }
      },
      (error: unknown) => {
        this.#crash(error)
      },
    )
  }

  #init(): void {
    if (this.#rare !== null) this.#rare.life += 1
    const life = this.#life
    try {
      const context = Message.standing(this, 'init')
      const state = this.kind.behaviour.init(context)
      if (state instanceof Promise) {
        context.waits_ms = this.services.clock.monotonic()
        this.#attention.starting = context
        state.then(
          (value) => {
            if (this.#life === life) this.#begin(value)
          },
          (error: unknown) => {
            if (this.#life === life) this.#crash(error)
          },
        )
      } else {
        this.#begin(state)
      }
    } catch (error) {
      this.#crash(error)
    }
  }

  /** Starts again what is down, as its supervisor decides; `isFresh` forgets what it did before. */
  restart(isFresh = false): void {
    if (this.#phase !== 'down') return
    this.#attention.restarts_total += 1
    if (isFresh) this.#attention.restarts = []
    this.start()
  }

  /**
   * Lets the running handler end (at most `shutdown_ms`), answers the rest, releases what it holds. With
   * `down` as the end it can be started again; otherwise it is forgotten.
   */
  async stop(end: 'stopped' | 'down', reason: Down['reason'], why: string): Promise<void> {
    if (this.#phase === 'stopped') return
    if (this.#phase === 'down') {
      this.#phase = end
      if (end === 'stopped') this.#gone()
      return
    }
    const running = this.#running
    const wasUp = this.#phase !== 'starting'
    this.#phase = end
    this.#attention.last_failure = why
    this.#fall({ reason, detail: `${this.name}: ${why}` })
    if (end === 'stopped') this.services.ended(this)
    await this.#leave(running, wasUp)
    if (end === 'stopped') this.kind.virtual?.release(this)
  }

  #gone(): void {
    this.services.ended(this)
    this.kind.virtual?.release(this)
  }

  /** Waits until the mailbox is empty, at most `shutdown_ms`; callers see to it that nothing new comes. */
  async drain(): Promise<void> {
    const { clock } = this.services
    const end_ms = clock.monotonic() + this.kind.behaviour.child.shutdown_ms
    while (!this.isQuiet && this.#phase !== 'down' && this.#phase !== 'stopped') {
      if (clock.monotonic() >= end_ms) return
      await clock.sleep(1)
    }
  }

  after(
    delay_ms: number,
    { name, request }: { readonly name: string; readonly request: unknown },
    work: Work,
  ): () => void {
    // What it does at once is still the same piece of work; what it does later is another one.
    return this.#attention.after(delay_ms, name, request, delay_ms === 0 ? work.span : null)
  }

  monitor(target: Ref<Protocol>, name: string, request: (down: Down) => unknown): () => void {
    return this.#attention.monitor(target, name, request, (error) => {
      this.#crash(error)
    })
  }

  /** Tells `watcher` once, when this actor is there no more; at once while it is down. */
  watch(watcher: (down: Down) => void): () => void {
    if (this.#phase === 'down' || this.#phase === 'stopped') {
      watcher({ reason: this.#phase === 'down' ? 'crashed' : 'stopped', detail: this.#whyDown })
      return () => undefined
    }
    return this.#attention.watch(watcher)
  }

  #begin(state: unknown): void {
    if (this.#phase !== 'starting') return
    try {
      this.kind.behaviour.invariant(state)
    } catch (error) {
      this.#crash(error)
      return
    }
    this.#state = state
    this.#rest()
  }

  #handle(message: Message): void {
    const handler = this.kind.handlers[message.row.index]
    if (handler === undefined) {
      this.#refuse(message, 'unsupported', `${message.what}: no such message`)
      return
    }
    this.#phase = 'busy'
    this.#running = message
    try {
      const step = handler(message, this.#state, message.request)
      if (step instanceof Promise) this.#await(message, step)
      else this.#accept(message, step)
    } catch (error) {
      this.#fail(message, error)
    }
  }

  #await(message: Message, step: Promise<Step<unknown, unknown, string>>): void {
    const life = this.#life
    message.waits_ms = this.services.clock.monotonic()
    step
      .then((done) => {
        if (this.#life !== life) {
          // The actor went down meanwhile, and its caller was told.
          this.#rare?.settled?.()
          return
        }
        this.#accept(message, done)
        if (this.#phase === 'ready') this.#rest()
      })
      .catch((error: unknown) => {
        this.#failLater(message, error, life)
      })
  }

  #accept(message: Message, step: Step<unknown, unknown, string>): void {
    const { state, result } = step
    this.kind.behaviour.invariant(state)
    if (!(result instanceof Promise)) this.#answer(message, result)
    this.#state = state
    this.handled += 1
    this.#running = null
    if (result instanceof Promise) this.#answerLate(message, result)
    if (this.#phase !== 'busy') {
      this.#rare?.settled?.()
      return
    }
    if (step.stop === true && this.depth === 0) this.#end()
    else this.#phase = 'ready'
  }

  /** What stays up is started again; otherwise it is forgotten at once, and the next message makes it anew. */
  #end(): void {
    const why = 'it ended by itself'
    const { supervisor, behaviour } = this.kind
    if (supervisor !== null && behaviour.child.restart === 'permanent') this.#goDown('ended', why)
    else void this.stop('stopped', 'ended', why)
  }

  #answerLate(message: Message, result: Promise<Answer>): void {
    const life = this.#life
    const rare = this.#attention
    rare.late += 1
    result
      .finally(() => {
        rare.late -= 1
      })
      .then((answer) => {
        this.#answer(message, answer)
      })
      .catch((error: unknown) => {
        this.#failLater(message, error, life)
      })
  }

  /** Answers with what the handler says. A reply that breaks its row is a bug of the actor. */
  #answer(message: Message, answer: Answer): void {
    const { name, call } = message.row
    if (!answer.ok && !call.errors.includes(answer.error) && !isDeliveryFailure(answer.error)) {
      throw new Error(`reply to ${name}: undeclared failure ${answer.error}`)
    }
    try {
      message.asker.settle(message, answer)
    } catch (cause) {
      if (!(cause instanceof Misfit) || !answer.ok) throw cause
      const why = explainMisfit(call.reply, answer.value, cause)
      throw new Error(`reply to ${name}: ${why}`, { cause })
    }
    if (message.came_ms !== null) this.services.observer.answered(message, answer)
  }

  #fail(message: Message, error: unknown): void {
    this.#refuse(message, 'crashed', `${message.what}: ${explain(error)}`)
    if (this.#running === message) this.#running = null
    this.#crash(error)
  }

  /** The same for what began in an earlier turn: the life that it belonged to may be over. */
  #failLater(message: Message, error: unknown, life: number): void {
    if (this.#life === life) {
      this.#fail(message, error)
      return
    }
    this.#refuse(message, 'crashed', `${message.what}: ${explain(error)}`)
    this.log.warn('what an actor had left running failed', { why: explain(error) })
    this.#rare?.settled?.()
  }

  #crash(error: unknown): void {
    const why = explain(error)
    this.kind.crashes += 1
    this.log.error('actor crashed', { why, stack: error instanceof Error ? error.stack : null })
    this.#rare?.settled?.()
    if (this.#phase === 'stopped' || this.#phase === 'down') return
    this.#goDown('crashed', why)
  }

  /** Its supervisor decides what comes next, when all that this life had begun is over. */
  #goDown(reason: Down['reason'], why: string): void {
    const rare = this.#attention
    const running = this.#running
    const wasUp = this.#phase !== 'starting'
    rare.last_failure = why
    this.#phase = 'down'
    this.#fall({ reason, detail: `${this.name}: ${why}` })
    if (running !== null) {
      this.#refuse(running, 'crashed', `${running.what}: ${why}`)
      this.#running = null
    }
    rare.life += 1
    const { restarts_max, restarts_period_ms, restart } = this.kind.behaviour.child
    if (restart === 'temporary') {
      this.#phase = 'stopped'
      this.#gone()
      void this.#leave(running, wasUp)
      return
    }
    const now_ms = this.services.clock.monotonic()
    rare.restarts = [...rare.restarts.filter((at) => at > now_ms - restarts_period_ms), now_ms]
    const isWithin = rare.restarts.length <= restarts_max
    const left = this.#leave(running, wasUp)
    if (left === null) this.services.crashed(this, isWithin, why)
    else void left.then(() => this.services.crashed(this, isWithin, why))
  }

  /** No more timers; everybody who waits or watches is told. */
  #fall(down: Down): void {
    const rare = this.#rare
    rare?.clear()
    const code = down.reason === 'unreachable' ? 'unreachable' : 'crashed'
    for (let next = this.take(); next !== null; next = this.take()) {
      this.#refuse(next, code, `${next.what}: ${rare?.last_failure ?? ''}`)
    }
    rare?.tell(down)
  }

  #refuse(message: Message, code: DeliveryFailure, detail: string): void {
    message.asker.settle(message, err(code, detail))
    if (message.came_ms !== null) this.services.observer.answered(message, err(code, detail))
  }

  /**
   * Lets what runs end, and releases what the actor holds, each within `shutdown_ms`; null when there
   * was nothing to wait for.
   */
  #leave(running: Message | null, wasUp: boolean): Promise<void> | null {
    if (running === null) return wasUp ? this.#release() : null
    running.cancel('the actor stops')
    return this.#untilSettled(running).then(async () => {
      if (wasUp) await this.#release()
    })
  }

  #release(): Promise<void> | null {
    const failed = (error: unknown) => {
      this.log.error('actor could not release what it held', { why: explain(error) })
    }
    try {
      const released = this.kind.behaviour.stop?.(Message.standing(this, 'stop'), this.#state)
      return released instanceof Promise
        ? atMost(this.services.clock, this.kind.behaviour.child.shutdown_ms, released.catch(failed))
        : null
    } catch (error) {
      failed(error)
      return null
    }
  }

  async #untilSettled(running: Message): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#attention.settled = resolve
    await atMost(this.services.clock, this.kind.behaviour.child.shutdown_ms, promise)
    this.#attention.settled = null
    if (this.#running !== running) return
    // It is left to itself: what it says later is nobody's.
    this.#running = null
    this.#attention.life += 1
    this.#refuse(running, 'crashed', `${running.what}: it did not end in time`)
  }
}
