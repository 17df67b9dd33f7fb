/** Simulated clusters (test/simulation): what must hold, whatever goes wrong. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { simulate, type Outcome } from '#test/simulation/run.ts'

const fixed = [2, 3, 5, 9, 10, 12, 17]
/** New seeds are tried for as long as this. */
const new_ms_max = 3_000
const main = fileURLToPath(new URL('../simulation/main.ts', import.meta.url))
const program = promisify(execFile)

const failed = ({ seed, failure }: Outcome): string =>
  `seed ${seed}: ${failure ?? ''}\n  again: npm run sim -- ${seed} --trace`

const outcomes: Outcome[] = []
let brokenLinks = 0
let brokenRings = 0

test('seeds that were tried before hold', async () => {
  for (const seed of fixed) {
    const outcome = await simulate(seed, (line) => {
      if (line.includes('a peer broke the protocol')) brokenLinks += 1
      if (/[<>] broken: frame \d+ came where/.test(line)) brokenRings += 1
    })
    outcomes.push(outcome)
    assert.equal(outcome.failure, null, failed(outcome))
  }
})

test('the trouble in them was real', () => {
  const codes = new Set(outcomes.flatMap(({ counts }) => [...counts.failures.keys()]))
  for (const code of ['busy', 'cancelled', 'crashed', 'deadline', 'refused', 'unreachable']) {
    assert.ok(codes.has(code), `no call ended with ${code}`)
  }
  const sum = (of: (outcome: Outcome) => number) =>
    outcomes.reduce((total, outcome) => total + of(outcome), 0)
  assert.ok(sum(({ counts }) => counts.acknowledged) > 100 * fixed.length)
  assert.ok(sum(({ counts }) => counts.deeds) > 10 * fixed.length)
  assert.ok(sum(({ counts }) => counts.told) > 10 * fixed.length)
  assert.ok(sum(({ counts }) => counts.stale) > 0, 'nothing stale ever arrived')
  assert.ok(brokenLinks > 0, 'no link lost a frame')
  assert.ok(brokenRings > 0, 'no ring was overwritten')
})

test('seeds that nobody has tried hold', async () => {
  const end_ms = performance.now() + new_ms_max
  do {
    const outcome = await simulate(randomInt(2 ** 31))
    assert.equal(outcome.failure, null, failed(outcome))
  } while (performance.now() < end_ms)
})

test('one seed is one history, to the byte, here and in another process', async () => {
  const seed = 4
  const lines: string[] = []
  const here = await simulate(seed, (line) => lines.push(line))
  const again = await simulate(seed)
  assert.equal(again.hash, here.hash)
  const { stdout } = await program(process.execPath, [main, String(seed), '--trace'], {
    maxBuffer: 64 * 1024 * 1024,
  })
  const there = stdout.split('\n')
  assert.equal(
    there.findIndex((line, index) => line !== (lines[index] ?? line)),
    -1,
  )
  assert.ok(there.includes(lines.at(-1) ?? '') && lines.length > 1_000)
  assert.ok(there.some((line) => line.startsWith(`seed ${seed} ${here.hash.slice(0, 16)} `)))
})
