/**
 * `npm run sim -- SEED…`: simulated racks from seeds. A seed is a number or a range, `1..1000`; ranges run on
 * as many threads as there are cores. With `--trace` everything that happens is printed.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { simulate, type Outcome } from './run.ts'

const { values, positionals } = parseArgs({
  options: { trace: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const out = (line: string) => process.stdout.write(`${line}\n`)
const fault_columns_max = 4

function seedsOf(texts: readonly string[]): number[] {
  return texts.flatMap((text) => {
    const [, first = '', last = first] = /^(\d+)(?:\.\.(\d+))?$/.exec(text) ?? []
    if (first === '') throw new Error(`${text} is no seed: give a number, or a range like 1..1000`)
    const count = Math.max(0, Number(last) - Number(first) + 1)
    return Array.from({ length: count }, (_, index) => Number(first) + index)
  })
}

function told({ seed, hash, failure, at_ms, steps, counts, faults }: Outcome): string {
  if (failure !== null) {
    const when = `after ${Math.round(at_ms)} ms`
    return `seed ${seed} FAILED ${when}: ${failure}\n  again: npm run sim -- ${seed} --trace`
  }
  const most = [...faults].toSorted(([, one], [, other]) => other - one)
  const shown = most.slice(0, fault_columns_max).map(([kind, count]) => `${count} ${kind}`)
  const done = `${steps} events, ${counts.calls} calls, ${counts.acknowledged} acknowledged`
  return `seed ${seed} ${hash.slice(0, 16)} ${done}; ${shown.join(', ')}`
}

/** Runs all seeds; `take` is given the outcomes in their order. */
async function runAll(seeds: readonly number[], take: (outcome: Outcome) => void): Promise<void> {
  const outcomes = new Map<number, Outcome>()
  let begun = 0
  let taken = 0
  await Promise.all(
    Array.from({ length: Math.min(availableParallelism(), seeds.length) }, () => {
      const worker = new Worker(new URL('worker.ts', import.meta.url))
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const next = () => {
        const seed = seeds[begun]
        begun += 1
        if (seed === undefined) {
          void worker.terminate()
          resolve()
        } else {
          worker.postMessage(seed)
        }
      }
      worker.on('error', reject)
      worker.on('message', (outcome: Outcome) => {
        outcomes.set(outcome.seed, outcome)
        for (;;) {
          const due = outcomes.get(seeds[taken] ?? -1)
          if (due === undefined) break
          taken += 1
          take(due)
        }
        next()
      })
      next()
      return promise
    }),
  )
}

const seeds = seedsOf(positionals)
if (seeds.length === 0) throw new Error('which seed? for example: npm run sim -- 1..100')
let failed = 0
const take = (outcome: Outcome) => {
  if (outcome.failure !== null) failed += 1
  out(told(outcome))
}
if (values.trace) for (const seed of seeds) take(await simulate(seed, out))
else await runAll(seeds, take)
out(failed === 0 ? `${seeds.length} seeds hold` : `${failed} of ${seeds.length} seeds failed`)
process.exitCode = failed === 0 ? 0 : 1
