/** The actor that is asked what its process looks like. */
import { behaviour, type Context } from '../actor/actor.ts'
import { err, ok } from '../result.ts'
import { seeingProtocol } from './seeing.protocol.ts'
import type { FinishedSpan } from '../trace.ts'
import type { Snapshot } from './snapshot.ts'

export interface SeeingDeps {
  /** Looks at every thread; see Lookout for `measure_ms`. */
  readonly look: (measure_ms: number) => Promise<Snapshot>
  /** Takes spans of others; null where nothing is exported. */
  readonly addSpan: ((span: FinishedSpan) => void) | null
}
type SeeingContext = Context<SeeingDeps, typeof seeingProtocol>

export const seeing = behaviour({
  protocol: seeingProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 5,
    restarts_period_ms: 10_000,
    shutdown_ms: 1_000,
    mailbox_max: 64,
    thread: 'main',
    activation: 'start',
  },
  init: (_context: SeeingContext) => null,
  invariant: () => undefined,
  handlers: {
    // Late: two who look at once need not wait for each other.
    snapshot: (context, state, { measure_ms }) => ({
      state,
      result: context.deps.look(measure_ms).then(ok),
    }),

    export_spans: (context, state, { spans }) => {
      const { addSpan } = context.deps
      if (addSpan === null) return { state, result: err('not_traced', 'nothing is traced here') }
      for (const span of spans) addSpan(span)
      return { state, result: ok(null) }
    },
  },
})
