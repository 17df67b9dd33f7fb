/** The actors that are measured: they answer with what they are asked. */
import { Type } from 'typebox'
import { behaviour, type ChildSpec, type Context } from '#runtime/actor/actor.ts'
import type { Channel } from '#runtime/channel/channel.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { call, protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok, type Result } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import type { Message, Shape } from '../messages.ts'

const small = Type.Object({
  kind: Type.String({ maxLength: 64 }),
  id: Type.String({ maxLength: 36 }),
  size: Type.Integer({ minimum: 0 }),
  name: Type.String({ maxLength: 63 }),
  attempt: Type.Integer({ minimum: 0 }),
})
const list = Type.Object({
  kind: Type.String({ maxLength: 64 }),
  attempt: Type.Integer({ minimum: 0 }),
  rows: Type.Array(
    Type.Object({
      id: Type.String({ maxLength: 36 }),
      name: Type.String({ maxLength: 63 }),
      state: Type.String({ maxLength: 16 }),
      ncpus: Type.Integer({ minimum: 1 }),
      memory: Type.Integer({ minimum: 0 }),
      ip: Type.String({ maxLength: 45 }),
      gen: Type.Integer({ minimum: 0 }),
    }),
    { maxItems: 1_000 },
  ),
})
const blob = Type.Object({
  kind: Type.String({ maxLength: 64 }),
  attempt: Type.Integer({ minimum: 0 }),
  data: Type.Unsafe<Uint8Array>(
    Type.Refine(Type.Unknown(), (value) => value instanceof Uint8Array),
  ),
})
export const benchedChild: ChildSpec = {
  restart: 'permanent',
  restarts_max: 1,
  restarts_period_ms: 1_000,
  shutdown_ms: 100,
  mailbox_max: 4096,
  thread: 'echo',
  activation: 'by_id',
}
export const echoProtocol = protocol('echo', 1, {
  small: call(1, { request: small, reply: small, errors: [], idempotent: true }),
  list: call(2, { request: list, reply: list, errors: [], idempotent: true }),
  blob: call(3, { request: blob, reply: blob, errors: [], idempotent: true }),
  numbers: call(4, {
    request: Type.Array(Type.Integer()),
    reply: Type.Integer(),
    errors: [],
  }),
})
/** Answers with what it is asked. Each message replaces its state: `first`, to begin with. */
const echoWith = <S>(first: S, again: (state: S) => S) =>
  behaviour({
    protocol: echoProtocol,
    child: benchedChild,
    init: (_context: Context<null, typeof echoProtocol>) => first,
    invariant: () => undefined,
    handlers: {
      small: (_context, state, message) => ({ state: again(state), result: ok(message) }),
      list: (_context, state, message) => ({ state: again(state), result: ok(message) }),
      blob: (_context, state, message) => ({ state: again(state), result: ok(message) }),
      numbers: (_context, state, given) => ({ state: again(state), result: ok(given.length) }),
    },
  })
/** Counts what it is asked, as the servers of all others do. */
export const echo = echoWith(0, (asked) => asked + 1)
/** Its state is a record, as most actors' is: each message makes one, which lives until the actor's next message. */
export const recordEcho = echoWith({ asked: 0 }, ({ asked }) => ({ asked: asked + 1 }))

export interface Ways {
  readonly host: string
  readonly thread: string
  readonly toThread: (thread: string) => Channel | null
  readonly toHost: (host: string) => Channel | null
  /** Where echoes are. */
  readonly echoes: string
}

/** A system as the product has it; no tracing, and nobody looks. */
export function makeSystem(ways: Ways): System {
  return new System({
    host: ways.host,
    thread: ways.thread,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    routes: { echo: ways.echoes },
    toThread: ways.toThread,
    toHost: ways.toHost,
  })
}

const options = { timeout_ms: 10_000 }
type Answer = Result<Pick<Message<Shape>, 'attempt'>, string>

/** Asks the actors of a host by number. */
export function asker<S extends Shape>(
  system: System,
  shape: S,
  where: { host: string; actors: number },
) {
  const refs = Array.from({ length: where.actors }, (_, id) =>
    system.ref(echoProtocol, `${id}`, where.host),
  )
  return (actor: number, message: Message<S>): Promise<Answer> => {
    const ref = refs[actor]
    if (ref === undefined) throw new Error(`there is no actor ${actor}`)
    // The compiler cannot see that a shape's row takes that shape's messages.
    return ref.call(shape, message as never, options)
  }
}
/** Which message was answered; what was refused or failed ends the program. */
export function attemptOf(answer: Answer): number {
  if (!answer.ok) throw new Error(answer.detail)
  return answer.value.attempt
}
