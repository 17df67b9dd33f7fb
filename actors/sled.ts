/**
 * The sled as a whole. It wakes what the journal says the sled should have, brings up the service
 * zones (each: control link first, then the zone in the link's namespace), and announces itself to
 * every Nexus it reaches. All of it is level-triggered: what failed is tried again until it holds.
 *
 *   start ──► reconcile ──failed──► reconcile after a while ──► … ──► nothing troubles
 */
import type { ServiceZone } from '#config/sled.ts'
import { limits } from '#config/limits.ts'
import type { Block } from '#native/platform/block.ts'
import type { Zones } from '#native/platform/zone.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { ok } from '#runtime/result.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { instanceProtocol } from '#actors/instance.protocol.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { sledProtocol, type SledStatus } from '#actors/sled.protocol.ts'
import { vnicProtocol } from '#actors/vnic.protocol.ts'
import { zoneProtocol } from '#actors/zone.protocol.ts'

export interface SledDeps {
  readonly platform: SledStatus['platform']
  readonly address: string
  readonly port: number
  readonly services: readonly ServiceZone[]
  readonly zones: Zones
  readonly probe: Block['probe']
  readonly accelerator: () => Promise<string>
  readonly nexusConnected: () => boolean
  /** Every Nexus of the configuration. */
  readonly nexus: readonly string[]
  /** What troubles the links to them, a sentence each. */
  readonly warnings: () => readonly string[]
  /** Called after every reconcile with what still stands in the way. */
  readonly onReconciled: (troubles: readonly Trouble[]) => void
  /** A Nexus has taken this sled in. */
  readonly onAnnounced: (nexus: string) => void
}
/** What stands in the way: the failure's code, and a sentence. */
export interface Trouble {
  readonly code: string
  readonly text: string
}
interface SledState {
  readonly troubles: readonly Trouble[]
  readonly attempts: number
}
type SledContext = Context<SledDeps, typeof sledProtocol>

const retry_ms_max = 5_000

export const sled = behaviour({
  protocol: sledProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 5,
    restarts_period_ms: 10_000,
    shutdown_ms: 1_000,
    mailbox_max: 64,
    thread: 'main',
    activation: 'start',
  },
  init: (context: SledContext): SledState => {
    context.after(0, 'reconcile', null)
    return { troubles: [{ code: 'starting', text: 'not reconciled yet' }], attempts: 0 }
  },
  invariant: () => undefined,
  handlers: {
    status: async (context, state) => {
      const zones = await context.deps.zones.list()
      const troubles = state.troubles.map((trouble) => trouble.text)
      return {
        state,
        result: ok({
          sled_id: context.id,
          platform: context.deps.platform,
          accelerator: await context.deps.accelerator(),
          zones: zones.ok ? [...zones.value] : [],
          nexus_connected: context.deps.nexusConnected(),
          troubles: zones.ok ? troubles : [...troubles, zones.detail],
        }),
      }
    },

    image_probe: async (context, state, request) => {
      const probed = await context.deps.probe(request.url)
      return { state, result: probed.ok ? ok({ size_bytes: probed.value }) : probed }
    },

    reconcile: async (context, state) => {
      const [journaled, services] = await Promise.all([wakeJournaled(context), bringUp(context)])
      const troubles = [...journaled, ...services]
      for (const trouble of troubles) context.log.warn(trouble.text, { code: trouble.code })
      context.deps.onReconciled(troubles)
      if (troubles.length > 0) {
        context.after(Math.min(retry_ms_max, 100 * 2 ** state.attempts), 'reconcile', null)
      }
      const attempts = troubles.length > 0 ? Math.min(state.attempts + 1, 10) : 0
      return { state: { troubles, attempts }, result: ok(null) }
    },

    announce: async (context, state, request) => {
      const told = await context.ref(nexusProtocol, 'nexus', request.nexus).call(
        'sled_up',
        {
          sled_id: context.id,
          address: context.deps.address,
          port: context.deps.port,
          platform: context.deps.platform,
        },
        { timeout_ms: limits.link_connect_ms },
      )
      if (told.ok) {
        context.deps.onAnnounced(request.nexus)
      } else if (context.deps.nexusConnected()) {
        const { error, detail } = told
        context.log.warn('nexus did not take the announcement', { ...request, error, detail })
        context.after(limits.link_retry_ms_min, 'announce', request)
      }
      return { state, result: ok(null) }
    },

    warnings: (context, state) => ({ state, result: gatherWarnings(context) }),
  },
})

/** Those of this sled, and those of each Nexus that answers. */
async function gatherWarnings(context: SledContext) {
  const { nexus, warnings } = context.deps
  const asked = await Promise.all(
    nexus.map(
      async (host) =>
        await context
          .ref(nexusProtocol, 'nexus', host)
          .call('warnings', null, { timeout_ms: limits.link_connect_ms }),
    ),
  )
  const all = [...warnings(), ...asked.flatMap((answer) => (answer.ok ? answer.value : []))]
  return ok(all.slice(0, 64).map((text) => text.slice(0, 1_024)))
}

/** Every journaled object's actor is made by a first message; its `init` adopts what runs. */
async function wakeJournaled(context: SledContext): Promise<readonly Trouble[]> {
  const listed = await context
    .ref(journalProtocol, 'sled')
    .call('list', { kind: null }, { timeout_ms: limits.zone_boot_ms_max })
  if (!listed.ok) {
    return [{ code: listed.error, text: `the journal could not be read: ${listed.detail}` }]
  }
  const woken = await Promise.all(
    listed.value.map(async (entry) => await wake(context, entry.kind, entry.id)),
  )
  return woken.filter((trouble) => trouble !== null)
}

async function wake(context: SledContext, kind: string, id: string): Promise<Trouble | null> {
  const options = { timeout_ms: limits.zone_boot_ms_max }
  const ask = async () => {
    switch (kind) {
      case 'disk':
        return await context.ref(diskProtocol, id).call('get', null, options)
      case 'vnic':
        return await context.ref(vnicProtocol, id).call('get', null, options)
      case 'zone':
        return await context.ref(zoneProtocol, id).call('get', null, options)
      case 'instance':
        return await context.ref(instanceProtocol, id).call('get', null, options)
      default:
        // DNS serves by itself from its own `init`; kinds of a later version are left alone.
        return null
    }
  }
  const answer = await ask()
  if (answer === null || answer.ok) return null
  return { code: answer.error, text: `${kind}/${id}: ${answer.detail}` }
}

async function bringUp(context: SledContext): Promise<readonly Trouble[]> {
  const results = await Promise.all(
    context.deps.services.map(async (service) => await bringUpService(context, service)),
  )
  return results.filter((trouble) => trouble !== null)
}

async function bringUpService(context: SledContext, service: ServiceZone): Promise<Trouble | null> {
  const options = { timeout_ms: limits.zone_boot_ms_max }
  let netns: string | null = null
  if (service.control !== null) {
    const vnic = await context.ref(vnicProtocol, service.control.id).call(
      'ensure',
      {
        kind: 'control',
        id: service.control.id,
        zone: service.name,
        address: service.control.address,
      },
      options,
    )
    if (!vnic.ok) return { code: vnic.error, text: `link of ${service.name}: ${vnic.detail}` }
    netns = vnic.value.netns
  }
  const zone = await context.ref(zoneProtocol, service.name).call(
    'ensure',
    {
      name: service.name,
      args: service.args,
      env: service.env,
      mounts: service.mounts,
      devices: [],
      netns,
      listen: service.listen,
      log: service.log,
    },
    options,
  )
  return zone.ok ? null : { code: zone.error, text: `zone ${service.name}: ${zone.detail}` }
}
