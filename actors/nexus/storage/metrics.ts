/** Measurements: what disks were asked for, over time. */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import { fits } from '#runtime/schema.ts'
import { readIsoTime } from '#runtime/clock.ts'
import { diskMetricName, type timeseriesSchema } from '../api/contract/metrics.ts'
import { time } from '#actors/http/words.ts'
import { corruptedToken, pageOf, type PageRequest } from '#actors/http/pagination.ts'
import { implement } from '../api/route.ts'
import { demandFleet, powers } from '../access/authz.ts'
import { diskOf } from './disks.ts'
import { badRequest } from '#actors/http/errors.ts'
import { timestamp } from '../names.ts'
import type { Tables } from '../store/schema.ts'

type Sample = Selectable<Tables['disk_sample']>
type Schema = Static<typeof timeseriesSchema>

interface Span {
  /** The first moment, or with `isAfter` the one just before it. */
  readonly start_ms: number
  readonly isAfter: boolean
  /** The moment after the last. */
  readonly end_ms: number
}

/** Series are of the product and not of what was measured; so they are as old as the API they are of. */
const schemas_created = '2022-11-11T00:00:00.000Z'

const seriesOf = (name: string): Schema => ({
  timeseries_name: `crucible_upstairs:${name}`,
  field_schema: [{ name: 'upstairs_uuid', source: 'target', ty: 'uuid' }],
  datum_type: 'cumulative_i64',
  created: schemas_created,
})
/** In the order of their names. */
const allSeries: readonly Schema[] = diskMetricName.enum.toSorted().map(seriesOf)

export const metricRoutes = [
  implement('disk_metrics_list', async (call) => {
    const { query, page, services } = call
    const disk = await diskOf(call, powers.viewer)
    const metric = diskMetricName.enum.find((name) => name === call.path('metric_name')) ?? 'read'
    const { start_ms, isAfter, end_ms } = spanOf(query, page)
    const samples = await services.store
      .selectFrom('disk_sample')
      .selectAll()
      .where('disk_id', '=', disk.id)
      .where('time_ms', isAfter ? '>' : '>=', start_ms)
      .where('time_ms', '<', end_ms)
      .orderBy('time_ms')
      .limit(page.limit)
      .execute()
    const keyOf = ({ time_ms }: Sample) => `${timestamp(time_ms)}/${timestamp(end_ms)}`
    return pageOf(samples, page, (sample) => measurement(sample, metric), keyOf)
  }),

  implement('timeseries_schema_get', async ({ services, actor, page }) => {
    await demandFleet(services, actor, powers.viewer)
    const { after, limit } = page
    const left = allSeries.filter(({ timeseries_name: name }) => after === null || name > after)
    return pageOf(
      left.slice(0, limit),
      page,
      (each) => each,
      (each) => each.timeseries_name,
    )
  }),
]

const measurement = (sample: Sample, metric: (typeof diskMetricName.enum)[number]) => ({
  timestamp: timestamp(sample.time_ms),
  datum: {
    type: 'cumulative_i64' as const,
    datum: { start_time: timestamp(sample.start_ms), value: sample[metric] },
  },
})

/** From the query on the first page; a token has what was seen last and where the list ends. */
function spanOf(
  query: { readonly start_time?: string; readonly end_time?: string },
  { after }: PageRequest,
): Span {
  if (after === null) {
    return {
      start_ms: given('start_time', query.start_time),
      isAfter: false,
      end_ms: given('end_time', query.end_time),
    }
  }
  const [last = '', end = '', ...more] = after.split('/')
  const [start_ms, end_ms] = [last, end].map((text) =>
    fits(time, text) ? readIsoTime(text) : null,
  )
  if (more.length > 0 || typeof start_ms !== 'number' || typeof end_ms !== 'number') {
    throw corruptedToken()
  }
  return { start_ms, isAfter: true, end_ms }
}

function given(name: string, text: string | undefined): number {
  const moment_ms = text === undefined ? null : readIsoTime(text)
  if (moment_ms !== null) return moment_ms
  const what = text === undefined ? `missing field \`${name}\`` : `\`${name}\` is no moment`
  throw badRequest(`unable to parse query string: ${what}`)
}
