/**
 * `npm run sim -- SEED…`: simulated racks from seeds. A seed is a number or a range, `1..1000`. With
 * `--trace` everything that happens is printed.
 */
import { parseArgs } from 'node:util'
import { simulate, type Outcome } from './run.ts'

const { values, positionals } = parseArgs({
  options: { trace: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const out = (line: string) => process.stdout.write(`${line}\n`)

function* seedsOf(texts: readonly string[]): Generator<number> {
  for (const text of texts) {
    const [, first = '', last = first] = /^(\d+)(?:\.\.(\d+))?$/.exec(text) ?? []
    if (first === '') throw new Error(`${text} is no seed: give a number, or a range like 1..1000`)
    for (let seed = Number(first); seed <= Number(last); seed += 1) yield seed
  }
}

function tell({ seed, hash, failure, at_ms, steps, counts, faults }: Outcome): string {
  if (failure !== null) {
    return `seed ${seed} FAILED after ${Math.round(at_ms)} ms: ${failure}\n  again: npm run sim -- ${seed} --trace`
  }
  const sum = [...faults.values()].reduce((total, count) => total + count, 0)
  return `seed ${seed} ${hash.slice(0, 16)} ${steps} events, ${counts.calls} calls, ${counts.acknowledged} acknowledged, ${sum} faults`
}

if (positionals.length === 0) throw new Error('which seed? for example: npm run sim -- 1..100')
let failed = 0
let count = 0
for (const seed of seedsOf(positionals)) {
  const outcome = await simulate(seed, values.trace ? out : null)
  count += 1
  if (outcome.failure !== null) failed += 1
  out(tell(outcome))
}
out(failed === 0 ? `${count} seeds hold` : `${failed} of ${count} seeds failed`)
process.exitCode = failed === 0 ? 0 : 1
