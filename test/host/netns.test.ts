/** The namespace helpers against `ip`, and the sockets they open against other programs. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, readlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { after, test } from 'node:test'
import {
  attachTap,
  connectTcp,
  createNetns,
  deleteNetns,
  inNetns,
  isNetns,
  keepTap,
  listenTcp,
  OsError,
  openTap,
} from '#native/linux/libc.sys.ts'

const name = `oxtest${process.pid}`
const path = `/run/netns/${name}`
const ip = (...args: readonly string[]): string => execFileSync('ip', args, { encoding: 'utf8' })
const here = (): string => readlinkSync('/proc/thread-self/ns/net')

after(() => {
  deleteNetns(path)
})

test('a namespace is made once, is known to ip, and leaves the caller where it was', () => {
  const before = here()
  createNetns(path)
  createNetns(path)
  assert.equal(here(), before)
  assert.equal(isNetns(path), true)
  assert.match(ip('netns', 'list'), new RegExp(`^${name}\\b`, 'm'))
  const inside = inNetns(path, here)
  assert.notEqual(inside, before)
  assert.equal(here(), before)
  ip('-n', name, 'link', 'set', 'lo', 'up')
})

test('a throw inside a namespace comes out of it', () => {
  const before = here()
  assert.throws(() => {
    inNetns(path, () => {
      throw new Error('inside')
    })
  }, /inside/)
  assert.equal(here(), before)
})

test('asynchronous work in a namespace is refused', () => {
  assert.throws(() => inNetns(path, async () => await Promise.resolve(1)), /synchronous/)
})

test('a namespace that is not there, or a file that is none, cannot be entered', () => {
  assert.throws(() => inNetns('/run/netns/oxnone', here), /oxnone/)
  assert.throws(
    () => inNetns('/etc/hostname', here),
    (error: unknown) => error instanceof OsError && error.code === 'EINVAL',
  )
})

test('a listener and a connection of the namespace meet there and nowhere else', async () => {
  const server = new net.Server((socket) => socket.end('from inside'))
  server.listen({ fd: listenTcp('127.0.0.1', 7001, path) })
  await once(server, 'listening')
  const socket = new net.Socket({ fd: connectTcp('127.0.0.1', 7001, path) })
  let heard = ''
  for await (const chunk of socket) heard += String(chunk)
  assert.equal(heard, 'from inside')

  const outside = net.connect(7001, '127.0.0.1')
  const [error] = (await once(outside, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')

  const refused = new net.Socket({ fd: connectTcp('127.0.0.1', 7002, path) })
  const [reason] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
  assert.equal(reason.code, 'ECONNREFUSED')
  server.close()
})

test('a port in use is refused by name', () => {
  const fd = listenTcp('::1', 7003, path)
  assert.throws(
    () => listenTcp('::1', 7003, path),
    (error: unknown) => error instanceof OsError && error.code === 'EADDRINUSE',
  )
  closeSync(fd)
})

test('a listener reaches a child at the descriptor it is given', async () => {
  const fd = listenTcp('127.0.0.1', 7004, path)
  const program =
    'require("net").createServer((s) => s.end("child")).listen({ fd: 3 }, () => console.log("up"))'
  const child = spawn(process.execPath, ['-e', program], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  closeSync(fd)
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  const socket = new net.Socket({ fd: connectTcp('127.0.0.1', 7004, path) })
  let heard = ''
  for await (const chunk of socket) heard += String(chunk)
  assert.equal(heard, 'child')
  child.kill('SIGKILL')
  await once(child, 'exit')
})

test('a tap is opened by name with its virtio-net header, by one process at a time', () => {
  inNetns(path, () => {
    using tap = attachTap('opte7')
    keepTap(tap)
  })
  assert.match(ip('-n', name, '-d', 'link', 'show', 'opte7'), /tun type tap pi off vnet_hdr on/)
  const fd = openTap(path, 'opte7')
  assert.throws(
    () => openTap(path, 'opte7'),
    (error: unknown) => error instanceof OsError && error.code === 'EBUSY',
  )
  closeSync(fd)
  assert.throws(
    () => openTap(path, 'opte8'),
    (error: unknown) => error instanceof OsError && error.code === 'ENODEV',
  )
  assert.doesNotMatch(ip('-n', name, 'link', 'show'), /opte8/)
})

test('a namespace is deleted once, and a half-made one too', () => {
  deleteNetns(path)
  deleteNetns(path)
  assert.equal(existsSync(path), false)
  writeFileSync(path, '')
  assert.equal(isNetns(path), false)
  createNetns(path)
  assert.equal(isNetns(path), true)
  deleteNetns(path)
})
