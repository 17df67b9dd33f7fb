/** Every operation of the sled agent's API. */
import type { Route } from '#actors/http/route.ts'
import { diskRoutes } from './disks.ts'
import { firewallRoutes } from './firewall.ts'
import { instanceRoutes } from './instances.ts'
import type { SledAgentServices } from './route.ts'
import { serviceRoutes } from './services.ts'
import { snapshotRoutes } from './snapshots.ts'

export const sledAgentRoutes: readonly Route<SledAgentServices>[] = [
  ...diskRoutes,
  ...firewallRoutes,
  ...instanceRoutes,
  ...serviceRoutes,
  ...snapshotRoutes,
]
