/** Our side of the journal's scenarios: `journal.ts append|put WRITERS`, each of whom waits before the next row. */
import { join } from 'node:path'
import { Journal } from '#runtime/journal/journal.ts'
import type { Entrant } from '../contestant.ts'
import { serveOrders } from '../peers/orders.ts'
import { nodeEntrant } from '../peers/program.ts'
import { document, temporaryDirectory } from '../rows.ts'

type Way = 'append' | 'put'

export const journal = (way: Way, writers: number): Entrant =>
  nodeEntrant('luge', 'runtime/journal.ts', way, String(writers))

const ways: Readonly<Record<Way, (journal: Journal, writer: number, at: number) => Promise<void>>> =
  {
    append: async (to, writer, at) => {
      await to.append('log', String(writer), [document(writer, at)])
    },
    put: async (to, writer, at) => {
      await to.put({ kind: 'map', id: String(writer), document: document(writer, at) })
    },
  }

if (import.meta.main) {
  const [, , way = '', given] = process.argv
  if (way !== 'append' && way !== 'put') throw new Error('usage: journal.ts append|put WRITERS')
  const writers = Number(given)
  const directory = temporaryDirectory()
  let files = 0
  await serveOrders(async (wanted) => {
    files += 1
    const opened = new Journal(join(directory, `${files}`))
    const rows = Math.ceil(wanted / writers)
    const began = performance.now()
    await Promise.all(
      Array.from({ length: writers }, async (_, writer) => {
        for (let at = 0; at < rows; at += 1) await ways[way](opened, writer, at)
      }),
    )
    const wall_ns = (performance.now() - began) * 1e6
    opened.close()
    return { operations: rows * writers, wall_ns, p50_ns: null, p99_ns: null, bytes: null }
  })
}
