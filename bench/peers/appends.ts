/**
 * The least that a durable journal can cost: `appends.ts WRITERS` encodes a row of each writer, appends
 * them to a file in one piece, and syncs it.
 */
import { fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { document, temporaryDirectory } from '../rows.ts'
import { serveOrders } from './orders.ts'

const writers = Number(process.argv[2])
const file = openSync(join(temporaryDirectory(), 'rows'), 'a')

await serveOrders(async (wanted) => {
  const groups = Math.ceil(wanted / writers)
  const began = performance.now()
  for (let at = 0; at < groups; at += 1) {
    const rows = Array.from({ length: writers }, (_, writer) =>
      JSON.stringify(document(writer, at)),
    )
    writeSync(file, `${rows.join('\n')}\n`)
    fdatasyncSync(file)
  }
  const wall_ns = (performance.now() - began) * 1e6
  return { operations: groups * writers, wall_ns, p50_ns: null, p99_ns: null, bytes: null }
})
