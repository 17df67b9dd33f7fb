/**
 * Runs the benchmarks: all, or those named (`node bench/main.ts port instance`), of the tables
 * also some rows (`runtime/ping-pong`, `nexus/list`). `--json` prints one line for programs, otherwise lines for people.
 */
import { type Bar, hostFacts, Harness, type Result } from './harness.ts'
import { run as instance } from './instance.ts'
import { run as migration } from './migration.ts'
import { run as port } from './port.ts'
import { scenarios as nexus } from './nexus/scenarios.ts'
import { scenarios as runtime } from './runtime/scenarios.ts'
import { runTable } from './table.ts'

type Bench = (harness: Harness, part: string) => Promise<void>
const tables = {
  runtime: { round_ms: 250, warm_ms: 1_000, warm_operations: 100_000, starts: 3 },
  nexus: { round_ms: 1_000, warm_ms: 4_000, warm_operations: 0, starts: 1 },
}
const benches: Readonly<Record<'runtime' | 'nexus' | 'port' | 'instance' | 'migration', Bench>> = {
  runtime: async (to, part) => {
    await runTable(to, { name: 'runtime', scenarios: runtime, ...tables.runtime }, part)
  },
  nexus: async (to, part) => {
    await runTable(to, { name: 'nexus', scenarios: nexus, ...tables.nexus }, part)
  },
  port,
  instance,
  migration,
}
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

const number = (value: number) =>
  Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en')
    : String(Number(value.toPrecision(3)))
const bound = ({ at, value }: Bar, unit: string) => `${at === 'least' ? '≥' : '≤'} ${value}${unit}`

/** A result's lines for people: ours, then each peer's median with the ratio and the bar. */
function lines(result: Result): readonly string[] {
  const { unit, value, min, max, p99 } = result
  const own = result.bars.find(({ peer }) => peer === null)
  const spread = min === null || max === null ? '' : ` [${number(min)} … ${number(max)}]`
  const first = [
    result.name,
    value === null ? 'ours is missing' : `${number(value)} ${unit}${spread}`,
    ...(p99 === null ? [] : [`p99 ${number(p99)}`]),
    ...(own === undefined ? [] : [`bar ${bound(own, ` ${unit}`)}`]),
  ]
  const peers = Object.entries(result.peers).map(([peer, median]) => {
    const ratio = result.ratios[peer]
    const bar = result.bars.find((each) => each.peer === peer)
    return [
      `    ${(ratio === undefined ? '' : `${number(ratio)}×`).padStart(9)} ${peer}`,
      `${number(median)} ${unit}`,
      ...(bar === undefined ? [] : [`bar ${bound(bar, '×')}`]),
    ].join(', ')
  })
  return [first.join(', '), ...peers]
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
  for (const line of harness.results.flatMap(lines)) console.log(line)
  for (const { name, why } of harness.skipped) console.log(`not measured: ${name}: ${why}`)
  console.log(hostFacts())
}
// Worker threads and sockets of peers may linger; everything that was measured is done.
process.exit(0)
