/**
 * libc through FFI, and the few call sequences around network namespaces that other parts of the
 * Linux backend share. Everything here is synchronous: a namespace is a property of the calling
 * thread, and between `setns` there and back nothing else may run on it.
 */
import assert from 'node:assert/strict'
import { closeSync, constants, mkdirSync, openSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { getSystemErrorName } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import koffi from 'koffi'
import { ipBytes } from './addresses.ts'

const library = koffi.load('libc.so.6')

/** A C function that takes these and returns an int or a long. */
type Call<Arguments extends readonly unknown[]> = (...args: Arguments) => number
const declare = (prototype: string): unknown => library.func(prototype)

const c = {
  open: declare('int open(const char *, int, int)') as Call<
    [path: string, flags: number, mode: number]
  >,
  close: declare('int close(int)') as Call<[fd: number]>,
  setns: declare('int setns(int, int)') as Call<[fd: number, type: number]>,
  unshare: declare('int unshare(int)') as Call<[flags: number]>,
  mount: declare(
    'int mount(const char *, const char *, const char *, unsigned long, const void *)',
  ) as Call<[source: string, target: string, type: string | null, flags: number, data: null]>,
  umount2: declare('int umount2(const char *, int)') as Call<[target: string, flags: number]>,
  socket: declare('int socket(int, int, int)') as Call<
    [family: number, type: number, protocol: number]
  >,
  bind: declare('int bind(int, const void *, unsigned int)') as Call<
    [fd: number, address: Buffer, length: number]
  >,
  connect: declare('int connect(int, const void *, unsigned int)') as Call<
    [fd: number, address: Buffer, length: number]
  >,
  listen: declare('int listen(int, int)') as Call<[fd: number, backlog: number]>,
  setsockopt: declare('int setsockopt(int, int, int, const void *, unsigned int)') as Call<
    [fd: number, level: number, option: number, value: Buffer, length: number]
  >,
  send: declare('long send(int, const void *, size_t, int)') as Call<
    [fd: number, data: Uint8Array, length: number, flags: number]
  >,
  sendto: declare(
    'long sendto(int, const void *, size_t, int, const void *, unsigned int)',
  ) as Call<
    [fd: number, data: Uint8Array, length: number, flags: number, to: Buffer, toLength: number]
  >,
  recv: declare('long recv(int, void *, size_t, int)') as Call<
    [fd: number, data: Uint8Array, length: number, flags: number]
  >,
  // The same function twice: some requests take a pointer, others a number.
  ioctl: library.func('ioctl', 'int', ['int', 'unsigned long', 'void *']) as Call<
    [fd: number, request: number, argument: Buffer]
  >,
  ioctlValue: library.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']) as Call<
    [fd: number, request: number, argument: number]
  >,
  if_nametoindex: declare('unsigned int if_nametoindex(const char *)') as Call<[name: string]>,
}

const { O_CREAT, O_RDONLY, O_RDWR } = constants
const O_CLOEXEC = 0o2000000
const NS_GET_NSTYPE = 0xb703
const tunDevice = '/dev/net/tun'
const CLONE_NEWNET = 0x40000000
const MS_BIND = 0x1000
const MS_REC = 0x4000
const MS_SHARED = 1 << 20
const MNT_DETACH = 2
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_BROADCAST = 6
const SO_BINDTODEVICE = 25
const SOCK_CLOEXEC = 0o2000000
const SOCK_NONBLOCK = 0o4000
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOCK_RAW = 3
const AF_INET = 2
const AF_INET6 = 10
const AF_PACKET = 17
const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const IFF_TAP = 0x0002
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const IFNAMSIZ = 16
const backlog = 511

/** A refusal of the kernel: what was being done, on what, and the name of the errno. */
export class OsError extends Error {
  override readonly name = 'OsError'
  /** `EEXIST`, `ENODEV` … */
  readonly code: string

  constructor(what: string, errno: number, words = '') {
    const code = errno === 0 ? 'no errno' : getSystemErrorName(-errno)
    super(`${what}: ${code}${words === '' ? '' : ` (${words})`}`)
    this.code = code
  }
}

/** The result of a call that says -1 when it fails; `what` completes "cannot …". */
function check(result: number, what: string): number {
  if (result < 0) throw new OsError(`cannot ${what}`, koffi.errno())
  return result
}

/** Calls again while a signal interrupts. */
function uninterrupted(call: () => number): number {
  for (;;) {
    const result = call()
    if (result >= 0 || koffi.errno() !== EINTR) return result
  }
}
const EINTR = 4
const EINVAL = 22
const ENOENT = 2
const EINPROGRESS = 115

/**
 * A file descriptor with an owner: `using` closes it unless it was released. Opened and closed by
 * libc alone: Node keeps count, in a worker, of what its own calls open and close.
 */
export class Descriptor implements Disposable {
  #fd: number

  constructor(fd: number) {
    assert(fd >= 0, 'a descriptor is open when it gets an owner')
    this.#fd = fd
  }

  get fd(): number {
    assert(this.#fd >= 0, 'a closed descriptor is not used')
    return this.#fd
  }

  /** Hands the descriptor to another owner, who closes it. */
  release(): number {
    const { fd } = this
    this.#fd = -1
    return fd
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return
    closeFd(this.#fd)
    this.#fd = -1
  }
}

/** Closes a descriptor that a call of this file has opened. */
export function closeFd(fd: number): void {
  c.close(fd)
}

function openFile(path: string, flags: number, what: string): Descriptor {
  return new Descriptor(check(c.open(path, flags | O_CLOEXEC, 0o444), what))
}

const ownNetns = '/proc/thread-self/ns/net'

/**
 * Runs `work` with this thread in the network namespace at `path`, and comes back whatever happens.
 * Sockets opened inside stay there for good. `work` must be synchronous: a promise is refused,
 * because what follows its first `await` would run in the wrong namespace.
 *
 * Throws OsError when the namespace cannot be entered. When the thread cannot return, the process
 * aborts: a thread that has lost its place would configure somebody else's network.
 */
export function inNetns<T>(path: string, work: () => T): T {
  using home = openNetns(null)
  using there = openNetns(path)
  check(c.setns(there.fd, CLONE_NEWNET), `enter network namespace ${path}`)
  let result: T
  try {
    result = work()
  } finally {
    if (c.setns(home.fd, CLONE_NEWNET) !== 0) process.abort()
  }
  const isPromise = typeof result === 'object' && result !== null && 'then' in result
  assert(!isPromise, 'work in a network namespace is synchronous')
  return result
}

/**
 * Moves the calling worker thread into a namespace for good. Everything that it opens from then on
 * is there, save what runs on the process' shared pool (files, name resolution): that stays where the
 * first user of the pool was, so the main thread must have used it before.
 */
export function enterNetns(path: string): void {
  assert(!isMainThread, 'the main thread stays where it was started')
  using there = openNetns(path)
  check(c.setns(there.fd, CLONE_NEWNET), `enter network namespace ${path}`)
}

/** Opens a namespace itself; null: the calling thread's own. */
export function openNetns(path: string | null): Descriptor {
  return openFile(path ?? ownNetns, O_RDONLY, `open network namespace ${path ?? 'of this thread'}`)
}

/**
 * Makes a network namespace with a name, as `ip netns add` does; one that is there stays as it is.
 * The calling thread is in it for the time of one bind mount and then back where it was.
 */
export function createNetns(path: string): void {
  if (isNetns(path)) return
  shareDirectory(dirname(path))
  openFile(path, O_CREAT | O_RDONLY, `make ${path}`)[Symbol.dispose]()
  using home = openNetns(null)
  check(c.unshare(CLONE_NEWNET), `make network namespace ${path}`)
  let mounted: number
  let errno: number
  try {
    mounted = c.mount(ownNetns, path, null, MS_BIND, null)
    errno = koffi.errno()
  } finally {
    if (c.setns(home.fd, CLONE_NEWNET) !== 0) process.abort()
  }
  if (mounted === 0) return
  rmSync(path, { force: true })
  throw new OsError(`cannot mount network namespace ${path}`, errno)
}

/**
 * Namespaces are mounts that others must see and be able to take away, so their directory is a
 * shared mount (`ip netns` insists on it, and would hide ours below its own otherwise).
 */
function shareDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o755 })
  if (c.mount('', directory, 'none', MS_SHARED | MS_REC, null) === 0) return
  const errno = koffi.errno()
  if (errno !== EINVAL) throw new OsError(`cannot share mounts of ${directory}`, errno)
  check(c.mount(directory, directory, 'none', MS_BIND | MS_REC, null), `mount ${directory}`)
  check(c.mount('', directory, 'none', MS_SHARED | MS_REC, null), `share mounts of ${directory}`)
}

/** Whether there is a namespace at the path, and not only the file that one is mounted on. */
export function isNetns(path: string): boolean {
  const fd = c.open(path, O_RDONLY | O_CLOEXEC, 0)
  if (fd < 0) return false
  using file = new Descriptor(fd)
  // NS_GET_NSTYPE answers CLONE_NEWNET for a network namespace and fails on anything else.
  return c.ioctlValue(file.fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET
}

/**
 * Takes a namespace's name away; absent is fine. The kernel ends it, and every link in it, when no
 * process and no socket is left inside.
 */
export function deleteNetns(path: string): void {
  // A crash between mounting twice and anything else leaves a mount below a mount.
  for (;;) {
    if (c.umount2(path, MNT_DETACH) === 0) continue
    const errno = koffi.errno()
    if (errno === EINVAL || errno === ENOENT) break
    throw new OsError(`cannot unmount network namespace ${path}`, errno)
  }
  rmSync(path, { force: true })
}

/**
 * Opens a guest's tap in its namespace: a descriptor for frames that begin with a virtio-net header,
 * which its owner closes with `closeSync`. Only an existing persistent tap is opened, with the flags
 * it was made with. Throws OsError, `ENODEV` when there is no such link and `EBUSY` when another
 * process has it.
 */
export function openTap(netns: string, name: string): number {
  return inNetns(netns, () => {
    if (c.if_nametoindex(name) === 0) {
      throw new OsError(`cannot open tap ${name} in ${netns}`, koffi.errno())
    }
    const fd = openSync(tunDevice, 'r+')
    try {
      attach(fd, name)
      return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  })
}

/** Makes a tap in the calling thread's namespace; it lives as long as the descriptor. */
export function attachTap(name: string): Descriptor {
  using tap = openFile(tunDevice, O_RDWR, `open ${tunDevice}`)
  attach(tap.fd, name)
  return new Descriptor(tap.release())
}

function attach(fd: number, name: string): void {
  const request = Buffer.alloc(40)
  request.write(linkName(name), 0, 'latin1')
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ)
  check(c.ioctl(fd, TUNSETIFF, request), `attach to tap ${name}`)
}

/** From now on the tap stays when its descriptor is closed. */
export function keepTap(tap: Descriptor): void {
  check(c.ioctlValue(tap.fd, TUNSETPERSIST, 1), 'make a tap persistent')
}

function linkName(name: string): string {
  assert(name.length > 0 && name.length < IFNAMSIZ, `"${name}" does not fit a link's name`)
  return name
}

/**
 * Opens a listening TCP socket in a namespace (null: the caller's own). Its owner closes it with
 * `closeFd`. It is closed on exec; a child gets it by being spawned with it in `stdio`. Throws
 * OsError, `EADDRINUSE` when taken.
 */
export function listenTcp(address: string, port: number, netns: string | null): number {
  return withSocket(SOCK_STREAM, address, netns, (socket) => {
    setOption(socket, SO_REUSEADDR, 1)
    const where = `${address} port ${port}${netns === null ? '' : ` in ${netns}`}`
    const name = socketAddress(address, port)
    check(c.bind(socket.fd, name, name.length), `bind to ${where}`)
    check(c.listen(socket.fd, backlog), `listen on ${where}`)
  })
}

/**
 * Begins a TCP connection from a namespace (null: the caller's own) and returns its descriptor at
 * once, for `new net.Socket({ fd })`; a refusal shows as that socket's first error.
 */
export function connectTcp(address: string, port: number, netns: string | null): number {
  return withSocket(SOCK_STREAM | SOCK_NONBLOCK, address, netns, (socket) => {
    const name = socketAddress(address, port)
    if (c.connect(socket.fd, name, name.length) === 0) return
    const errno = koffi.errno()
    if (errno !== EINPROGRESS) throw new OsError(`cannot connect to ${address} port ${port}`, errno)
  })
}

/**
 * Opens a UDP socket in a namespace that sees one link only, its broadcasts included; for
 * `dgram.Socket.bind({ fd })`.
 */
export function openUdpOnLink(netns: string, link: string, port: number): number {
  return withSocket(SOCK_DGRAM | SOCK_NONBLOCK, '0.0.0.0', netns, (socket) => {
    setOption(socket, SO_REUSEADDR, 1)
    setOption(socket, SO_BROADCAST, 1)
    const name = Buffer.from(`${linkName(link)}\0`, 'latin1')
    const what = `bind a socket to link ${link} in ${netns}`
    check(c.setsockopt(socket.fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length), what)
    const address = socketAddress('0.0.0.0', port)
    check(c.bind(socket.fd, address, address.length), `${what}, port ${port}`)
  })
}

function withSocket(
  type: number,
  address: string,
  netns: string | null,
  prepare: (socket: Descriptor) => void,
): number {
  const open = (): number => {
    const family = address.includes(':') ? AF_INET6 : AF_INET
    using socket = new Descriptor(check(c.socket(family, type | SOCK_CLOEXEC, 0), 'open a socket'))
    prepare(socket)
    return socket.release()
  }
  return netns === null ? open() : inNetns(netns, open)
}

function setOption(socket: Descriptor, option: number, value: number): void {
  const data = Buffer.alloc(4)
  data.writeInt32LE(value)
  check(c.setsockopt(socket.fd, SOL_SOCKET, option, data, 4), `set socket option ${option}`)
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
function socketAddress(address: string, port: number): Buffer {
  const bytes = ipBytes(address)
  const name = Buffer.alloc(bytes.length === 4 ? 16 : 28)
  name.writeUInt16LE(bytes.length === 4 ? AF_INET : AF_INET6, 0)
  name.writeUInt16BE(port, 2)
  bytes.copy(name, bytes.length === 4 ? 4 : 8)
  return name
}

const AF_NETLINK = 16
const SOL_NETLINK = 270
const netlinkOptions = { cap_ack: 10, ext_ack: 11, strict_check: 12 } as const

/** Opens a netlink socket in the calling thread's namespace. `protocol`: 0 route, 12 netfilter. */
export function openNetlink(protocol: number): Descriptor {
  const type = SOCK_RAW | SOCK_CLOEXEC
  using socket = new Descriptor(check(c.socket(AF_NETLINK, type, protocol), 'open netlink'))
  const name = Buffer.alloc(12)
  name.writeUInt16LE(AF_NETLINK, 0)
  check(c.bind(socket.fd, name, name.length), 'bind netlink')
  const one = Buffer.from([1, 0, 0, 0])
  for (const option of Object.values(netlinkOptions)) {
    check(c.setsockopt(socket.fd, SOL_NETLINK, option, one, 4), `set netlink option ${option}`)
  }
  return new Descriptor(socket.release())
}

/** Sends one datagram on a connected or netlink socket. */
export function send(socket: Descriptor, data: Uint8Array, what: string): void {
  check(
    uninterrupted(() => c.send(socket.fd, data, data.length, 0)),
    what,
  )
}

/** Receives one datagram into `buffer`, waiting for it; returns its bytes. */
export function receive(socket: Descriptor, buffer: Buffer, what: string): Buffer {
  const length = check(
    uninterrupted(() => c.recv(socket.fd, buffer, buffer.length, 0)),
    what,
  )
  return buffer.subarray(0, length)
}

/** Opens a socket in the calling thread's namespace that sends whole frames and hears nothing. */
export function openFrames(): Descriptor {
  const type = SOCK_RAW | SOCK_CLOEXEC
  return new Descriptor(check(c.socket(AF_PACKET, type, 0), 'open a packet socket'))
}

/** Sends one whole Ethernet frame out of the link of this index. */
export function sendFrame(socket: Descriptor, link: number, frame: Uint8Array): void {
  const to = Buffer.alloc(20)
  to.writeUInt16LE(AF_PACKET, 0)
  to.writeInt32LE(link, 4)
  const what = `send a frame on link number ${link}`
  check(c.sendto(socket.fd, frame, frame.length, 0, to, to.length), what)
}
