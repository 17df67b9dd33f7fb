/** Files of a directory that is served to strangers: regular ones only, reached through no symbolic link. */
import { constants } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { join } from 'node:path'
import { limits } from '#config/limits.ts'

export interface StaticFiles {
  /** The file at a path of names below the directory; null when there is none that may be served. */
  readonly read: (names: readonly string[]) => Promise<Buffer | null>
}

/** A name of one file: it leads nowhere else. */
const isPlain = (name: string) => !/^\.*$|[/\\\0]/.test(name)

export const staticFiles = (directory: string): StaticFiles => ({
  read: async (names) => {
    if (names.length === 0 || !names.every(isPlain)) return null
    try {
      let at = directory
      for (const name of names.slice(0, -1)) {
        at = join(at, name)
        if (!(await lstat(at)).isDirectory()) return null
      }
      return await readRegular(join(at, names.at(-1) ?? ''))
    } catch {
      return null
    }
  },
})

async function readRegular(path: string): Promise<Buffer | null> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const found = await file.stat()
    return found.isFile() && found.size <= limits.console_file_bytes_max
      ? await file.readFile()
      : null
  } finally {
    await file.close()
  }
}
