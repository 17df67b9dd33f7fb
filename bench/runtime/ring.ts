/** Actors that pass a message around: what a message costs whom nobody answers. */
import { Type } from 'typebox'
import { behaviour, type Context, type Ref } from '#runtime/actor/actor.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'
import { benchedChild } from './echo.ts'

export const ringProtocol = protocol('ring', 1, {
  /** Passes the number on, one less, to the next actor of the ring; the last one says so. */
  hop: call(1, { request: Type.Integer({ minimum: 0 }), reply: nothing, errors: [] }),
})
/** Where a `hop` goes next, and what happens at its end. */
export interface Ring {
  readonly next: (id: string) => Ref<typeof ringProtocol>
  done: () => void
}
interface State {
  readonly next: Ref<typeof ringProtocol>
}

export const ringed = behaviour({
  protocol: ringProtocol,
  child: benchedChild,
  init: (context: Context<Ring, typeof ringProtocol>): State => ({
    next: context.deps.next(context.id),
  }),
  invariant: () => undefined,
  handlers: {
    hop: (context, state, left) => {
      if (left > 0) state.next.cast('hop', left - 1)
      else context.deps.done()
      return { state, result: ok(null) }
    },
  },
})
