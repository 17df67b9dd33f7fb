/**
 * A service zone: booted when asked for, looked after while it is wanted. A zone that ends by
 * itself is booted again, each time a little later; one that runs is adopted, whoever booted it.
 */
import { Type } from 'typebox'
import type { ZoneFound, Zones } from '#native/platform/zone.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { ok } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { putBack, recall, remember } from '#actors/memory.ts'
import { zoneProtocol, zoneSpec, type ZoneSpec } from '#actors/zone.protocol.ts'

type ZoneContext = Context<{ readonly zones: Zones }, typeof zoneProtocol>
interface State {
  readonly wanted: ZoneSpec | null
  readonly found: ZoneFound
  /** Boots in a row that did not last. */
  readonly falls: number
  readonly booted_ms: number
}

const check_ms = 500
const pause_ms_max = 10_000
/** A zone that has run this long has recovered. */
const lasting_ms = 30_000
const grace_ms = 5_000
const journaled = Type.Object({ spec: zoneSpec })

export const zone = behaviour({
  protocol: zoneProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 2_000,
    mailbox_max: 64,
    thread: 'zone',
    activation: 'by_id',
  },

  init: async (context: ZoneContext): Promise<State> => {
    const entry = await recall(context, 'zone')
    const found = await context.deps.zones.find(context.id)
    if (!found.ok) throw new Error(`zone ${context.id}: ${found.detail}`)
    const wanted = fits(journaled, entry) ? entry.spec : null
    if (wanted !== null) context.after(check_ms, 'check', null)
    return { wanted, found: found.value, falls: 0, booted_ms: context.clock.now() }
  },
  invariant: () => undefined,

  handlers: {
    get: (_context, state) => ({ state, result: ok(state.found) }),

    ensure: async (context, state, spec) => {
      const written = await remember(context, 'zone', { spec })
      if (!written.ok) return { state, result: written }
      const booted = await context.deps.zones.boot(spec)
      if (!booted.ok) {
        // Nothing runs; what was wanted before is wanted still, and no more than that.
        await putBack(context, 'zone', state.wanted === null ? null : { spec: state.wanted })
        return { state, result: booted }
      }
      if (state.wanted === null) context.after(check_ms, 'check', null)
      const next: State = {
        wanted: spec,
        found: booted.value,
        falls: 0,
        booted_ms: context.clock.now(),
      }
      return { state: next, result: ok(booted.value) }
    },

    remove: async (context, state) => {
      const removed = await context.deps.zones.remove(context.id, grace_ms)
      if (!removed.ok) return { state, result: removed }
      const written = await remember(context, 'zone', null)
      if (!written.ok) return { state, result: written }
      const gone: State = { ...state, wanted: null, found: absent(context.id) }
      return { state: gone, result: ok(null), stop: true }
    },

    check: async (context, state) => {
      if (state.wanted === null) return { state, result: ok(null) }
      const next = await look(context, state, state.wanted)
      const pause_ms =
        next.found.state === 'running' ? check_ms : Math.min(pause_ms_max, 100 * 2 ** next.falls)
      context.after(pause_ms, 'check', null)
      return { state: next, result: ok(null) }
    },
  },
})

async function look(context: ZoneContext, state: State, wanted: ZoneSpec): Promise<State> {
  const found = await context.deps.zones.find(context.id)
  if (!found.ok) {
    context.log.warn(`zone ${context.id} could not be looked at`, { detail: found.detail })
    return state
  }
  const now_ms = context.clock.now()
  if (found.value.state === 'running') {
    const falls = now_ms - state.booted_ms > lasting_ms ? 0 : state.falls
    return { ...state, found: found.value, falls }
  }
  context.log.warn(`zone ${context.id} is ${found.value.state}: booting it`, { falls: state.falls })
  const booted = await context.deps.zones.boot(wanted)
  if (!booted.ok) context.log.error(`zone ${context.id} did not boot`, { detail: booted.detail })
  return {
    ...state,
    found: booted.ok ? booted.value : found.value,
    falls: Math.min(state.falls + 1, 10),
    booted_ms: now_ms,
  }
}

const absent = (name: string): ZoneFound => ({ name, state: 'absent', pid: null })
