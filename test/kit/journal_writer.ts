/**
 * A process that writes to a journal until it is killed: `node journal_writer.ts FILE WRITERS SEED`.
 * Prints `stream seq` for each append and `key value` for each put that was acknowledged.
 */
import { writeSync } from 'node:fs'
import { Journal } from '#runtime/journal/journal.ts'
import { seededRandom } from '#runtime/random.ts'

const [, , path = '', writers = '1', seed = '1'] = process.argv
const journal = new Journal(path)
const random = seededRandom(Number(seed))
const say = (line: string) => writeSync(1, `${line}\n`)

async function write(id: string): Promise<never> {
  let value = Number(journal.get('map', id) ?? 0)
  for (;;) {
    const [{ seq: begin } = { seq: 0 }] = journal.read('log', id, null, 1).events
    const count = 1 + Math.floor(random.next() * 3)
    const fill = 'x'.repeat(Math.floor(random.next() * 400))
    const documents = Array.from({ length: count }, (_, at) => ({ of: count, at, fill }))
    const seq = await journal.append('log', id, documents)
    say(`log ${id} ${seq}`)
    value += 1
    await journal.put({ kind: 'map', id, document: value })
    say(`map ${id} ${value}`)
    if (seq - begin > 40) {
      const made = await journal.snapshot(
        { kind: 'log', id, document: { through: seq - 5 } },
        seq - 5,
      )
      if (!made.ok) throw new Error(made.detail)
    }
    if (random.next() < 0.02) await journal.compact()
  }
}
await Promise.all(Array.from({ length: Number(writers) }, async (_, at) => await write(String(at))))
