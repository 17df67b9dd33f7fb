/** What the sled itself serves with: its zones, datasets and software. */
import { invalidRequest, notFoundById, notImplemented, ApiError } from '#actors/http/errors.ts'
import { sledProtocol } from '#actors/sled.protocol.ts'
import { limits } from '#config/limits.ts'
import { implementSled as implement, refusal } from './route.ts'

export const serviceRoutes = [
  implement('services_put', async ({ services, body }) => {
    const asked = new Set<string>(body.services.map(({ zone_type }) => zone_type))
    // Internal DNS is the supervisor's own; zones are those that the sled's configuration has.
    const known = new Set([
      'internal_dns',
      ...services.zones.map((zone) => zone.replace(/^oxz_([a-z_]+).*/, '$1')),
    ])
    const other = [...asked].find((type) => !known.has(type))
    if (other !== undefined) {
      throw notImplemented(
        `this sled cannot make a zone of type "${other}": it has ${[...known].join(' and ')}`,
      )
    }
    if ([...known].some((type) => !asked.has(type))) {
      throw invalidRequest('Services already configured for this Sled Agent')
    }
    const sled = services.ref(sledProtocol, services.sled_id)
    const options = { timeout_ms: limits.zone_boot_ms_max }
    const done = await sled.call('reconcile', null, options)
    if (!done.ok) throw refusal(services, done)
    const status = await sled.call('status', null, options)
    if (!status.ok) throw refusal(services, status)
    const [trouble] = status.value.troubles
    if (trouble !== undefined) throw new ApiError(503, 'ServiceNotAvailable', trouble)
    return null
  }),
  implement('filesystem_put', async ({ body }) => {
    // Volumes lie in the state directory: there is no pool that a dataset could be made in.
    throw notFoundById('zpool', body.zpool_id)
  }),
  implement('update_artifact', async () => {
    throw notImplemented('this sled is updated with its machine, not by artifacts')
  }),
]
