/** The actors that are measured: they answer with what they are asked, or pass a message around. */
import { Type } from 'typebox'
import { behaviour, type Context, type Ref } from '#runtime/actor/actor.ts'
import type { Channel } from '#runtime/channel/channel.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
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
export const echoProtocol = protocol('echo', 1, {
  small: call(1, { request: small, reply: small, errors: [], idempotent: true }),
  list: call(2, { request: list, reply: list, errors: [], idempotent: true }),
  blob: call(3, { request: blob, reply: blob, errors: [], idempotent: true }),
  numbers: call(5, {
    request: Type.Array(Type.Integer()),
    reply: Type.Integer(),
    errors: [],
  }),
  /** Passes the number on, one less, to the next actor of a ring; the last one says so. */
  hop: call(4, { request: Type.Integer({ minimum: 0 }), reply: nothing, errors: [] }),
})
/** Where a `hop` goes next, and what happens at its end. */
export interface Ring {
  readonly next: (id: string) => Ref<typeof echoProtocol>
  done: () => void
}
interface State {
  readonly asked: number
  readonly next: Ref<typeof echoProtocol> | null
}
type EchoContext = Context<Ring | null, typeof echoProtocol>

export const echo = behaviour({
  protocol: echoProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 4096,
    thread: 'echo',
    activation: 'by_id',
  },
  init: (context: EchoContext): State => ({
    asked: 0,
    next: context.deps?.next(context.id) ?? null,
  }),
  invariant: () => undefined,
  handlers: {
    small: (_context, state, message) => ({ state: again(state), result: ok(message) }),
    list: (_context, state, message) => ({ state: again(state), result: ok(message) }),
    blob: (_context, state, message) => ({ state: again(state), result: ok(message) }),
    numbers: (_context, state, given) => ({ state: again(state), result: ok(given.length) }),
    hop: (context, state, left) => {
      if (left > 0) state.next?.cast('hop', left - 1)
      else context.deps?.done()
      return { state, result: ok(null) }
    },
  },
})
const again = ({ asked, next }: State): State => ({ asked: asked + 1, next })

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
