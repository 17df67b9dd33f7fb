/** Measurements are only worth something if the harness counts right and leaves nothing running. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Harness } from '#bench/harness.ts'
import { nodeEntrant, Program } from '#bench/peers/program.ts'

const quiet = () => undefined

test('candidates take turns, and ratios are the medians of the rounds', async () => {
  const harness = new Harness(quiet)
  const turns: string[] = []
  const candidate = (name: string, values: readonly number[]) => async (round: number) => {
    turns.push(`${name}${round}`)
    return { rate: values[round] ?? 0, cpu: 1 }
  }
  await harness.compareAll('work', {
    metrics: [
      { name: 'rate', unit: '1/s', bars: [{ peer: 'peer', at: 'least', value: 2 }] },
      { name: 'cpu', unit: 'ns', bars: [] },
    ],
    rounds: 3,
    own: 'ours',
    // The first round does not count, and one fast round decides nothing.
    candidates: { ours: candidate('o', [1, 10, 20, 900]), peer: candidate('p', [9, 5, 5, 5]) },
  })
  assert.deepEqual(turns, ['o0', 'p0', 'o1', 'p1', 'o2', 'p2', 'o3', 'p3'])
  const [rate, cpu] = harness.results
  assert.deepEqual([rate?.value, rate?.min, rate?.max], [20, 10, 900])
  assert.deepEqual([rate?.ratios, rate?.peers], [{ peer: 4 }, { peer: 5 }])
  assert.deepEqual([cpu?.name, cpu?.ratios], ['cpu', { peer: 1 }])
})

test('peers are measured also where there is no side of ours', async () => {
  const harness = new Harness(quiet)
  await harness.compareAll('work', {
    metrics: [{ name: 'rate', unit: '1/s', bars: [] }],
    rounds: 1,
    own: null,
    candidates: { peer: async () => ({ rate: 7 }) },
  })
  const [rate] = harness.results
  assert.deepEqual([rate?.value, rate?.ratios, rate?.peers], [null, {}, { peer: 7 }])
})

for (const way of ['comlink', 'postMessage']) {
  test(`the program of ${way} does what it is told, and its CPU time is counted`, async () => {
    const contestant = await nodeEntrant(way, 'peers/threads.ts', way, 'list', '4', '3').open()
    try {
      const first = await contestant.run(320)
      assert.equal(first.operations, 320)
      assert.ok(first.cpu_ns > 0 && first.wall_ns > 0 && (first.p50_ns ?? 0) > 0)
      assert.equal((await contestant.run(64)).operations, 64)
    } finally {
      await contestant.close()
    }
  })
}

test('a program that ends before its answer is named, with what it said', async () => {
  const program = new Program(process.execPath, ['-e', 'throw new Error("no such gadget")'])
  await assert.rejects(program.ready(), /-e throw .* ended: [^]*no such gadget/)
  await program.stop()
})

test('a program that is not there is named', async () => {
  const program = new Program('/nowhere/gadget', [])
  await assert.rejects(program.ready(), /\/nowhere\/gadget ended: .*ENOENT/)
  await program.stop()
})
