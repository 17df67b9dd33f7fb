/** Updates: this rack takes none from a repository, and says so as one without `[updates]` does there. */
import { implement } from './api/route.ts'
import { demandFleet, powers } from './access/authz.ts'
import { invalidRequest } from '#actors/http/errors.ts'

export const updateRoutes = [
  implement('updates_refresh', async ({ services, actor }) => {
    await demandFleet(services, actor, powers.admin)
    throw invalidRequest('updates system not configured')
  }),
]
