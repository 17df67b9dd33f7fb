/**
 * Runs the benchmarks: all, or those named (`node bench/main.ts port instance`). `--json` prints
 * one line for programs, otherwise a table for people.
 */
import { hostFacts, Harness, type Result } from './harness.ts'
import { run as instance } from './instance.ts'
import { run as journal } from './journal.ts'
import { run as port } from './port.ts'
import { run as runtime } from './runtime.ts'

const benches = { runtime, journal, port, instance } as const
type Name = keyof typeof benches

const words = process.argv.slice(2)
const isJson = words.includes('--json')
const named = words.filter((word) => !word.startsWith('--'))
const isName = (word: string): word is Name => Object.hasOwn(benches, word)
const unknown = named.filter((word) => !isName(word))
if (unknown.length > 0) {
  console.error(`there is no benchmark ${unknown.join(', ')}: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}

const number = (value: number) => Number(value.toPrecision(4))

function row(result: Result) {
  const ratios = Object.entries(result.ratios).map(([peer, ratio]) => `${number(ratio)}× ${peer}`)
  return {
    unit: result.unit,
    median: number(result.value),
    min: number(result.min),
    max: number(result.max),
    p99: result.p99 === null ? '' : number(result.p99),
    'ours / theirs': ratios.join(', '),
  }
}

const harness = new Harness((line) => {
  if (!isJson) console.error(`… ${line}`)
})
const wanted = named.length === 0 ? Object.keys(benches) : named
for (const name of wanted.filter(isName)) await benches[name](harness)

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
