/**
 * A vnic: a guest's port into its VPC, or a zone's control link. What was asked for is journaled
 * before the kernel is touched, so a crash at any point is settled by the next `init`, which makes
 * the world as it should be: for a vnic that is there that changes nothing and takes up its service
 * (DHCP), one that is missing is made anew, now or, while that fails, again and again.
 */
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { limits } from '#config/limits.ts'
import type { LinkView, NetFailure, Ports } from '#native/platform/ports.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { confirm } from '#actors/fence.ts'
import { recall, remember } from '#actors/memory.ts'
import { vnicProtocol, vnicSpec, type VnicView } from '#actors/vnic.protocol.ts'
import * as plan from '#actors/vnic.state.ts'

type VnicContext = Context<{ readonly ports: Ports }, typeof vnicProtocol>

export const vnic = behaviour({
  protocol: vnicProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 5_000,
    mailbox_max: 64,
    thread: 'net',
    activation: 'by_id',
  },

  init: async (context: VnicContext): Promise<plan.VnicState> => {
    const { id } = context
    const entry = await recall(context, 'vnic')
    const known = fits(vnicSpec, entry) ? entry : null
    return known === null ? plan.absent(id) : settle(context, { ...plan.absent(id), wanted: known })
  },
  invariant: (state) => {
    if (state.link === null) return
    assert.equal(state.link.id, state.wanted?.id, 'a link is there because it is wanted')
    assert.equal(state.cancelCheck, null, 'what is there need not be looked for')
  },

  handlers: {
    get: (_context, state) => ({
      state,
      result: ok(state.link === null ? null : viewOf(state.link)),
    }),

    ensure: async (context, state, spec) => {
      assert.equal(spec.id, state.id, 'a vnic is asked for by its own id')
      const written = await remember(context, 'vnic', spec)
      if (!written.ok) return { state, result: written }
      const made = make(context.deps.ports, spec)
      if (!made.ok) return { state: await takeBack(context, state), result: made }
      state.cancelCheck?.()
      const next = { ...plan.absent(state.id), wanted: spec, link: made.value }
      return { state: next, result: ok(viewOf(made.value)) }
    },

    set_rules: async (context, state, { firewall_rules }) => {
      const wanted = plan.withRules(state, firewall_rules)
      if (wanted === null) {
        return { state, result: err('not_found', `there is no guest's port ${state.id} here`) }
      }
      // Journaled first and kept when the kernel refuses: rules that were asked for once come true
      // with the next start at the latest, never the old ones again.
      if (!isDeepStrictEqual(wanted, state.wanted)) {
        const written = await remember(context, 'vnic', wanted)
        if (!written.ok) return { state, result: written }
      }
      const next = { ...state, wanted }
      return { state: next, result: context.deps.ports.setRules(state.id, firewall_rules) }
    },

    offer: (context, state) => {
      const offered = context.deps.ports.offer(state.id)
      return { state, result: offered.ok ? ok({ address: offered.value }) : offered }
    },

    adopt: async (context, state, { address, fence }) => {
      const confirmed = await confirm(context, fence)
      if (!confirmed.ok) return { state, result: confirmed, stop: state.wanted === null }
      return { state, result: context.deps.ports.adopt(state.id, address) }
    },

    remove: async (context, state) => {
      const removed = context.deps.ports.remove(state.id)
      if (!removed.ok) return { state, result: removed }
      const written = await remember(context, 'vnic', null)
      if (!written.ok) return { state, result: written }
      state.cancelCheck?.()
      return { state: plan.absent(state.id), result: ok(null), stop: true }
    },

    check: (context, state) => {
      const next = { ...state, cancelCheck: null }
      return {
        state: state.wanted === null || state.link !== null ? next : settle(context, next),
        result: ok(null),
      }
    },
  },

  stop: (_context, state) => {
    state.cancelCheck?.()
  },
})

const viewOf = (link: LinkView): VnicView => ({ ...link, addresses: [...link.addresses] })

function make(ports: Ports, spec: plan.Wanted): Result<LinkView, NetFailure> {
  switch (spec.kind) {
    case 'guest':
      return ports.ensurePort(spec)
    case 'control':
      return ports.ensureControl(spec)
  }
}

/** Makes what is wanted; when it cannot be made, looks again later. */
function settle(context: VnicContext, state: plan.VnicState): plan.VnicState {
  assert(state.wanted !== null, 'only what is wanted is made')
  const made = make(context.deps.ports, state.wanted)
  if (made.ok) return { ...state, link: made.value, misses: 0 }
  const delay_ms = plan.backOff(state.misses, limits.vnic_retry_ms_min, limits.vnic_retry_ms_max)
  const fields = { vnic: state.id, error: made.error, next_ms: delay_ms }
  context.log.error(`a vnic that should be here cannot be made: ${made.detail}`, fields)
  return {
    ...state,
    misses: state.misses + 1,
    cancelCheck: context.after(delay_ms, 'check', null),
  }
}

/**
 * What was asked for could not be made: what was there before counts again. A new vnic leaves
 * nothing behind; one that was there already is put back as far as the kernel lets us.
 */
async function takeBack(context: VnicContext, state: plan.VnicState): Promise<plan.VnicState> {
  const { ports } = context.deps
  const undone = state.wanted === null ? ports.remove(state.id) : make(ports, state.wanted)
  // What cannot be removed stays in the journal: it is all that tells of it.
  const isLost = state.wanted === null && !undone.ok
  const written = isLost ? undone : await remember(context, 'vnic', state.wanted)
  for (const step of [undone, written]) {
    if (step.ok) continue
    const fields = { vnic: state.id }
    context.log.warn(`a vnic that could not be made was not undone: ${step.detail}`, fields)
  }
  return state
}
