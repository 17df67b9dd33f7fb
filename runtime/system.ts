/**
 * The actors of one thread and the ways to all others. A ref's call goes to an actor here, to the
 * thread that hosts the kind, or to a host behind a link; to the caller they look the same.
 */
import type { AnyBehaviour, Behaviour, CallOptions, Ref } from './actor.ts'
import { Cell, type Answer, type CellInfo, type Services } from './cell.ts'
import type { Clock } from './clock.ts'
import type { Endpoint, Incoming, Target } from './endpoint.ts'
import type { Log } from './log.ts'
import type { Protocol } from './protocol.ts'
import type { Random } from './random.ts'
import { err } from './result.ts'
import { misfit } from './schema.ts'

export interface SystemOptions {
  /** This host's name: calls that name it stay here. */
  readonly host: string
  readonly thread: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Which thread hosts a kind. A kind that is not listed is hosted here or nowhere. */
  readonly routes: Readonly<Record<string, string>>
  /** The way to another thread; null when there is none. */
  readonly toThread: (thread: string) => Endpoint | null
  /** The way to another host; null when no link is up. */
  readonly toHost: (host: string) => Endpoint | null
  /** An actor used up its restart budget: the next level decides. */
  readonly onExhausted?: (actor: string, why: string) => void
}
interface Registered {
  readonly behaviour: AnyBehaviour
  readonly deps: unknown
}

/** Actors made by their first message, per kind: beyond it new ones are refused with `busy`. */
const activations_max = 100_000

export class System {
  readonly #options: SystemOptions
  readonly #kinds = new Map<string, Registered>()
  readonly #cells = new Map<string, Cell>()
  readonly #services: Services
  #stopping = false

  constructor(options: SystemOptions) {
    this.#options = options
    this.#services = {
      clock: options.clock,
      random: options.random,
      log: options.log,
      ref: (protocol, id, host) => this.ref(protocol, id, host),
      ended: (cell) => {
        if (this.#cells.get(cell.name) === cell) this.#cells.delete(cell.name)
      },
      exhausted: (name, why) => options.onExhausted?.(name, why),
    }
  }

  /** Registers a kind of actor. With `activation: 'start'` the actor `id` starts now. */
  add<P extends Protocol, S, D>(behaviour: Behaviour<P, S, D>, deps: D, id?: string): void {
    const { name } = behaviour.protocol
    if (this.#kinds.has(name)) throw new Error(`kind ${name} is registered twice`)
    const erased = behaviour as unknown as AnyBehaviour
    this.#kinds.set(name, { behaviour: erased, deps })
    if (behaviour.child.activation === 'start') {
      if (id === undefined) throw new Error(`kind ${name} starts with the system: it needs an id`)
      this.#make({ behaviour: erased, deps }, id)
    }
  }

  /** A typed way to an actor, wherever it is. `host` null or missing means this host. */
  ref<P extends Protocol>(protocol: P, id: string, host: string | null = null): Ref<P> {
    const call = async (name: string, request: unknown, options: CallOptions): Promise<Answer> => {
      const row = protocol.messages[name]
      const what = `${protocol.name}/${id} ${name}`
      if (row === undefined) return err('unsupported', `${what}: no such message`)
      const wrong = misfit(row.request, request)
      if (wrong !== '') return err('invalid', `${what}: the request breaks its schema: ${wrong}`)
      if (options.signal?.aborted === true) return err('cancelled', `${what}: the caller gave up`)
      const target = { host: host ?? this.#options.host, protocol, id, name }
      if (target.host !== this.#options.host) {
        const link = this.#options.toHost(target.host)
        if (link === null) return err('unreachable', `${what}: no link to ${target.host}`)
        return await link.call(target, request, options)
      }
      const thread = this.#options.routes[protocol.name] ?? this.#options.thread
      if (thread !== this.#options.thread) {
        const way = this.#options.toThread(thread)
        if (way === null) return err('unreachable', `${what}: thread ${thread} is not up`)
        return await way.call(target, request, options)
      }
      return await this.#callHere(target, request, options)
    }
    // The table types both ends of `call`; what comes back has been checked against the row.
    return { call: call as Ref<P>['call'] }
  }

  /** Serves a call that came over a channel, or passes it on: to its host, to its kind's thread. */
  serve(incoming: Incoming): void {
    if (incoming.host !== this.#options.host) {
      this.#passOn(incoming, this.#options.toHost(incoming.host), `no link to ${incoming.host}`)
      return
    }
    const thread = this.#options.routes[incoming.protocol] ?? this.#options.thread
    if (thread === this.#options.thread) this.#serveHere(incoming)
    else this.#passOn(incoming, this.#options.toThread(thread), `thread ${thread} is not up`)
  }

  /** What runs here, for people. */
  inspect(): readonly CellInfo[] {
    return [...this.#cells.values()].map((cell) => cell.inspect())
  }

  /** Ends every actor, the last made first. The world stays as it is. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const cell of [...this.#cells.values()].toReversed()) await cell.stop()
  }

  #passOn(incoming: Incoming, way: Endpoint | null, otherwise: string): void {
    if (way === null) incoming.answer(err('unreachable', otherwise))
    else void way.forward(incoming).then(incoming.answer)
  }

  async #callHere(target: Target, request: unknown, options: CallOptions): Promise<Answer> {
    const { protocol, id, name } = target
    const lane = protocol.messages[name]?.lane ?? 'normal'
    const { promise, resolve } = Promise.withResolvers<Answer>()
    const what = `${protocol.name}/${id} ${name}`
    const abort = new AbortController()
    const giveUp = (result: Answer) => {
      abort.abort(new Error('the caller gave up'))
      resolve(result)
    }
    const { clock } = this.#options
    const cancelTimer = clock.after(options.timeout_ms, () => {
      giveUp(err('deadline', `${what}: no answer within ${options.timeout_ms} ms`))
    })
    const onAbort = () => {
      giveUp(err('cancelled', `${what}: the caller gave up`))
    }
    options.signal?.addEventListener('abort', onAbort, { once: true })
    this.#deliver(protocol.name, id, {
      name,
      // Actors share no memory, whichever thread they are in.
      request: structuredClone(request),
      deadline_ms: clock.now() + options.timeout_ms,
      lane,
      signal: abort.signal,
      answer: resolve,
    })
    const answer = await promise
    cancelTimer()
    options.signal?.removeEventListener('abort', onAbort)
    return answer.ok ? { ...answer, value: structuredClone(answer.value) } : answer
  }

  #serveHere(incoming: Incoming): void {
    const registered = this.#kinds.get(incoming.protocol)
    const name = `${incoming.protocol}/${incoming.actor}`
    if (registered === undefined) {
      incoming.answer(err('unreachable', `${name}: no such kind on this host`))
      return
    }
    const { messages } = registered.behaviour.protocol
    const found = Object.entries(messages).find(([, row]) => row.op === incoming.op)
    if (found === undefined) {
      incoming.answer(err('unsupported', `${name}: no message with op ${incoming.op}`))
      return
    }
    const [message, row] = found
    const wrong = misfit(row.request, incoming.request)
    if (wrong !== '') {
      incoming.answer(err('invalid', `${name} ${message}: the request breaks its schema: ${wrong}`))
      return
    }
    this.#deliver(incoming.protocol, incoming.actor, {
      name: message,
      request: incoming.request,
      deadline_ms: this.#options.clock.now() + incoming.timeout_ms,
      lane: row.lane,
      signal: incoming.signal,
      answer: incoming.answer,
    })
  }

  #deliver(kind: string, id: string, delivery: Parameters<Cell['deliver']>[0]): void {
    const name = `${kind}/${id}`
    const found = this.#cells.get(name)
    if (found !== undefined) {
      found.deliver(delivery)
      return
    }
    const registered = this.#kinds.get(kind)
    if (registered === undefined || registered.behaviour.child.activation !== 'by_id') {
      delivery.answer(err('unreachable', `there is no actor ${name}`))
    } else if (this.#stopping) {
      delivery.answer(err('crashed', `${name}: the thread stops`))
    } else if (this.#cells.size >= activations_max) {
      delivery.answer(err('busy', `${name}: ${this.#cells.size} actors are active`))
    } else {
      this.#make(registered, id).deliver(delivery)
    }
  }

  #make({ behaviour, deps }: Registered, id: string): Cell {
    const cell = new Cell(behaviour, id, deps, this.#services)
    this.#cells.set(cell.name, cell)
    return cell
  }
}
