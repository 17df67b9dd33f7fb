/** Watches one guest's console for one viewer. Nobody else waits while it waits. */
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import type { Vmm } from '#native/platform/vmm.ts'
import { ok } from '#runtime/result.ts'
import { consoleProtocol } from '#actors/console.protocol.ts'

type ConsoleContext = Context<{ readonly vmm: Vmm }, typeof consoleProtocol>

export const consoleWatcher = behaviour({
  protocol: consoleProtocol,
  child: {
    restart: 'temporary',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 500,
    mailbox_max: 8,
    thread: 'compute',
    activation: 'by_id',
  },
  init: (context: ConsoleContext) => ({ instance_id: context.id.split('.')[0] ?? '' }),
  invariant: () => undefined,
  handlers: {
    follow: async (context, state, request) => {
      const { vmm } = context.deps
      const { max_bytes, wait_ms } = request
      // The end of what there is, when the viewer has not seen anything yet.
      const end =
        request.from_start === null ? await vmm.serialRead(state.instance_id, -1, 0) : null
      if (end !== null && !end.ok) return { state, result: end }
      const from = request.from_start ?? end?.value.last_byte_offset ?? 0
      const { signal } = context
      const read = await vmm.serialFollow(state.instance_id, from, { max_bytes, wait_ms, signal })
      return { state, result: read.ok ? ok({ ...read.value }) : read }
    },
    close: (_context, state) => ({ state, result: ok(null), stop: true }),
  },
})
