/** Chooses the platform from what was asked for and what this machine can do, and says why. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { err, ok, type Result } from '#runtime/result.ts'

export type Platform = 'linux' | 'sim'
export interface Choice {
  readonly platform: Platform
  /** One clause: why this one. */
  readonly reason: string
}

/** Where a program is, or null. Administrators' directories count even when PATH leaves them out. */
export function findTool(name: string): string | null {
  const directories = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
  ]
  for (const directory of directories) {
    if (directory === '') continue
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      continue
    }
  }
  return null
}

/** What keeps real guests from running here, as sentences; empty when nothing does. */
export function linuxObstacles(): readonly string[] {
  if (process.platform !== 'linux') {
    return [`this is ${process.platform}: real guests need Linux (or illumos, when its time comes)`]
  }
  const obstacles: string[] = []
  const isRoot = process.getuid?.() === 0
  if (!isRoot) obstacles.push('not root: run it with sudo')
  else if (!hasCapabilities()) {
    obstacles.push('root without CAP_SYS_ADMIN and CAP_NET_ADMIN: use a machine, not a container')
  }
  const missing = ['qemu-system-x86_64', 'qemu-storage-daemon'].filter(
    (tool) => findTool(tool) === null,
  )
  if (findTool('crun') === null && findTool('runc') === null) missing.push('crun (or runc)')
  if (missing.length > 0) {
    obstacles.push(`${missing.join(', ')} missing: run tools/install_prerequisites.sh`)
  }
  // Only root's word counts: to others it may be closed although it is there.
  if (isRoot && !isOpen('/dev/net/tun')) {
    obstacles.push('/dev/net/tun cannot be opened: load the kernel module tun')
  }
  return obstacles
}

/** `auto` takes linux where it works, else sim; anything else is taken at its word or refused. */
export function choosePlatform(asked: string): Result<Choice, 'unsupported'> {
  if (asked === 'sim') return ok({ platform: 'sim', reason: 'asked for' })
  if (asked === 'illumos') {
    return err('unsupported', 'platform illumos: its backend is not part of this version')
  }
  const obstacles = linuxObstacles()
  if (asked === 'linux') {
    return obstacles.length === 0
      ? ok({ platform: 'linux', reason: 'asked for' })
      : err('unsupported', `platform linux cannot run here: ${obstacles.join('; ')}`)
  }
  if (asked === 'auto') {
    return obstacles.length === 0
      ? ok({ platform: 'linux', reason: 'this machine can run real guests' })
      : ok({ platform: 'sim', reason: `no real guests here: ${obstacles.join('; ')}` })
  }
  return err('unsupported', `unknown platform "${asked}": one of auto, linux, sim`)
}

function isOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

function hasCapabilities(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  const effective = BigInt(`0x${line ?? '0'}`)
  const netAdmin = 1n << 12n
  const sysAdmin = 1n << 21n
  return (effective & netAdmin) !== 0n && (effective & sysAdmin) !== 0n
}
