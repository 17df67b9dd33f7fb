/** System calls with their errors named, and windows into other network namespaces. */
import { closeSync, existsSync, mkdirSync, openSync, statfsSync, unlinkSync } from 'node:fs'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { dirname } from 'node:path'
import ipaddr from 'ipaddr.js'
import * as sys from './libc.sys.ts'

const names = new Map<number, string>(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
)

/** A system call that failed: what was tried, and the error's name in `code`. */
export class SystemError extends Error {
  readonly code: string
  constructor(what: string, errno: number, said = '') {
    const code = names.get(errno) ?? `errno ${errno}`
    super(`${what}: ${code}${said === '' ? '' : ` (${said})`}`)
    this.code = code
  }
}

/** Passes a result on, or throws what the call just failed with. */
export function check(result: number, what: string): number {
  if (result < 0) throw new SystemError(what, sys.errno())
  return result
}

export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && 'code' in error && codes.some((code) => code === error.code)

/** Opens a descriptor for the time of `use`. */
function withFile<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 'r')
  try {
    return use(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Runs `use` with this thread in another network namespace (setns(2)); sockets made inside stay
 * there. `use` must not wait for anything: the thread is back before its event loop turns.
 */
export function inNetns<T>(path: string, use: () => T): T {
  return withFile('/proc/thread-self/ns/net', (home) =>
    withFile(path, (target) => {
      check(sys.c.setns(target, sys.CLONE_NEWNET), `enter network namespace ${path}`)
      try {
        return use()
      } finally {
        // A thread that cannot go home would do all its later work in the wrong network.
        if (sys.c.setns(home, sys.CLONE_NEWNET) < 0) process.abort()
      }
    }),
  )
}

/** Whether a path names a network namespace that exists. */
export function isNetns(path: string): boolean {
  return existsSync(path) && statfsSync(path).type === sys.NSFS_MAGIC
}

/** Makes a network namespace that lives at `path` (as ip-netns(8) keeps them); one there is kept. */
export function createNetns(path: string): void {
  if (isNetns(path)) return
  mkdirSync(dirname(path), { recursive: true })
  closeSync(openSync(path, 'a', 0o444))
  withFile('/proc/thread-self/ns/net', (home) => {
    check(sys.c.unshare(sys.CLONE_NEWNET), 'make a network namespace')
    try {
      const own = '/proc/thread-self/ns/net'
      check(sys.c.mount(own, path, 'none', sys.MS_BIND, null), `keep network namespace ${path}`)
    } finally {
      if (sys.c.setns(home, sys.CLONE_NEWNET) < 0) process.abort()
    }
  })
}

/** Removes a network namespace's name; the kernel ends it when nobody uses it. Absent is fine. */
export function deleteNetns(path: string): void {
  if (!existsSync(path)) return
  while (isNetns(path)) check(sys.c.umount2(path, sys.MNT_DETACH), `let go of ${path}`)
  unlinkSync(path)
}

/** A sockaddr_in or sockaddr_in6 as the kernel reads it. */
export function socketAddress(address: string, port: number): Buffer {
  const bytes = Buffer.from(ipaddr.parse(address).toByteArray())
  const out = Buffer.alloc(bytes.length === 4 ? 16 : 28)
  out.writeUInt16LE(bytes.length === 4 ? sys.AF_INET : sys.AF_INET6, 0)
  out.writeUInt16BE(port, 2)
  bytes.copy(out, bytes.length === 4 ? 4 : 8)
  return out
}

export function setFlag(fd: number, level: number, option: number): void {
  const one = Buffer.from([1, 0, 0, 0])
  check(sys.c.setsockopt(fd, level, option, one, one.length), `set socket option ${option}`)
}

/** A listening TCP socket in this thread's namespace; throws with code EADDRINUSE when taken. */
export function listenTcp(address: string, port: number): number {
  const family = isIP(address) === 6 ? sys.AF_INET6 : sys.AF_INET
  const fd = check(
    sys.c.socket(family, sys.SOCK_STREAM | sys.SOCK_CLOEXEC, 0),
    `make a socket for ${address}`,
  )
  try {
    setFlag(fd, sys.SOL_SOCKET, sys.SO_REUSEADDR)
    const where = socketAddress(address, port)
    check(sys.c.bind(fd, where, where.length), `listen on ${address} port ${port}`)
    check(sys.c.listen(fd, 511), `listen on ${address} port ${port}`)
    return fd
  } catch (error) {
    sys.c.close(fd)
    throw error
  }
}
