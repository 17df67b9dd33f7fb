/** The sled agent's API as the supervisor serves it. */
import { makeHttpServer } from '#actors/http/http.ts'
import { asApiError } from '#actors/http/errors.ts'
import { documentOf } from '#actors/http/openapi.ts'
import { RequestCounts } from '#actors/http/requests.ts'
import { aboutSledAgent } from '#actors/sled-agent/contract.ts'
import { doSledPiece, type SledAgentServices } from '#actors/sled-agent/route.ts'
import { sledAgentRoutes } from '#actors/sled-agent/routes.ts'
import type { SledConfig } from '#config/sled.ts'
import { listenTcp } from '#native/linux/libc.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import type { System } from '#runtime/actor/system.ts'
import type { Identity } from '#runtime/tls/identity.ts'
import type { ListenAt } from '#runtime/wire/listening.ts'
import { Internal } from './internal.ts'
import { sledNetns } from './routes.ts'

export interface SledInternal {
  readonly requests: RequestCounts
  /** Not open yet; null where the configuration has none. */
  readonly listener: Internal | null
}

/** The listener and what it counts. */
export function sledInternal(
  config: SledConfig,
  given: { readonly system: System; readonly identity: Identity; readonly log: Log },
): SledInternal {
  const { system, identity, log } = given
  const { internal, sled_id } = config
  const requests = new RequestCounts()
  if (internal === undefined) return { requests, listener: null }
  const services: SledAgentServices = {
    random: systemRandom,
    clock: systemClock,
    log,
    requests,
    tracer: system.observer.tracer,
    sled_id,
    ref: (protocol, id, host = null) => system.ref(protocol, id, host),
    refFor:
      (work) =>
      (protocol, id, host = null) =>
        system.ref(protocol, id, host, work),
    zones: config.zones.map(({ name }) => name),
  }
  const listener = new Internal({
    server: makeHttpServer({
      services,
      routes: sledAgentRoutes,
      document: documentOf(sledAgentRoutes, aboutSledAgent),
      authenticate: null,
      doPiece: doSledPiece,
      asApiError,
    }),
    listen: internal,
    where: () => whereOf(config, internal.at),
    identity,
    // Nexus, and programs of this very sled.
    peers: [...config.nexus.map(({ host }) => host), sled_id],
    clock: systemClock,
    log,
  })
  return { requests, listener }
}

/** On Linux the sled's address is in the sled's own network namespace. */
function whereOf(config: SledConfig, at: NonNullable<SledConfig['internal']>['at']): ListenAt {
  if ('path' in at) return at
  if (config.platform === 'sim') return { host: at.address, port: at.port }
  return { fd: listenTcp(at.address, at.port, sledNetns(config)) }
}
