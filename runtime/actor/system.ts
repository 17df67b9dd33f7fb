/**
 * The actors of one thread and the ways to all others. A ref's call goes to an actor here, to the
 * thread that hosts the kind, or to a host behind a link; to the caller they look the same.
 */
import { limits } from '#config/limits.ts'
import type { AnyBehaviour, Behaviour, CallOptions, Down, Ref } from './actor.ts'
import { nameOf, type Bound } from '../channel/bindings.ts'
import { atOnce, Caller } from './caller.ts'
import { Cell } from './cell.ts'
import { Channel, type ChannelHost, type Incoming } from '../channel/channel.ts'
import type { Clock } from '../clock.ts'
import { Misfit } from '../codec/cursor.ts'
import { DeadLetters } from './dead_letters.ts'
import { Deadlines, endOf } from './deadlines.ts'
import type { Log } from '../log.ts'
import { Message, type Answer, type Asker } from './message.ts'
import { NativeCalls, type NativeDeps } from './native_calls.ts'
import { Observer } from './observer.ts'
import { isDeliveryFailure, type Protocol, type Row } from './protocol.ts'
import type { Random } from '../random.ts'
import { ActorRef, type Router } from './ref.ts'
import { err } from '../result.ts'
import { explainMisfit } from '../schema.ts'
import { Scheduler } from './scheduler.ts'
import type { CellInfo, Kind, Services } from './services.ts'
import { Supervisor, type GroupSpec } from './supervisor.ts'
import type { Work } from '../trace.ts'
import { VirtualActors, type Homes } from './virtual.ts'
import { kinds as frames } from '../wire/frame.ts'

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
  readonly toThread: (thread: string) => Channel | null
  /** The way to another host; null when no link is up. */
  readonly toHost: (host: string) => Channel | null
  /** Where virtual actors live; without it there are none. */
  readonly homes?: Homes
  /**
   * An actor used up its restart budget. `rests`: it begins again by itself after its period. Otherwise
   * its supervisors gave up, and the next level decides.
   */
  readonly onExhausted?: (actor: string, why: string, rests: boolean) => void
}

/** Where a call goes: to a kind of this thread, or over a channel; or why it goes nowhere. */
type Way = Kind | Channel | string

export class System implements ChannelHost, Router {
  readonly deadLetters = new DeadLetters()
  readonly deadlines: Deadlines
  readonly observer = new Observer()
  readonly natives: NativeCalls
  readonly #options: SystemOptions
  readonly #kinds = new Map<string, Kind>()
  readonly #root: Supervisor
  readonly #services: Services
  readonly #virtual: VirtualActors | null
  #made = 0
  #isStopping = false
  #stopSweeps: () => void = () => undefined

  constructor(options: SystemOptions) {
    this.#options = options
    const { clock, random, log } = options
    this.deadlines = new Deadlines(clock)
    this.natives = new NativeCalls(clock, this.observer)
    this.#virtual = options.homes === undefined ? null : new VirtualActors(options.homes, log)
    const exhausted = (name: string, why: string) => options.onExhausted?.(name, why, false)
    this.#root = new Supervisor(rootGroup, null, clock, exhausted)
    this.#services = {
      clock,
      random,
      log,
      scheduler: new Scheduler(clock),
      ref: (protocol, id, host, work) => this.ref(protocol, id, host, work),
      monitor: (target, watcher) => this.monitor(target, watcher),
      ended: (cell) => {
        if (cell.kind.cells.get(cell.id) !== cell) return
        cell.kind.cells.delete(cell.id)
        cell.kind.handled += cell.handled
        this.#made -= 1
      },
      crashed: (cell, isWithin, why) => {
        this.#crashed(cell, isWithin, why)
      },
      observer: this.observer,
      natives: this.natives,
      late: (what) => {
        this.late(what)
      },
    }
  }

  /** A group of actors that fail together; see Supervisor. */
  group(spec: GroupSpec, parent: Supervisor = this.#root): Supervisor {
    const { clock } = this.#options
    return new Supervisor(spec, parent, clock, () => undefined)
  }

  /**
   * Registers a kind of actor. With `activation: 'start'` the actor `id` starts now, as the next
   * member of its group.
   */
  add<P extends Protocol, S, D>(
    behaviour: Behaviour<P, S, D>,
    deps: D | NativeDeps<D>,
    id?: string,
    group: Supervisor = this.#root,
  ): void {
    const { protocol, child } = behaviour
    if (this.#kinds.has(protocol.name)) throw new Error(`kind ${protocol.name} is registered twice`)
    const isStarted = child.activation === 'start'
    const isVirtual = child.activation === 'virtual'
    if (isVirtual && this.#virtual === null) {
      throw new Error(
        `kind ${protocol.name} is virtual: the system needs to know where such actors live`,
      )
    }
    const any = behaviour as unknown as AnyBehaviour
    const kind: Kind = {
      protocol,
      behaviour: any,
      handlers: [...protocol.rows.keys()].map((name) => any.handlers[name]),
      deps,
      services: this.#services,
      cells: new Map(),
      supervisor: isStarted ? group : null,
      virtual: isVirtual ? this.#virtual : null,
      crashes: 0,
      handled: 0,
      sweep: 0,
    }
    this.#kinds.set(protocol.name, kind)
    if (child.idle_ms !== undefined) this.#sweepEvery(kind, child.idle_ms)
    if (!isStarted) return
    if (id === undefined) {
      throw new Error(`kind ${protocol.name} starts with the system: it needs an id`)
    }
    group.add(this.#make(kind, id))
  }

  /**
   * A typed way to an actor, wherever it is. `host` null or missing means this host; `work` is on whose
   * behalf it is used.
   */
  ref<P extends Protocol>(
    protocol: P,
    id: string,
    host: string | null = null,
    work: Work | null = null,
  ): Ref<P> {
    const at = { id, host: host === this.#options.host ? '' : (host ?? '') }
    // The table types both ends of `call`; what comes back has been checked against the row.
    return new ActorRef(this, protocol, at, work) as unknown as Ref<P>
  }

  /** Watches an actor: told once when it is there no more, at once when it is not there now. */
  monitor(target: Ref<Protocol>, watcher: (down: Down) => void): () => void {
    if (!(target instanceof ActorRef)) throw new Error('only what `ref` made can be watched')
    const ref = this.#settle(target)
    const way = this.#wayTo(ref.host, ref.protocol.name)
    if (typeof way === 'string') {
      watcher({ reason: 'unreachable', detail: `${ref.name}: ${way}` })
      return () => undefined
    }
    return 'cells' in way ? watchHere(way, ref.id, watcher) : way.monitor(ref, watcher)
  }

  ask(asked: ActorRef, row: Row, request: unknown, options: CallOptions): Promise<Answer> {
    const ref = this.#settle(asked)
    const way = ref.cell ?? this.#wayOf(ref, row)
    if (way instanceof Channel) return way.ask(ref, row, request, options)
    try {
      const copied = row.request.copy(request)
      const cell = way instanceof Cell ? way : this.#cellOf(way, ref)
      if (!(cell instanceof Cell)) return Promise.resolve(cell)
      const message = new Message(cell, row, copied, atOnce)
      message.expires_ms = endOf(this.#options.clock.monotonic(), options.timeout_ms)
      this.#deliver(message, ref)
      if (message.answer !== null) return Promise.resolve(message.answer)
      const caller = new Caller(ref, row, options.timeout_ms)
      caller.waitForMessage(message)
      return caller.answer(this.deadlines, options.signal)
    } catch (error) {
      return Promise.resolve(this.#invalid(ref, row, request, error))
    }
  }

  tell(told: ActorRef, row: Row, request: unknown): void {
    const ref = this.#settle(told)
    const way = ref.cell ?? this.#wayOf(ref, row)
    if (way instanceof Channel) {
      const failed = way.tell(ref, row, request)
      if (failed !== null) this.#dead(failed)
      return
    }
    try {
      const copied = row.request.copy(request)
      const cell = way instanceof Cell ? way : this.#cellOf(way, ref)
      if (cell instanceof Cell) this.#deliver(new Message(cell, row, copied, this.#toNobody), ref)
      else this.#dead(cell)
    } catch (error) {
      this.#dead(this.#invalid(ref, row, request, error))
    }
  }

  serve(incoming: Incoming): void {
    const { bound, channel } = incoming
    if (bound.kind === null || bound.kind.virtual !== null) {
      // Who named this host has looked where the actor belongs; anybody else leaves it to us.
      const host = bound.host === '' ? this.#homeOf(bound.protocol, bound.actor) : bound.host
      const way = this.#wayTo(host, bound.protocol)
      if (typeof way === 'string') {
        this.#refuse(incoming, err('unreachable', `${nameOf(bound)}: ${way}`))
        return
      }
      if (!('cells' in way)) {
        way.forward(incoming, host)
        return
      }
      bound.kind = way
    }
    const message = this.#read(incoming, bound.kind)
    if (!(message instanceof Message)) {
      this.#refuse(incoming, message)
      return
    }
    if (this.observer.isLooking) this.observer.came(message, incoming.span)
    message.cell.deliver(message)
    if (message.correlation !== 0) channel.serving(message.correlation, message)
  }

  watch(bound: Bound, watcher: (down: Down) => void): () => void {
    const protocol = this.#kinds.get(bound.protocol)?.protocol
    const way = this.#wayTo(bound.host, bound.protocol)
    if (typeof way !== 'string' && 'cells' in way) return watchHere(way, bound.actor, watcher)
    if (typeof way === 'string') {
      watcher({ reason: 'unreachable', detail: `${nameOf(bound)}: ${way}` })
      return () => undefined
    }
    const at = { id: bound.actor, host: bound.host }
    const named = protocol ?? {
      name: bound.protocol,
      version: 1,
      messages: {},
      retired: [],
      rows: new Map(),
      ops: new Map(),
      fingerprint: 0,
    }
    return way.monitor(new ActorRef(this, named, at, null), watcher)
  }

  late(what: string): void {
    this.deadLetters.add(what)
  }

  /** The kinds of actors that are hosted here, by name. */
  get kinds(): ReadonlyMap<string, Kind> {
    return this.#kinds
  }

  /** What runs here, for people. */
  inspect(): readonly CellInfo[] {
    return [...this.#kinds.values()].flatMap(({ cells }) =>
      [...cells.values()].map((cell) => cell.inspect()),
    )
  }

  /**
   * Ends every actor, the last made first; with `drain`, after what waits has been handled. The world
   * stays as it is.
   */
  async stop(drain = false): Promise<void> {
    this.#isStopping = true
    this.#stopSweeps()
    this.#virtual?.stop()
    for (const { cells, supervisor } of [...this.#kinds.values()].toReversed()) {
      for (const cell of [...cells.values()].toReversed()) {
        if (drain) await cell.drain()
        if (supervisor === null) await cell.stop('stopped', 'stopped', 'it was stopped')
      }
    }
    await this.#root.stop('stopped', 'it was stopped')
  }

  #wayTo(host: string, kind: string): Way {
    const { toHost, toThread, routes, thread } = this.#options
    if (host !== '' && host !== this.#options.host) return toHost(host) ?? `no link to ${host}`
    const there = routes[kind] ?? thread
    if (there !== thread) return toThread(there) ?? `thread ${there} is not up`
    return this.#kinds.get(kind) ?? 'no such kind on this host'
  }

  /** The ref to use now: a virtual actor that belongs elsewhere is called there. */
  #settle(ref: ActorRef): ActorRef {
    if (ref.cell !== null) {
      if (!ref.cell.isGone) return ref
      ref.cell = null
    }
    if (ref.host !== '') return ref
    const home = this.#homeOf(ref.protocol.name, ref.id)
    return home === '' ? ref : ref.at(home)
  }

  /** The host where a virtual actor belongs; empty for this one, and for all other actors. */
  #homeOf(kind: string, id: string): string {
    const home = this.#kinds.get(kind)?.virtual?.home(kind, id) ?? ''
    return home === this.#options.host ? '' : home
  }

  #wayOf(ref: ActorRef, row: Row): Kind | Channel | Answer {
    const way = this.#wayTo(ref.host, ref.protocol.name)
    return typeof way === 'string' ? err('unreachable', `${ref.name} ${row.name}: ${way}`) : way
  }

  #cellOf(way: Kind | Answer, ref: ActorRef): Cell | Answer {
    if ('ok' in way) return way
    if (way.protocol.fingerprint !== ref.protocol.fingerprint) {
      throw new Error(`${ref.name} is called by another table than that of its kind`)
    }
    const found = this.#find(way, ref.id)
    if (found instanceof Cell) ref.cell = found
    return found
  }

  #deliver(message: Message, ref: ActorRef): void {
    if (this.observer.isLooking) this.observer.came(message, ref.parent)
    message.cell.deliver(message)
  }

  /** Nobody waits for the answer to a cast; that it was not handled is worth knowing. */
  readonly #toNobody: Asker = {
    settle: (_message, answer) => {
      if (!answer.ok && isDeliveryFailure(answer.error)) this.#dead(answer)
    },
  }

  #dead(answer: Answer): void {
    if (!answer.ok) this.deadLetters.add(answer.detail)
  }

  #invalid(ref: ActorRef, row: Row, request: unknown, error: unknown): Answer {
    if (!(error instanceof Misfit)) throw error
    const why = explainMisfit(row.call.request, request, error)
    return err('invalid', `${ref.name} ${row.name}: the request breaks its schema: ${why}`)
  }

  /** The message of a frame, or why there is none. */
  #read(incoming: Incoming, kind: Kind): Message | Answer {
    const { bound, header, cursor, channel } = incoming
    const row = kind.protocol.ops.get(header.op)
    if (row === undefined) {
      return err('unsupported', `${nameOf(bound)}: no message with op ${header.op}`)
    }
    let request: unknown
    try {
      request = row.request.read(cursor)
    } catch (error) {
      if (!(error instanceof Misfit)) throw error
      const what = `${nameOf(bound)} ${row.name}`
      return err('invalid', `${what}: the request breaks its schema: ${error.message}`)
    }
    if (bound.cell === null || bound.cell.isGone) {
      const found = this.#find(kind, bound.actor)
      if (!(found instanceof Cell)) return found
      bound.cell = found
    }
    const isCall = header.kind === frames.call
    const message = new Message(bound.cell, row, request, isCall ? channel : this.#toNobody)
    if (isCall) {
      message.expires_ms = endOf(this.#options.clock.monotonic(), header.remaining_ms)
      message.correlation = header.correlation
    }
    return message
  }

  #refuse({ channel, header }: Incoming, answer: Answer): void {
    if (header.kind === frames.call) channel.refuse(header.correlation, answer)
    else this.#dead(answer)
  }

  /** The actor, made if a message may make it; or why there is none. */
  #find(kind: Kind, id: string): Cell | Answer {
    const found = kind.cells.get(id)
    if (found !== undefined) return found
    const name = `${kind.protocol.name}/${id}`
    if (kind.behaviour.child.activation === 'start') {
      return err('unreachable', `there is no actor ${name}`)
    }
    if (this.#isStopping) return err('crashed', `${name}: the thread stops`)
    if (this.#made >= limits.actors_max) {
      return err('busy', `${name}: ${this.#made} actors are active`)
    }
    return this.#make(kind, id)
  }

  #make(kind: Kind, id: string): Cell {
    const cell = new Cell(kind, id)
    this.#made += 1
    kind.cells.set(id, cell)
    cell.start()
    return cell
  }

  #crashed(cell: Cell, isWithin: boolean, why: string): void {
    const { supervisor, behaviour } = cell.kind
    if (supervisor !== null) {
      supervisor.crashed(cell, isWithin, why)
    } else if (isWithin) {
      cell.restart()
    } else {
      // An actor that a message made concerns its callers only: it rests, and they are told why.
      this.#options.onExhausted?.(cell.name, why, true)
      this.#services.clock.after(behaviour.child.restarts_period_ms, () => {
        cell.restart()
      })
    }
  }

  /** Ends actors of a kind that had nothing to do for `idle_ms`, within a quarter of that time. */
  #sweepEvery(kind: Kind, idle_ms: number): void {
    const sweeps = 4
    const before = this.#stopSweeps
    let stop: () => void = before
    const again = () => {
      stop = this.#services.clock.after(idle_ms / sweeps, () => {
        kind.sweep += 1
        for (const cell of kind.cells.values()) {
          if (cell.isQuiet && kind.sweep - cell.touched > sweeps) {
            void cell.stop('stopped', 'ended', 'it was idle')
          }
        }
        again()
      })
    }
    again()
    this.#stopSweeps = () => {
      before()
      stop()
    }
  }
}

const rootGroup: GroupSpec = {
  name: 'root',
  strategy: 'one_for_one',
  restarts_max: 0,
  restarts_period_ms: 1_000,
}

function watchHere(kind: Kind, id: string, watcher: (down: Down) => void): () => void {
  const cell = kind.cells.get(id)
  if (cell !== undefined) return cell.watch(watcher)
  watcher({ reason: 'absent', detail: `there is no actor ${kind.protocol.name}/${id}` })
  return () => undefined
}
