/**
 * `npm run fuzz -- [how long] [target] [--keep]`: how long is a count of inputs for each target (20000) or a
 * time (60s). What does not hold is written to the corpus and ends the run with a failure; `--keep` adds
 * what was treated in a new way as well.
 */
import { createHash, randomInt } from 'node:crypto'
import { explain } from '#runtime/result.ts'
import { fuzz, keep } from './fuzz.ts'
import { targets } from './targets.ts'

const words = process.argv.slice(2).filter((word) => word !== '--keep')
const isKept = process.argv.includes('--keep')
const span = words.find((word) => /^\d+s?$/.test(word)) ?? '20000'
const wanted = words.filter((word) => word !== span)
const unknown = wanted.filter((word) => targets[word] === undefined)
if (unknown.length > 0) {
  process.stderr.write(
    `There is no target ${unknown.join(', ')}; there are ${Object.keys(targets).join(', ')}.\n`,
  )
  process.exit(2)
}

const slug = (text: string) =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 60)
for (const name of wanted.length > 0 ? wanted : Object.keys(targets)) {
  const seed = randomInt(2 ** 32 - 1)
  const end_ms = span.endsWith('s') ? Date.now() + Number(span.slice(0, -1)) * 1_000 : null
  const isOn = (runs: number) => (end_ms === null ? runs < Number(span) : Date.now() < end_ms)
  const { runs, novel, find } = await fuzz(name, seed, isOn)
  process.stdout.write(
    `${name}: ${runs} inputs from seed ${seed}, ${novel.size} treated in a new way\n`,
  )
  if (isKept) for (const [way, input] of novel) keep(name, slug(way), input)
  if (find !== null) {
    const hash = createHash('sha256').update(find.input).digest('hex').slice(0, 8)
    const file = keep(name, `find-${hash}`, find.input)
    process.stderr.write(`${name}: ${explain(find.error)}\n${file}\n`)
    if (find.error instanceof Error) process.stderr.write(`${find.error.stack ?? ''}\n`)
    process.exitCode = 1
  }
}
