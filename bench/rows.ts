/** What durable journals are measured with, and where. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** About 200 bytes. */
export const document = (writer: number, at: number) => ({
  id: `3f2c1e0a-7b6d-4c5e-9f80-${String(writer).padStart(12, '0')}`,
  at,
  text: 'x'.repeat(120),
})

/** Beside the sources, not in /tmp: that may be memory. It goes with the process. */
export function temporaryDirectory(): string {
  const out = fileURLToPath(new URL('../out/', import.meta.url))
  mkdirSync(out, { recursive: true })
  const directory = mkdtempSync(join(out, 'bench-'))
  process.on('exit', () => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}
