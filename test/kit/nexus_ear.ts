/** What a sled's actors need of Nexus: it takes their reports, and says what sagas still want. */
import type { InstanceRuntime } from '#actors/instance.protocol.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { behaviour } from '#runtime/actor/actor.ts'
import type { Request } from '#runtime/actor/protocol.ts'
import { ok, type Result } from '#runtime/result.ts'

export interface NexusEar {
  readonly reports: InstanceRuntime[]
  readonly isWanted: (
    asked: Request<typeof nexusProtocol, 'is_wanted'>,
  ) => Promise<Result<boolean, 'unavailable'>>
}

export const wantsAll: NexusEar['isWanted'] = async () => ok(true)

export const nexusEar = behaviour({
  protocol: nexusProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 100,
    thread: 'main',
    activation: 'start',
  },
  init: (context: { readonly deps: NexusEar }) => context.deps,
  invariant: () => undefined,
  handlers: {
    sled_up: (_context, state) => ({ state, result: ok(null) }),
    reconcile: (_context, state) => ({ state, result: ok(null) }),
    warnings: (_context, state) => ({ state, result: ok([]) }),
    disk_samples: (_context, state) => ({ state, result: ok(null) }),
    is_wanted: (_context, state, asked) => ({ state, result: state.isWanted(asked) }),
    instance_report: (_context, state, report) => {
      state.reports.push(report.runtime)
      return { state, result: ok(null) }
    },
  },
})
