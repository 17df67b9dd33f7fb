/**
 * Runs the benchmarks: all, or those named (`node bench/main.ts port instance`), of the runtime's
 * also some (`runtime/ping-pong`). `--json` prints one line for programs, otherwise a table for people.
 */
import { type Bar, hostFacts, Harness, type Result } from './harness.ts'
import { run as instance } from './instance.ts'
import { run as port } from './port.ts'
import { run as runtime } from './runtime/run.ts'

const benches = { runtime, port, instance } as const
type Name = keyof typeof benches

const words = process.argv.slice(2)
const isJson = words.includes('--json')
const named = words.filter((word) => !word.startsWith('--'))
const isName = (word: string): word is Name => Object.hasOwn(benches, word)
const benchOf = (word: string): string => word.split('/', 1)[0] ?? ''
const unknown = named.filter((word) => !isName(benchOf(word)))
if (unknown.length > 0) {
  console.error(`there is no benchmark ${unknown.join(', ')}: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}

const number = (value: number | null) => (value === null ? '' : Number(value.toPrecision(4)))
const bound = ({ at, value }: Bar) => `${at === 'least' ? '≥' : '≤'} ${value}`

/** A ratio with the peer's own median and the bar, if there is one; without ours the median only. */
function against(result: Result): readonly string[] {
  return Object.entries(result.peers).map(([peer, median]) => {
    const theirs = `${peer} (${number(median)})`
    const bar = result.bars.find((each) => each.peer === peer)
    const wanted = bar === undefined ? '' : ` [${bound(bar)}×]`
    const ratio = result.ratios[peer]
    return ratio === undefined ? `${theirs}${wanted}` : `${number(ratio)}× ${theirs}${wanted}`
  })
}

function row(result: Result) {
  const bar = result.bars.find(({ peer }) => peer === null)
  return {
    unit: result.unit,
    median: number(result.value),
    min: number(result.min),
    max: number(result.max),
    p99: number(result.p99),
    bar: bar === undefined ? '' : bound(bar),
    'ours / theirs (theirs) [bar]': against(result).join(', '),
  }
}

const harness = new Harness((line) => {
  if (!isJson) console.error(`… ${line}`)
})
const wanted = named.length === 0 ? Object.keys(benches) : named
for (const word of wanted) {
  const name = benchOf(word)
  if (isName(name)) await benches[name](harness, word.slice(name.length + 1))
}

if (isJson) {
  const { results, skipped } = harness
  console.log(JSON.stringify({ host: hostFacts(), results, skipped }))
} else {
  console.table(Object.fromEntries(harness.results.map((result) => [result.name, row(result)])))
  for (const { name, why } of harness.skipped) console.log(`not measured: ${name}: ${why}`)
  console.log(hostFacts())
}
// Worker threads and sockets of peers may linger; everything that was measured is done.
process.exit(0)
