/** Measurements as producers hand them out (oximeter's types, spec/03 §7). */
import { Type } from 'typebox'
import { double, int64, ipAddress, time, uint64, uint8, uuid, whole } from '#actors/http/words.ts'

const tagged = <T extends string, V extends Type.TSchema>(type: T, datum: V) =>
  Type.Object({ type: Type.Literal(type), datum })

function numbersOf<V extends Type.TSchema>(name: string, value: V) {
  const range = Type.Union(
    [
      Type.Object({ type: Type.Literal('range_to'), end: value }),
      Type.Object({ type: Type.Literal('range'), start: value, end: value }),
      Type.Object({ type: Type.Literal('range_from'), start: value }),
    ],
    { component: `BinRange${name}` },
  )
  const bin = Type.Object({ range, count: uint64 }, { component: `Bin${name}` })
  return {
    cumulative: Type.Object({ start_time: time, value }, { component: `Cumulative${name}` }),
    histogram: Type.Object(
      { start_time: time, bins: Type.Array(bin), n_samples: uint64 },
      { component: `Histogram${name}` },
    ),
  }
}
const integers = numbersOf('int64', int64)
const doubles = numbersOf('double', double)

const datum = Type.Union(
  [
    tagged('bool', Type.Boolean()),
    tagged('i64', int64),
    tagged('f64', double),
    tagged('string', Type.String()),
    tagged('bytes', Type.Array(uint8)),
    tagged('cumulative_i64', integers.cumulative),
    tagged('cumulative_f64', doubles.cumulative),
    tagged('histogram_i64', integers.histogram),
    tagged('histogram_f64', doubles.histogram),
  ],
  { component: 'Datum' },
)
const measurement = Type.Object({ timestamp: time, datum }, { component: 'Measurement' })

const valued = <T extends string, V extends Type.TSchema>(type: T, value: V) =>
  Type.Object({ type: Type.Literal(type), value })
const fieldValue = Type.Union(
  [
    valued('string', Type.String()),
    valued('i64', int64),
    valued('ip_addr', ipAddress),
    valued('uuid', uuid),
    valued('bool', Type.Boolean()),
  ],
  { component: 'FieldValue' },
)
const field = Type.Object({ name: Type.String(), value: fieldValue }, { component: 'Field' })
const fieldSet = Type.Object(
  { name: Type.String(), fields: Type.Array(field) },
  { component: 'FieldSet' },
)

export const sample = Type.Object(
  {
    measurement,
    timeseries_name: Type.String(),
    target: fieldSet,
    metric: fieldSet,
  },
  { component: 'Sample' },
)

const size = whole({ format: 'uint', minimum: 0 }, Number.MAX_SAFE_INTEGER)
const failed = <T extends string, V extends Type.TSchema>(type: T, content: V) =>
  Type.Object({ type: Type.Literal(type), content })
const histogramError = Type.Union(
  [
    Type.Object({ type: Type.Literal('empty_bins') }),
    Type.Object({ type: Type.Literal('nonmonotonic_bins') }),
    failed('non_finite_value', Type.String()),
    failed('non_adjoining_bins', Type.Object({ left: Type.String(), right: Type.String() })),
    failed('array_size_mismatch', Type.Object({ n_bins: size, n_counts: size })),
  ],
  { component: 'HistogramError' },
)
const metricsError = Type.Union(
  [
    failed('datum_error', Type.String()),
    failed('oximeter_server', Type.String()),
    failed('histogram_error', histogramError),
    failed('parse_error', Type.Object({ src: Type.String(), typ: Type.String() })),
  ],
  { component: 'MetricsError' },
)

export const producerResultsItem = Type.Union(
  [
    Type.Object({ status: Type.Literal('ok'), info: Type.Array(sample) }),
    Type.Object({ status: Type.Literal('err'), info: metricsError }),
  ],
  { component: 'ProducerResultsItem' },
)
