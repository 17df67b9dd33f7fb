/** Measurements. */
import { Type } from 'typebox'
import { operation } from '#actors/http/operation.ts'
import { timeseriesName, time, uint8, uint64, int64, double, page } from '#actors/http/words.ts'

const disksPath = '/organizations/{organization_name}/projects/{project_name}/disks'

export const binRangeDouble = Type.Union(
  [
    Type.Object({ type: Type.Literal('range_to'), end: double }),
    Type.Object({ type: Type.Literal('range'), end: double, start: double }),
    Type.Object({ type: Type.Literal('range_from'), start: double }),
  ],
  { component: 'BinRangedouble' },
)

export const binRangeInt64 = Type.Union(
  [
    Type.Object({ type: Type.Literal('range_to'), end: int64 }),
    Type.Object({ type: Type.Literal('range'), end: int64, start: int64 }),
    Type.Object({ type: Type.Literal('range_from'), start: int64 }),
  ],
  { component: 'BinRangeint64' },
)

export const binDouble = Type.Object(
  { count: uint64, range: binRangeDouble },
  { component: 'Bindouble' },
)

export const binInt64 = Type.Object(
  { count: uint64, range: binRangeInt64 },
  { component: 'Binint64' },
)

export const cumulativeDouble = Type.Object(
  { start_time: time, value: double },
  { component: 'Cumulativedouble' },
)

export const cumulativeInt64 = Type.Object(
  { start_time: time, value: int64 },
  { component: 'Cumulativeint64' },
)

export const histogramInt64 = Type.Object(
  { bins: Type.Array(binInt64), n_samples: uint64, start_time: time },
  { component: 'Histogramint64' },
)

export const histogramDouble = Type.Object(
  { bins: Type.Array(binDouble), n_samples: uint64, start_time: time },
  { component: 'Histogramdouble' },
)

export const datum = Type.Union(
  [
    Type.Object({ type: Type.Literal('bool'), datum: Type.Boolean() }),
    Type.Object({ type: Type.Literal('i64'), datum: int64 }),
    Type.Object({ type: Type.Literal('f64'), datum: double }),
    Type.Object({ type: Type.Literal('string'), datum: Type.String() }),
    Type.Object({ type: Type.Literal('bytes'), datum: Type.Array(uint8) }),
    Type.Object({ type: Type.Literal('cumulative_i64'), datum: cumulativeInt64 }),
    Type.Object({ type: Type.Literal('cumulative_f64'), datum: cumulativeDouble }),
    Type.Object({ type: Type.Literal('histogram_i64'), datum: histogramInt64 }),
    Type.Object({ type: Type.Literal('histogram_f64'), datum: histogramDouble }),
  ],
  { component: 'Datum' },
)

export const datumType = Type.Enum(
  [
    'bool',
    'i64',
    'f64',
    'string',
    'bytes',
    'cumulative_i64',
    'cumulative_f64',
    'histogram_i64',
    'histogram_f64',
  ],
  { component: 'DatumType' },
)

export const diskMetricName = Type.Enum(
  ['activated', 'flush', 'read', 'read_bytes', 'write', 'write_bytes'],
  { component: 'DiskMetricName' },
)

export const fieldSource = Type.Enum(['target', 'metric'], { component: 'FieldSource' })

export const fieldType = Type.Enum(['string', 'i64', 'ip_addr', 'uuid', 'bool'], {
  component: 'FieldType',
})

export const fieldSchema = Type.Object(
  { name: Type.String(), source: fieldSource, ty: fieldType },
  { component: 'FieldSchema' },
)

export const measurement = Type.Object({ datum, timestamp: time }, { component: 'Measurement' })

export const timeseriesSchema = Type.Object(
  {
    created: time,
    datum_type: datumType,
    field_schema: Type.Array(fieldSchema),
    timeseries_name: timeseriesName,
  },
  { component: 'TimeseriesSchema' },
)

export const metricsOperations = {
  disk_metrics_list: operation(`GET ${disksPath}/{disk_name}/metrics/{metric_name}`, {
    tag: 'disks',
    summary: 'Fetch disk metrics',
    page: 'own',
    path_parts: { metric_name: diskMetricName },
    query: Type.Object({ start_time: Type.Optional(time), end_time: Type.Optional(time) }),
    reply: page(measurement),
  }),
  timeseries_schema_get: operation('GET /timeseries/schema', {
    tag: 'metrics',
    summary: 'List timeseries schema',
    page: 'own',
    reply: page(timeseriesSchema),
  }),
}
