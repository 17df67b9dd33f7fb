/**
 * What an actor is made of. A behaviour is plain data: a protocol, a child spec, an `init` that
 * reads the world, and one handler per message, each a function of (context, state, request).
 */
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { DeliveryFailure, Failure, Name, Protocol, Reply, Request } from './protocol.ts'
import type { Random } from '../random.ts'
import { ok, type Result } from '../result.ts'

export interface CallOptions {
  /** How long the caller waits, in ms from now; every call can end. */
  readonly timeout_ms: number
  readonly signal?: AbortSignal
}

/** A typed way to an actor in this thread, another thread or another host: the same everywhere. */
export interface Ref<P extends Protocol> {
  /** Sends a message and waits for its answer. */
  readonly call: <K extends Name<P>>(
    name: K,
    request: Request<P, K>,
    options: CallOptions,
  ) => Promise<Result<Reply<P, K>, Failure<P, K> | DeliveryFailure>>
  /** Sends a message and waits for nothing. What cannot be delivered is a dead letter. */
  readonly cast: <K extends Name<P>>(name: K, request: Request<P, K>) => void
}

/** Makes refs. `host` null means this host; an actor's full name is `protocol.name/id`. */
export type RefMaker = <P extends Protocol>(protocol: P, id: string, host?: string | null) => Ref<P>

/** Why an actor that was watched is there no more. */
export interface Down {
  /**
   * `absent`: it was not there. `ended`: by itself. `stopped`: by its supervisor. `crashed`: it or its
   * thread. `unreachable`: the link to its host broke, and nobody knows.
   */
  readonly reason: 'absent' | 'ended' | 'stopped' | 'crashed' | 'unreachable'
  readonly detail: string
}

/** What a handler is given besides its state: services as arguments, never globals. */
export interface Context<D, P extends Protocol = Protocol> {
  /** The id part of this actor's name. */
  readonly id: string
  /** For people: this actor and the message that it handles. */
  readonly what: string
  /** Aborted when the caller cancels, an urgent message arrives or the actor is stopped. */
  readonly signal: AbortSignal
  /** When the caller stops waiting, in the clock's monotonic milliseconds. */
  readonly deadline_ms: number
  /** The fencing generation under which a virtual actor is active here; 0 for all others. */
  readonly generation: number
  readonly deps: D
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly ref: RefMaker
  /**
   * Sends a message to this actor itself after `delay_ms`, through its mailbox like any other; the
   * result is logged when it fails. Returns a function that takes it back.
   */
  readonly after: <K extends Name<P>>(
    delay_ms: number,
    name: K,
    request: Request<P, K>,
  ) => () => void
  /**
   * Sends a message to this actor itself when another one is there no more: once, at once if it is
   * not there now. Returns a function that takes the watch back.
   */
  readonly monitor: <K extends Name<P>>(
    target: Ref<Protocol>,
    name: K,
    request: (down: Down) => Request<P, K>,
  ) => () => void
}

export interface Step<S, T, E extends string> {
  readonly state: S
  /** A promise answers late: the actor goes on with its next message meanwhile. */
  readonly result: Result<T, E> | Promise<Result<T, E>>
  /** True ends the actor, unless messages wait; the next message makes it anew. */
  readonly stop?: boolean
}

/** What an actor may answer: its row's reply or failures, or that it cannot take the message now. */
type Answered<P extends Protocol, K extends Name<P>, S> = Step<
  S,
  Reply<P, K>,
  Failure<P, K> | 'busy'
>
export type Handlers<P extends Protocol, S, D> = {
  readonly [K in Name<P>]: (
    context: Context<D, P>,
    state: S,
    request: Request<P, K>,
  ) => Answered<P, K, S> | Promise<Answered<P, K, S>>
}

/** How an actor is supervised (Erlang/OTP's child specification, in our units). */
export interface ChildSpec {
  /** `permanent`: always restarted. `transient`: only after a crash. `temporary`: never. */
  readonly restart: 'permanent' | 'transient' | 'temporary'
  readonly restarts_max: number
  readonly restarts_period_ms: number
  /** How long `stop` may take before the actor is abandoned. */
  readonly shutdown_ms: number
  /** Messages waiting beyond this are refused with `busy`. */
  readonly mailbox_max: number
  /** The thread that hosts it: one per native library domain. */
  readonly thread: string
  /**
   * `start`: one actor, id given in the tree. `by_id`: made when its first message arrives.
   * `virtual`: the same, on one host of the cluster at a time, under a lease (runtime/cluster).
   */
  readonly activation: 'start' | 'by_id' | 'virtual'
  /** An actor made by a message ends after this long without one; not given: it stays. */
  readonly idle_ms?: number
}

export interface Behaviour<P extends Protocol, S, D> {
  readonly protocol: P
  readonly child: ChildSpec
  /** Reads the world and the journal; trusts nothing remembered. A throw counts as a crash. */
  readonly init: (context: Context<D, P>) => S | Promise<S>
  /** Runs after every message; throws (asserts) what must always hold. */
  readonly invariant: (state: S) => void
  readonly handlers: Handlers<P, S, D>
  /** Releases what must not outlive the actor (sockets, timers). The world stays as it is. */
  readonly stop?: (context: Context<D, P>, state: S) => void | Promise<void>
}
export type AnyBehaviour = Behaviour<Protocol, unknown, unknown>

/** Fixes the types of a behaviour; the handlers must cover every row of the protocol. */
export function behaviour<P extends Protocol, S, D>(
  definition: Behaviour<P, S, D>,
): Behaviour<P, S, D> {
  return definition
}

/** Act first, then believe: the state moves only when the world has said yes. */
export async function commit<S, A, T, E extends string, F extends string>(
  state: S,
  plan: Result<{ readonly state: S; readonly action: A }, E>,
  act: (action: A) => Result<null, F> | Promise<Result<null, F>>,
  reply: (state: S) => T,
): Promise<Step<S, T, E | F>> {
  if (!plan.ok) return { state, result: plan }
  const acted = await act(plan.value.action)
  if (!acted.ok) return { state, result: acted }
  return { state: plan.value.state, result: ok(reply(plan.value.state)) }
}
