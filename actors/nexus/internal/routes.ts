/** Every operation of the internal API. */
import type { Route } from '#actors/http/route.ts'
import { hardwareReports } from './hardware.ts'
import { metricRoutes } from './metrics.ts'
import { stateReports } from './reports.ts'
import type { InternalServices } from './route.ts'

export const internalRoutes: readonly Route<InternalServices>[] = [
  ...hardwareReports,
  ...metricRoutes,
  ...stateReports,
]
