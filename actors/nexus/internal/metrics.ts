/**
 * Metric collectors and who looks after which producer, and Nexus' own measurements. A collector is
 * told of its producers when it registers, and of each that comes later.
 */
import type { Selectable } from 'kysely'
import type { Static } from 'typebox'
import { ports } from '#config/ports.ts'
import { writeSocketAddress } from '#actors/http/words.ts'
import { ApiError, notFoundById } from '#actors/http/errors.ts'
import { timestamp } from '../names.ts'
import { latencyEdges, type Latencies } from '#actors/http/requests.ts'
import type { StoreTransaction, Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import type { producerEndpoint } from './contract.ts'
import { endpointOf } from './hardware.ts'
import { implementInternal as implement, type Endpoint, type InternalServices } from './route.ts'
import type { sample } from './samples.ts'

type Producer = Selectable<Tables['metric_producer']>
type Sample = Static<typeof sample>

const own_interval_s = 10
const serviceNotAvailable = (text: string) => new ApiError(503, 'ServiceNotAvailable', text)

export const metricRoutes = [
  implement('cpapi_producers_post', async ({ services, body }) => {
    const { ip, port } = endpointOf(body.address)
    const { secs: interval_s, nanos: interval_ns } = body.interval
    const given = { ip, port, base_route: body.base_route, interval_s, interval_ns }
    const [assigned, known] = await transact(services, async (store) => {
      const producer = await assign(services, store, { id: body.id, ...given })
      const collector = await store
        .selectFrom('oximeter')
        .selectAll()
        .where('id', '=', producer.oximeter_id)
        .executeTakeFirstOrThrow()
      return [producer, collector] as const
    })
    await tell(services, known, assigned)
    return null
  }),
  implement('cpapi_collectors_post', async ({ services, body }) => {
    const id = body.collector_id
    const now_ms = services.clock.now()
    const seen = { ...endpointOf(body.address), time_modified_ms: now_ms }
    const producers = await transact(services, async (store) => {
      await store
        .insertInto('oximeter')
        .values({ id, time_created_ms: now_ms, ...seen })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
        .execute()
      await assign(services, store, ownProducer(services))
      return await store
        .selectFrom('metric_producer')
        .selectAll()
        .where('oximeter_id', '=', id)
        .orderBy('id')
        .execute()
    })
    for (const producer of producers) await tell(services, seen, producer)
    return null
  }),
  implement('cpapi_metrics_collect', async ({ services, path }) => {
    const id = path('producer_id')
    if (id !== services.config.id) throw notFoundById('metric producer', id)
    const info = Object.entries(services.faces).flatMap(([name, requests]) =>
      requests.latencies.map((counted) => sampleOf(services, name, counted)),
    )
    return [{ status: 'ok', info }]
  }),
]

const ownProducer = ({ config }: InternalServices) => ({
  id: config.id,
  ip: config.internal_address,
  port: ports.nexus_internal,
  base_route: '/metrics/collect',
  interval_s: own_interval_s,
  interval_ns: 0,
})

/** Records a producer; a new one is the first collector's. Throws 503 when there is no collector. */
async function assign(
  { clock }: InternalServices,
  store: StoreTransaction,
  given: Omit<Producer, 'oximeter_id' | 'time_created_ms' | 'time_modified_ms'>,
): Promise<Producer> {
  const { id, ...changed } = given
  const first = await store
    .selectFrom('oximeter')
    .select('id')
    .orderBy('id')
    .limit(1)
    .executeTakeFirst()
  if (first === undefined) throw serviceNotAvailable('no oximeter collectors available')
  const time_modified_ms = clock.now()
  const seen = { ...changed, time_modified_ms }
  return await store
    .insertInto('metric_producer')
    .values({ id, oximeter_id: first.id, time_created_ms: time_modified_ms, ...seen })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
    .returningAll()
    .executeTakeFirstOrThrow()
}

/** Tells a collector of a producer. Throws 503 when it does not take it: whoever registered tries again. */
async function tell(
  services: InternalServices,
  collector: Endpoint,
  producer: Producer,
): Promise<void> {
  const body: Static<typeof producerEndpoint> = {
    id: producer.id,
    address: writeSocketAddress(producer.ip, producer.port),
    base_route: producer.base_route,
    interval: { secs: producer.interval_s, nanos: producer.interval_ns },
  }
  const told = await services.post(collector, '/producers', body)
  if (told.ok) return
  const where = writeSocketAddress(collector.ip, collector.port)
  throw serviceNotAvailable(`the collector at ${where} did not take the producer: ${told.detail}`)
}

const field = (name: string, value: Sample['metric']['fields'][number]['value']) => ({
  name,
  value,
})

/** `http_service:request_latency_histogram` of one operation and status (spec/02 §18). */
function sampleOf(services: InternalServices, face: string, counted: Latencies): Sample {
  const [method = '', route = ''] = counted.operation.split(' ')
  const target = [
    field('name', { type: 'string', value: face }),
    field('id', { type: 'uuid', value: services.config.id }),
  ]
  const metric = [
    field('route', { type: 'string', value: route }),
    field('method', { type: 'string', value: method }),
    field('status_code', { type: 'i64', value: counted.status }),
  ]
  const start_time = timestamp(services.time_started_ms)
  return {
    timeseries_name: 'http_service:request_latency_histogram',
    target: { name: 'http_service', fields: target },
    metric: { name: 'request_latency_histogram', fields: metric },
    measurement: {
      timestamp: timestamp(services.clock.now()),
      datum: {
        type: 'histogram_f64',
        datum: { start_time, bins: binsOf(counted), n_samples: counted.count },
      },
    },
  }
}

const binsOf = ({ bins }: Latencies) =>
  bins.map((count, at) => {
    const [start, end] = [latencyEdges[at - 1], latencyEdges[at]]
    if (start === undefined) return { range: { type: 'range_to' as const, end: end ?? 0 }, count }
    if (end === undefined) return { range: { type: 'range_from' as const, start }, count }
    return { range: { type: 'range' as const, start, end }, count }
  })
