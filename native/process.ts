/**
 * Which process a number means. A pid alone is reused; a pid with its start time is one process,
 * so nothing is ever signalled that was not started here.
 */
import { readFileSync } from 'node:fs'
import { Type, type Static } from 'typebox'

export const processIdentity = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  /** Start time in clock ticks since boot with the boot's id; empty where the OS has no /proc. */
  started: Type.String(),
})
export type ProcessIdentity = Static<typeof processIdentity>

/** The identity of a running process; null when there is none with this pid. */
export function identify(pid: number): ProcessIdentity | null {
  if (process.platform !== 'linux') return exists(pid) ? { pid, started: '' } : null
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name may hold spaces and parentheses: fields count from behind the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state = '', ...rest] = fields
    // A zombie whose threads still end holds its sockets and files: it is not gone yet.
    if (state === 'X' || (state === 'Z' && Number(rest[16]) <= 1)) return null
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return { pid, started: `${rest[18] ?? ''}@${boot}` }
  } catch {
    return null
  }
}

/** Whether exactly this process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const found = identify(identity.pid)
  return found !== null && found.started === identity.started
}

/** Signals exactly this process; false when it is gone. */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false
  try {
    process.kill(identity.pid, name)
    return true
  } catch {
    return false
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
