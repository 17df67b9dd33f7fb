/** Nexus' internal API as a process serves it. */
import { makeHttpServer } from '#actors/http/http.ts'
import { documentOf } from '#actors/http/openapi.ts'
import type { Services } from '#actors/nexus/context.ts'
import { aboutInternal } from '#actors/nexus/internal/contract.ts'
import { asApiError } from '#actors/nexus/errors.ts'
import type { InternalServices } from '#actors/nexus/internal/route.ts'
import { internalRoutes } from '#actors/nexus/internal/routes.ts'
import { RequestCounts } from '#actors/http/requests.ts'
import { doPiece } from '#actors/nexus/work.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import type { System } from '#runtime/actor/system.ts'
import type { Identity } from '#runtime/tls/identity.ts'
import { Internal, poster } from './internal.ts'

/** The listener, not open yet; null where the configuration has none. */
export function nexusInternal(
  services: Services,
  { system, identity }: { readonly system: System; readonly identity: Identity },
): Internal | null {
  const { config, clock, log } = services
  const { internal } = config
  if (internal === undefined) return null
  const requests = new RequestCounts()
  const own: InternalServices = {
    ...services,
    requests,
    nexus: system.ref(nexusProtocol, 'nexus'),
    post: poster(internal.plain ? null : identity),
    faces: { 'nexus-external': services.requests, 'nexus-internal': requests },
    time_started_ms: clock.now(),
  }
  const { at } = internal
  return new Internal({
    server: makeHttpServer({
      services: own,
      routes: internalRoutes,
      document: documentOf(internalRoutes, aboutInternal),
      authenticate: null,
      doPiece,
      asApiError,
    }),
    listen: internal,
    where: () => ('path' in at ? at : { host: at.address, port: at.port }),
    identity,
    peers: [...config.sleds, ...config.members.map(({ id }) => id)],
    clock,
    log,
  })
}
