/**
 * A disk: one volume, and the one instance that may use it. What was asked for is journaled before
 * anything is made, so a crash at any point is settled by the next `init`: a half-made volume
 * counts as none and is asked for again by whoever wanted it.
 */
import assert from 'node:assert/strict'
import type { Block } from '#native/platform/block.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Type } from 'typebox'
import {
  diskProtocol,
  volumeSpec,
  type DiskSpec,
  type DiskView,
  type VolumeSpec,
} from '#actors/disk.protocol.ts'
import * as plan from '#actors/disk.state.ts'
import { confirm } from '#actors/fence.ts'
import { putBack, recall, remember } from '#actors/memory.ts'
import { nullable, uuid } from '#actors/schema.ts'

type State = plan.DiskState<VolumeSpec>
type DiskContext = Context<{ readonly block: Block }, typeof diskProtocol>

const wanted = Type.Object({
  spec: volumeSpec,
  attachment: nullable(Type.Object({ instance_id: uuid, read_only: Type.Boolean() })),
})

export const disk = behaviour({
  protocol: diskProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 5_000,
    mailbox_max: 64,
    thread: 'storage',
    activation: 'by_id',
  },

  init: async (context: DiskContext): Promise<State> => {
    const { id } = context
    const entry = await recall(context, 'disk')
    const found = await context.deps.block.find(id)
    if (!found.ok) throw new Error(`disk ${id}: ${found.detail}`)
    const known = fits(wanted, entry) ? entry : null
    if (known !== null && isComing(known.spec)) return await takeBack(context)
    const phase = found.value === null ? 'absent' : found.value.exported ? 'exported' : 'ready'
    return await settle(context, { id, wanted: known, phase })
  },
  invariant: (state) => {
    const held = state.wanted?.attachment ?? null
    if (held !== null) assert.notEqual(state.phase, 'absent', 'an attached disk has a volume')
  },

  handlers: {
    get: (_context, state) => ({ state, result: ok(view(state)) }),

    ensure,
    ensure_fenced: async (context, state, { fence, ...spec }) => {
      const confirmed = await confirm(context, fence)
      return confirmed.ok ? await ensure(context, state, spec) : refused(state, confirmed)
    },

    copy,
    copy_fenced: async (context, state, { fence, ...spec }) => {
      const confirmed = await confirm(context, fence)
      return confirmed.ok ? await copy(context, state, spec) : refused(state, confirmed)
    },

    bring_fenced: async (context, state, { fence, address, bring_id, ...size }) => {
      const confirmed = await confirm(context, fence)
      if (!confirmed.ok) return refused(state, confirmed)
      // What it holds is named by how it came.
      const spec: VolumeSpec = { ...size, source: { type: 'volume', id: bring_id } }
      return await bring(context, state, { spec, address })
    },

    copy_into: async (context, state, to) => {
      if (state.phase === 'absent') {
        return { state, result: err('not_found', `disk ${state.id} has no volume on this sled`) }
      }
      const copied = await context.deps.block.copy(state.id, to, context.signal)
      return { state, result: copied.ok ? ok(null) : copied }
    },

    offer: async (context, state) => {
      const spec = state.phase === 'absent' ? null : (state.wanted?.spec ?? null)
      if (spec === null) {
        return { state, result: err('not_found', `disk ${state.id} has no volume on this sled`) }
      }
      const offered = await context.deps.block.offer(state.id)
      const { id, size_bytes, block_size } = spec
      return {
        state,
        result: offered.ok ? ok({ id, size_bytes, block_size, address: offered.value }) : offered,
      }
    },

    follow: async (context, state, { address }) => ({
      state,
      result: await context.deps.block.follow(state.id, address, context.signal),
    }),

    fill: async (context, state, { address }) => {
      const filled = await context.deps.block.fill(state.id, address, context.signal)
      if (filled.ok) return { state, result: filled }
      const { error, detail } = filled
      return { state, result: err(error === 'no_space' ? 'os_failed' : error, detail) }
    },

    attach: async (context, state, request) => {
      const planned = plan.planAttach(state, request)
      if (!planned.ok) return { state, result: planned }
      const written = await remember(context, 'disk', planned.value)
      if (!written.ok) return { state, result: written }
      const served = await context.deps.block.export(state.id, request.read_only)
      if (!served.ok) {
        await putBack(context, 'disk', state.wanted)
        return { state, result: served }
      }
      const next: State = { ...state, wanted: planned.value, phase: 'exported' }
      if (state.phase !== 'exported') context.after(check_ms, 'check', null)
      return { state: next, result: ok(served.value) }
    },

    detach: async (context, state, request) => {
      const planned = plan.planDetach(state, request.instance_id)
      if (planned === null) {
        // Another sled may have been offered it.
        const ended =
          state.phase === 'ready' ? await context.deps.block.unexport(state.id) : ok(null)
        return { state, result: ended.ok ? ok(view(state)) : ended }
      }
      const stopped = await context.deps.block.unexport(state.id)
      if (!stopped.ok) return { state, result: stopped }
      const written = await remember(context, 'disk', planned)
      if (!written.ok) return { state, result: written }
      const next: State = { ...state, wanted: planned, phase: 'ready' }
      return { state: next, result: ok(view(next)) }
    },

    destroy: async (context, state) => {
      const allowed = plan.planDestroy(state)
      if (!allowed.ok) return { state, result: allowed }
      const removed = await context.deps.block.destroy(state.id)
      if (!removed.ok) return { state, result: removed }
      const written = await remember(context, 'disk', null)
      if (!written.ok) return { state, result: written }
      const gone: State = { ...state, wanted: null, phase: 'absent' }
      return { state: gone, result: ok(null), stop: true }
    },

    check: async (context, state) => {
      const attachment = state.wanted?.attachment ?? null
      if (attachment === null || state.phase !== 'exported') return { state, result: ok(null) }
      const found = await context.deps.block.find(state.id)
      if (found.ok && found.value !== null && !found.value.exported) {
        context.log.warn('the volume is offered again: its server had ended')
        const served = await context.deps.block.export(state.id, attachment.read_only)
        if (!served.ok) context.log.error('the volume is not offered', { detail: served.detail })
      }
      context.after(check_ms, 'check', null)
      return { state, result: ok(null) }
    },
  },
})

/** The volume's server may have died with the machine or by itself: an attached disk is offered, another one is not. */
async function settle(context: DiskContext, state: State): Promise<State> {
  const { block } = context.deps
  const attachment = state.wanted?.attachment ?? null
  if (state.phase === 'absent') return state
  if (attachment === null) {
    const ended = state.phase === 'exported' ? await block.unexport(state.id) : ok(null)
    return ended.ok ? { ...state, phase: 'ready' } : state
  }
  const served = await block.export(state.id, attachment.read_only)
  if (!served.ok) throw new Error(`disk ${state.id}: ${served.detail}`)
  context.after(check_ms, 'check', null)
  return { ...state, phase: 'exported' }
}

/** How often an attached volume's server is looked at: guests wait a minute for a dead one. */
const check_ms = 2_000

const view = (state: State): DiskView => ({
  id: state.id,
  size_bytes: state.wanted?.spec.size_bytes ?? 0,
  phase: state.phase,
  instance_id: state.wanted?.attachment?.instance_id ?? null,
})

/** Nothing stays of an actor that only such a request has made. */
const refused = <R>(state: State, result: R) => ({ state, result, stop: state.phase === 'absent' })

async function ensure(context: DiskContext, state: State, spec: DiskSpec) {
  const create = async () => await context.deps.block.create(spec, context.signal)
  return await make(context, state, spec, create)
}

async function copy(
  context: DiskContext,
  state: State,
  { from, ...size }: Omit<VolumeSpec, 'source'> & { readonly from: string },
) {
  const spec: VolumeSpec = { ...size, source: { type: 'volume', id: from } }
  return await make(context, state, spec, async () => await takeCopy(context, from, size))
}

/** Makes a volume that is not there yet, written down first; what fails is forgotten again. */
async function make<E extends string>(
  context: DiskContext,
  state: State,
  spec: VolumeSpec,
  fill: () => Promise<Result<unknown, E>>,
) {
  const planned = plan.planEnsure(state, spec)
  if (!planned.ok) return { state, result: planned }
  const next: State = { ...state, wanted: state.wanted ?? { spec, attachment: null } }
  if (planned.value === 'none') return { state: next, result: ok(view(next)) }
  const written = await remember(context, 'disk', next.wanted)
  if (!written.ok) return { state, result: written }
  const made = await fill()
  if (!made.ok) {
    await putBack(context, 'disk', null)
    return { state: { ...state, wanted: null }, result: made }
  }
  const ready: State = { ...next, phase: 'ready' }
  return { state: ready, result: ok(view(ready)) }
}

/** Asks the other volume's actor, so that its volume is neither attached nor let go of meanwhile. */
async function takeCopy(
  context: DiskContext,
  from: string,
  { id, size_bytes }: { readonly id: string; readonly size_bytes: number },
): Promise<Result<null, 'not_found' | 'no_space' | 'os_failed'>> {
  // It would wait for itself.
  if (from === context.id) return err('not_found', `disk ${from} cannot be a copy of itself`)
  const copied = await context
    .ref(diskProtocol, from)
    .call(
      'copy_into',
      { id, size_bytes },
      { timeout_ms: limits.disk_ensure_ms_max, signal: context.signal },
    )
  if (copied.ok) return copied
  const known = (['not_found', 'no_space'] as const).find((code) => code === copied.error)
  return err(known ?? 'os_failed', copied.detail)
}

/** What is journaled of a volume while it comes from another sled: its own id as its source. */
const isComing = ({ id, source }: VolumeSpec): boolean =>
  source?.type === 'volume' && source.id === id

/** A volume that has not come whole counts as none. */
async function takeBack(context: DiskContext): Promise<State> {
  const { id } = context
  const gone = await context.deps.block.destroy(id)
  if (!gone.ok) throw new Error(`disk ${id}: ${gone.detail}`)
  await putBack(context, 'disk', null)
  return { id, wanted: null, phase: 'absent' }
}

/** Makes a volume out of what another sled offers, unless it has come already. */
async function bring(
  context: DiskContext,
  state: State,
  { spec, address }: { readonly spec: VolumeSpec; readonly address: string },
) {
  const attached = plan.planDestroy(state)
  if (!attached.ok) return { state, result: err('conflict', attached.detail) }
  const planned = plan.planEnsure(state, spec)
  if (planned.ok && planned.value === 'none') return { state, result: ok(view(state)) }
  const { id } = context
  const removed = await context.deps.block.destroy(id)
  if (!removed.ok) return { state, result: removed }
  const coming = { spec: { ...spec, source: { type: 'volume', id } }, attachment: null }
  const written = await remember(context, 'disk', coming)
  if (!written.ok) return { state: await takeBack(context), result: written }
  const come = { spec, attachment: null }
  const taken = await takeOffer(context, spec, address)
  const settled = taken.ok ? await remember(context, 'disk', come) : taken
  if (!settled.ok) return { state: await takeBack(context), result: settled }
  const ready: State = { ...state, wanted: come, phase: 'ready' }
  return { state: ready, result: ok(view(ready)) }
}

async function takeOffer(
  { deps: { block }, signal }: DiskContext,
  { id, size_bytes, block_size }: VolumeSpec,
  address: string,
): Promise<Result<null, 'source_gone' | 'no_space' | 'os_failed'>> {
  const made = await block.create({ id, size_bytes, block_size, source: null }, signal)
  if (!made.ok) return err(made.error === 'no_space' ? 'no_space' : 'os_failed', made.detail)
  const filled = await block.fill(id, address, signal)
  if (filled.ok) return await block.unexport(id)
  return err(filled.error === 'not_found' ? 'os_failed' : filled.error, filled.detail)
}
