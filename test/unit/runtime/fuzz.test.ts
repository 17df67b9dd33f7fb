/** The corpus, and a bounded number of new inputs; `npm run fuzz` goes on for longer (test/fuzz). */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { explain } from '#runtime/result.ts'
import { fuzz, kept } from '#test/fuzz/fuzz.ts'
import { targets } from '#test/fuzz/targets.ts'

/** Inputs for each target: about a second's worth. */
const runs_max: Readonly<Record<string, number>> = {
  codec: 10_000,
  frames: 1_500,
  greeting: 500,
  ring: 250,
}

for (const name of Object.keys(targets)) {
  test(`no input makes ${name} do anything but take or refuse it`, async () => {
    assert.ok(kept(name).size > 0, 'the corpus of this target is empty')
    const seed = randomInt(2 ** 32 - 1)
    const before_bytes = process.memoryUsage().heapUsed
    const { runs, find } = await fuzz(name, seed, (done) => done < (runs_max[name] ?? 0))
    const input = find?.input.toString('hex').slice(0, 2_000)
    assert.equal(find, null, `seed ${seed}: ${explain(find?.error)}: input ${input}`)
    assert.ok(runs > kept(name).size)
    const grown_bytes = process.memoryUsage().heapUsed - before_bytes
    assert.ok(grown_bytes < 512 * 1024 ** 2, `${grown_bytes} bytes more are in use`)
  })
}
