/** Files that a reader finds whole, whenever the writer is killed. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Replaces a file so that a reader sees the old or the new content, never a part. Nobody but its
 * owner can read it.
 */
export function writeFileAtomically(path: string, text: string): void {
  const next = `${path}.next`
  // What a killed writer left may be readable for others, and would stay so.
  rmSync(next, { force: true })
  try {
    writeFileSync(next, text, { flag: 'wx', mode: 0o600, flush: true })
    renameSync(next, path)
  } catch (error) {
    rmSync(next, { force: true })
    throw error
  }
}
