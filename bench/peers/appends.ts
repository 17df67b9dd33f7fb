/** The least that a durable journal can cost: groups of rows appended to a file, each synced. */
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serveOrders } from './orders.ts'

const row_bytes = 200
const rows_per_group = 100

// Beside the sources, not in /tmp: that may be memory.
const out = fileURLToPath(new URL('../../out/', import.meta.url))
mkdirSync(out, { recursive: true })
const directory = mkdtempSync(join(out, 'bench-'))
const file = openSync(join(directory, 'rows'), 'a')
process.on('exit', () => {
  closeSync(file)
  rmSync(directory, { recursive: true, force: true })
})

const group = Buffer.alloc(row_bytes * rows_per_group, 'row')

await serveOrders(async (wanted) => {
  const groups = Math.ceil(wanted / rows_per_group)
  const began = performance.now()
  for (let made = 0; made < groups; made += 1) {
    writeSync(file, group)
    fdatasyncSync(file)
  }
  const wall_ns = (performance.now() - began) * 1e6
  const operations = groups * rows_per_group
  return { operations, wall_ns, p50_ns: null, p99_ns: null, bytes: null }
})
