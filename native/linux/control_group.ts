/**
 * Control groups of zones whose making was cut off: an OCI runtime that is killed between making a
 * container's groups and writing its record forgets them, in each hierarchy of cgroup version 1 and
 * in the one of version 2.
 */
import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { err, explain, ok, type Result } from '#runtime/result.ts'

const root = '/sys/fs/cgroup'
const removal_ms_max = 2_000

/**
 * Kills what is in the control group `name` and removes it from every hierarchy. The name must be
 * one that only the caller's zones have.
 */
export async function removeControlGroup(name: string): Promise<Result<null, 'os_failed'>> {
  if (!existsSync(root)) return ok(null)
  const hierarchies = [root, ...readdirSync(root).map((each) => join(root, each))]
  for (const path of hierarchies
    .map((each) => join(each, name))
    .filter((each) => existsSync(each))) {
    const removed = await removeGroup(path)
    if (!removed.ok) return removed
  }
  return ok(null)
}

/** A group whose processes were killed stays busy until they are gone. */
async function removeGroup(path: string): Promise<Result<null, 'os_failed'>> {
  const end = Date.now() + removal_ms_max
  for (;;) {
    try {
      const pids = readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').map(Number)
      // A process of another pid namespace shows as 0, which would be our own process group.
      for (const pid of pids.filter((each) => each > 0)) process.kill(pid, 'SIGKILL')
      rmdirSync(path)
      return ok(null)
    } catch (error) {
      // Controllers of version 1 may be mounted together: links lead to one group.
      if (!existsSync(path)) return ok(null)
      if (Date.now() >= end) return err('os_failed', `control group ${path}: ${explain(error)}`)
    }
    await sleep(10)
  }
}
