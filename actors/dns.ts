/**
 * The internal DNS server's actor: the whole zone as Nexus last sent it, journaled, and served from
 * the moment the actor starts, where the sled serves names; elsewhere it is kept only.
 */
import { limits } from '#config/limits.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import type { DnsServer, Zone } from '#runtime/dns.ts'
import { ok } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { dnsConfig, dnsProtocol, type DnsConfig } from '#actors/dns.protocol.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'

type DnsContext = Context<{ readonly server: DnsServer | null }, typeof dnsProtocol>
interface State {
  readonly config: DnsConfig | null
}

export const dns = behaviour({
  protocol: dnsProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 1_000,
    mailbox_max: 64,
    thread: 'dns',
    activation: 'start',
  },
  init: async (context: DnsContext): Promise<State> => {
    const entry = await context
      .ref(journalProtocol, 'sled')
      .call('get', { kind: 'dns', id: context.id }, { timeout_ms: limits.zone_boot_ms_max })
    if (!entry.ok) throw new Error(`dns: the journal cannot be read: ${entry.detail}`)
    if (!fits(dnsConfig, entry.value)) return { config: null }
    context.deps.server?.setZone(toZone(entry.value))
    return { config: entry.value }
  },
  invariant: () => undefined,
  handlers: {
    get: (_context, state) => ({ state, result: ok(state.config) }),

    put: async (context, state, config) => {
      const served = state.config?.generation ?? -1
      if (config.generation <= served) return { state, result: ok({ generation: served }) }
      const written = await context
        .ref(journalProtocol, 'sled')
        .call(
          'put',
          { kind: 'dns', id: context.id, document: config },
          { timeout_ms: limits.zone_boot_ms_max },
        )
      if (!written.ok) throw new Error(`dns: generation not journaled: ${written.detail}`)
      context.deps.server?.setZone(toZone(config))
      return { state: { config }, result: ok({ generation: config.generation }) }
    },
  },
})

const toZone = (config: DnsConfig): Zone => ({
  name: config.zone.toLowerCase(),
  serial: config.generation,
  records: new Map(config.records.map(({ name, records }) => [name.toLowerCase(), records])),
})
