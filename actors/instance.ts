/**
 * An instance: a guest with its ports, its disks and its console on this sled. What was asked for
 * and how far it came is journaled at every change, so a crash at any point is settled by `init`:
 * a machine that runs is adopted, one that should run is started, one that died is let go of.
 *
 * Starting a guest takes a while and is a message of its own (`advance`); reports to Nexus leave
 * through an outbox (`report` until `reported`) and hold nothing up.
 */
import assert from 'node:assert/strict'
import { limits } from '#config/limits.ts'
import { behaviour, type Step } from '#runtime/actor/actor.ts'
import type { Failure, Request } from '#runtime/actor/protocol.ts'
import { ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { confirm } from '#actors/fence.ts'
import { goOn, leave, migrateIn, migrateOut } from '#actors/instance.migration.ts'
import {
  blank,
  forget,
  move,
  record,
  report_pause_ms_min,
  withGeneration,
  type InstanceState as State,
} from '#actors/instance.record.ts'
import { sampleDisks } from '#actors/instance.samples.ts'
import {
  releaseGuest,
  startGuest,
  watchGuest,
  type InstanceContext,
} from '#actors/instance.work.ts'
import {
  instanceProtocol,
  type InstanceRuntime,
  type InstanceSpec,
} from '#actors/instance.protocol.ts'
import { isLive, planRequest, planSeen, type Action } from '#actors/instance.state.ts'
import { recall } from '#actors/memory.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'

const report_pause_ms_max = 5_000
/** Who asked was answered with the state: a report of it is sent unless a newer one was by then. */
const answered_pause_ms = 1_000

export const instance = behaviour({
  protocol: instanceProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 5,
    restarts_period_ms: 30_000,
    shutdown_ms: 2_000,
    mailbox_max: 64,
    thread: 'compute',
    activation: 'by_id',
  },

  init: async (context: InstanceContext): Promise<State> => {
    const entry = await recall(context, 'instance')
    if (!fits(record, entry)) return blank(context)
    const { spec, runtime, migration = null } = entry
    return await adopt(context, { ...blank(context), spec, runtime, migration })
  },
  invariant: (state) => {
    assert(state.reported_gen <= state.runtime.gen, 'no report is ahead of the state')
  },
  stop: (_context, state) => {
    state.unwatch?.()
  },

  handlers: {
    get: (_context, state) => ({ state, result: ok(state.spec === null ? null : state.runtime) }),

    ensure,
    ensure_fenced: async (context, state, { fence, ...request }) => {
      const { target, spec } = request
      const { propolis_id } = spec
      const confirmed = await confirm(context, fence, { id: context.id, propolis_id, target })
      return confirmed.ok ? await ensure(context, state, request) : refused(state, confirmed)
    },

    observed: async (context, state, request) => {
      if (state.spec?.propolis_id !== request.propolis_id) return { state, result: ok(null) }
      const { next, action } = planSeen(state.runtime.run_state, request.event)
      if (action === 'kill') await context.deps.vmm.kill(context.id)
      if (action === 'release') {
        state.unwatch?.()
        const released = await releaseGuest(context, state.spec)
        if (!released.ok) {
          context.log.warn('a dead guest is not let go of yet', { detail: released.detail })
          context.after(report_pause_ms_max, 'observed', request)
          return { state, result: ok(null) }
        }
      }
      const moved = await move(context, state, next)
      return { state: moved.ok ? moved.value : state, result: ok(null) }
    },

    advance: async (context, state) => {
      if (state.spec === null || state.runtime.run_state !== 'starting') {
        return { state, result: ok(null) }
      }
      const started = await startGuest(context, state.spec)
      if (started.ok) {
        const unwatch = watchGuest(context, state.spec)
        const moved = await move(context, state, 'running')
        return { state: { ...(moved.ok ? moved.value : state), unwatch }, result: ok(null) }
      }
      context.log.error('the guest could not be started', { detail: started.detail })
      await releaseGuest(context, state.spec)
      const failed = await move(context, state, 'failed')
      return { state: failed.ok ? failed.value : state, result: ok(null) }
    },

    // It is over at once: counting holds nothing up.
    sample: (context, state, { propolis_id }) => ({
      state,
      result:
        state.spec?.propolis_id === propolis_id && isSampled(state.runtime.run_state)
          ? sampleDisks(context, state.spec)
          : ok(null),
    }),

    serial_read: async (context, state, request) => {
      const from =
        request.most_recent === null ? (request.from_start ?? 0) : -Math.max(1, request.most_recent)
      const read = await context.deps.vmm.serialRead(context.id, from, request.max_bytes)
      return { state, result: read.ok ? ok({ ...read.value }) : read }
    },

    serial_write: async (context, state, request) => ({
      state,
      result: await context.deps.vmm.serialWrite(context.id, request.data),
    }),

    destroy: async (context, state) => {
      state.unwatch?.()
      const { spec } = state
      const released = spec === null ? ok(null) : await releaseGuest(context, spec)
      if (!released.ok) return { state, result: released }
      const forgotten = await context.deps.vmm.forget(context.id)
      if (!forgotten.ok) return { state, result: forgotten }
      const removed = await forget(context)
      if (!removed.ok) return { state, result: removed }
      return { state: { ...state, spec: null, unwatch: null }, result: ok(null), stop: true }
    },

    migrate_out: migrateOut,
    migrate_out_fenced: async (context, state, { fence, ...request }) => {
      const confirmed = await confirm(context, fence)
      return confirmed.ok ? await migrateOut(context, state, request) : refused(state, confirmed)
    },
    migrate_in: migrateIn,
    migrate_in_fenced: async (context, state, { fence, ...request }) => {
      const confirmed = await confirm(context, fence)
      return confirmed.ok ? await migrateIn(context, state, request) : refused(state, confirmed)
    },
    go_on: goOn,
    leave,
    get_migration: (_context, state) => {
      if (state.migration === null) return { state, result: ok(null) }
      const { migration_id, dst_propolis_id } = state.migration
      return { state, result: ok({ migration_id, dst_propolis_id }) }
    },

    report: (context, state) => ({ state, result: send(context, state) }),

    reported: (context, state, { gen }) => {
      const reported: State = {
        ...state,
        reported_gen: Math.min(state.runtime.gen, Math.max(state.reported_gen, gen)),
        report_pause_ms: report_pause_ms_min,
      }
      if (reported.reported_gen < reported.runtime.gen) context.after(0, 'report', null)
      return { state: reported, result: ok(null) }
    },
  },
})

async function ensure(
  context: InstanceContext,
  state: State,
  request: Request<typeof instanceProtocol, 'ensure'>,
): Promise<Step<State, InstanceRuntime, Failure<typeof instanceProtocol, 'ensure'>>> {
  const planned = planRequest(state.runtime.run_state, request.target)
  if (!planned.ok) return { state, result: planned }
  const { next, action } = planned.value
  // A running guest keeps what it was started with; the rest is taken up at its next start.
  const spec = state.spec === null || action === 'run' ? request.spec : state.spec
  const based = withGeneration({ ...state, spec }, request.gen)
  if (next === state.runtime.run_state && state.spec !== null) {
    return { state: based, result: ok(based.runtime) }
  }
  const moved = await move(context, based, next, answered_pause_ms)
  if (!moved.ok) return { state, result: moved }
  const acted = await act(context, moved.value, action)
  return { state: moved.value, result: acted.ok ? ok(moved.value.runtime) : acted }
}

/** Nothing stays of an actor that only such a request has made. */
const refused = <R>(state: State, result: R) => ({ state, result, stop: state.spec === null })

const isSampled = (run_state: State['runtime']['run_state']): boolean =>
  isLive(run_state) || run_state === 'migrating'

/** Puts what the journal says and what runs together, after a restart or a crash. */
async function adopt(context: InstanceContext, state: State): Promise<State> {
  const { spec } = state
  const machine = await context.deps.vmm.find(context.id)
  if (!machine.ok) throw new Error(`instance ${context.id}: ${machine.detail}`)
  if (state.reported_gen < state.runtime.gen) context.after(0, 'report', null)
  if (spec === null) return state
  // Nothing runs of what has not come yet: whoever has it come says how it goes on.
  if (state.migration?.side === 'target') return state
  if (machine.value !== null && machine.value.propolis_id === spec.propolis_id) {
    const unwatch = watchGuest(context, spec)
    const now = machine.value.state === 'exited' ? 'exited' : 'running'
    context.after(0, 'observed', { propolis_id: spec.propolis_id, event: now })
    if (state.runtime.run_state === 'stopping') {
      await context.deps.vmm.powerdown(context.id)
      overdueLater(context, spec)
    }
    return { ...state, unwatch }
  }
  // No machine: one that was starting is started again, any other live one has ended.
  context.after(0, 'advance', null)
  if (state.runtime.run_state !== 'starting') {
    context.after(0, 'observed', { propolis_id: spec.propolis_id, event: 'exited' })
  }
  return state
}

async function act(
  context: InstanceContext,
  state: State,
  action: Action,
): Promise<Result<null, 'os_failed'>> {
  switch (action) {
    case 'none':
      return ok(null)
    case 'run':
      context.after(0, 'advance', null)
      return ok(null)
    case 'reboot':
      return await context.deps.vmm.reset(context.id)
    case 'stop':
    case 'destroy': {
      if (state.spec === null) return ok(null)
      if (action === 'destroy') return await context.deps.vmm.kill(context.id)
      overdueLater(context, state.spec)
      // A guest that was not running yet has no power button: it ends as soon as it is seen.
      const pressed = await context.deps.vmm.powerdown(context.id)
      if (!pressed.ok) {
        context.after(0, 'observed', { propolis_id: state.spec.propolis_id, event: 'exited' })
      }
      return ok(null)
    }
  }
}

function overdueLater(context: InstanceContext, spec: InstanceSpec): void {
  context.after(limits.instance_stop_grace_ms, 'observed', {
    propolis_id: spec.propolis_id,
    event: 'overdue',
  })
}

/** Offers the newest runtime to Nexus' members in turn; tries again later when none takes it. */
async function send(context: InstanceContext, state: State): Promise<Result<null, never>> {
  const { runtime, report_pause_ms } = state
  if (state.reported_gen >= runtime.gen) return ok(null)
  for (const host of context.deps.nexus_hosts()) {
    const told = await context
      .ref(nexusProtocol, 'nexus', host)
      .call(
        'instance_report',
        { sled_id: context.deps.sled_id, instance_id: context.id, runtime },
        { timeout_ms: limits.link_connect_ms },
      )
    // An instance that Nexus does not know any more needs no report.
    if (told.ok || told.error === 'unknown_instance') {
      context.after(0, 'reported', { gen: runtime.gen })
      return ok(null)
    }
    context.log.debug('nexus did not take a report', { host, error: told.error })
  }
  context.after(Math.min(report_pause_ms * 2, report_pause_ms_max), 'report', null)
  return ok(null)
}
