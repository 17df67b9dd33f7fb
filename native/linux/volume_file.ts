/** How a volume's file comes to be: grown under a name that counts for nothing, then renamed. */
import { constants } from 'node:fs'
import { copyFile, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Makes `to` share the blocks that `from` has at one moment: at once, and writes meanwhile are in it or
 * not. False, with nothing left, where the file system cannot (FICLONE: ioctl_ficlonerange(2)).
 */
export async function reflink(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch {
    await rm(to, { force: true })
    return false
  }
}

/** Gives a file that is filled its size and, once that is durable, its name. */
export async function becomeVolume(made: {
  readonly partial: string
  readonly final: string
  readonly size_bytes: number
}): Promise<void> {
  const file = await open(made.partial, 'r+')
  try {
    await file.truncate(made.size_bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(made.partial, made.final)
  await syncDirectory(dirname(made.final))
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  await directory.sync()
  await directory.close()
}
