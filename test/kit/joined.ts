/**
 * Three runtimes in one process, joined by what joins them in earnest: a thread and its main over a pair
 * of rings in shared memory, and main and another host over a link through a socket.
 *
 *   thread (kind `near`) ◄─ rings ─► main (kind `mid`) ◄─ socket ─► host (kind `far`)
 *
 * The thread reaches the host through main, and the host the thread.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChildSpec } from '#runtime/actor/actor.ts'
import { systemClock, type Clock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { ThreadLinks, type WayEnd } from '#runtime/thread/links.ts'
import { makeRing } from '#runtime/thread/ring.ts'
import { Links, type LinkOptions } from '#runtime/wire/links.ts'
import { probe, Probed, probeProtocol } from './probe.ts'
import { until } from './rack.ts'

export const near = probeProtocol('near')
export const mid = probeProtocol('mid')
export const far = probeProtocol('far')

/** One runtime with probes of one kind. */
export function runtime(
  at: { readonly host: string; readonly thread: string; readonly kind: string },
  ways: {
    readonly routes?: Readonly<Record<string, string>>
    readonly toThread?: ThreadLinks
    readonly toHost?: (host: string) => ReturnType<Links['to']>
  } = {},
  options: { readonly child?: Partial<ChildSpec>; readonly clock?: Clock } = {},
) {
  const lines: LogLine[] = []
  const exhausted: string[] = []
  const seen = new Probed()
  const system = new System({
    host: at.host,
    thread: at.thread,
    clock: options.clock ?? systemClock,
    random: systemRandom,
    log: memoryLog(lines),
    routes: ways.routes ?? {},
    toThread: (thread) => ways.toThread?.to(thread) ?? null,
    toHost: (host) => ways.toHost?.(host) ?? null,
    onExhausted: (actor, why) => exhausted.push(`${actor}: ${why}`),
  })
  const child = { thread: at.thread, ...options.child }
  if (child.activation === undefined || child.activation === 'by_id') {
    system.add(probe(at.kind, child), seen)
  }
  return { system, seen, lines, exhausted }
}

const threadLinks = (broken: string[]) =>
  new ThreadLinks({ clock: systemClock, pipes: null, onBroken: (_thread, why) => broken.push(why) })

/** New rings between two sets of thread links. */
export function pair(
  left: { readonly name: string; readonly links: ThreadLinks },
  right: { readonly name: string; readonly links: ThreadLinks },
): { readonly left: WayEnd; readonly right: WayEnd } {
  const [to, back] = [makeRing(), makeRing()]
  const ends = {
    left: { write: to.writer, read: back.reader, bell: right.links.bell },
    right: { write: back.writer, read: to.reader, bell: left.links.bell },
  }
  left.links.connect(right.name, ends.left)
  right.links.connect(left.name, ends.right)
  return ends
}

const linkOf = (host: string, exports: LinkOptions['exports'], serve: () => System): Links =>
  new Links({
    host,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    exports,
    serve,
    security: null,
  })

/** The whole chain, and ways to break it. */
export async function joined(child: Partial<ChildSpec> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'luge-joined-'))
  const broken: string[] = []
  const main = { name: 'main', links: threadLinks(broken) }
  const thread = { name: 'thread', links: threadLinks(broken) }
  pair(main, thread)
  const mainLinks: Links = linkOf('rack-a', [near, mid], () => inMain.system)
  const hostLinks: Links = linkOf('rack-b', [far], () => inHost.system)
  const inThread = runtime(
    { host: 'rack-a', thread: 'thread', kind: 'near' },
    {
      routes: { near: 'thread', mid: 'main' },
      toThread: thread.links,
      toHost: () => thread.links.to('main'),
    },
    { child },
  )
  const inMain = runtime(
    { host: 'rack-a', thread: 'main', kind: 'mid' },
    {
      routes: { near: 'thread', mid: 'main' },
      toThread: main.links,
      toHost: (host) => mainLinks.to(host),
    },
    { child },
  )
  const inHost = runtime(
    { host: 'rack-b', thread: 'main', kind: 'far' },
    { toHost: (host) => hostLinks.to(host) },
    { child },
  )
  main.links.host = inMain.system
  thread.links.host = inThread.system
  const path = join(directory, 'far.sock')
  await hostLinks.listen({ path })
  const relay = await makeRelay(join(directory, 'relay.sock'), path)
  mainLinks.dial('rack-b', () => connect({ path: relay.path }))
  const isUp = () => (mainLinks.to('rack-b') && hostLinks.to('rack-a') ? true : null)
  await until('the link is up', 5_000, isUp)
  return {
    thread: inThread,
    main: inMain,
    host: inHost,
    mainLinks,
    hostLinks,
    broken,
    relay,
    /** Cuts the connection; it is made again when `relay.isOpen`. */
    cutLink: () => {
      relay.cut()
    },
    untilUp: async () => {
      await until('the link is up again', 5_000, isUp)
    },
    /** What main and the others see when the thread dies. */
    killThread: () => {
      main.links.disconnect('thread', 'thread thread ended')
      thread.links.disconnect('main', 'this thread ends')
    },
    reviveThread: () => {
      pair(main, thread)
    },
    close: () => {
      mainLinks.close()
      hostLinks.close()
      main.links.close()
      thread.links.close()
      relay.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** A connection in the middle that can be cut or held up. */
async function makeRelay(path: string, to: string) {
  const open = new Set<Socket>()
  const relay = {
    path,
    isOpen: true,
    cut: () => {
      for (const socket of open) socket.destroy()
      open.clear()
    },
    close: () => {
      relay.isOpen = false
      relay.cut()
      server.close()
    },
  }
  const server = createServer((socket) => {
    if (!relay.isOpen) {
      socket.destroy()
      return
    }
    const other = connect({ path: to })
    for (const end of [socket, other]) {
      open.add(end)
      end.on('error', () => undefined)
    }
    socket.pipe(other).pipe(socket)
    socket.once('close', () => other.destroy())
    other.once('close', () => socket.destroy())
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(path, resolve)
  await promise
  return relay
}
