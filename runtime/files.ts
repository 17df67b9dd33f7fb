/** Files that a reader finds whole, whenever the writer is killed, and that the disk has when it is said so. */
import { closeSync, fdatasync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'

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

const dataSync = promisify(fdatasync)

/** A file that somebody else writes to. */
export interface SyncedFile {
  /** Ends when the disk has what had been written when it was asked for. Rejects when it does not take it. */
  readonly sync: () => Promise<void>
  readonly close: () => void
}

/** Of a file that is there by the time it is first synced. */
export function syncedFile(path: string): SyncedFile {
  let file: number | null = null
  return {
    sync: async () => {
      // illumos syncs only what is open for writing: fdatasync(3C).
      file ??= openSync(path, 'r+')
      await dataSync(file)
    },
    close: () => {
      if (file !== null) closeSync(file)
    },
  }
}
