/** Our side of the scenarios within a process, as entrants like all others: `ours.ts ROLE …`, see the table of roles. */
import { makePipes } from '#native/pipes.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { ThreadLinks } from '#runtime/thread/links.ts'
import { Threads } from '#runtime/thread/threads.ts'
import type { Entrant } from '../contestant.ts'
import { isShape, type Shape } from '../messages.ts'
import { closedLoop, serveOrders } from '../peers/orders.ts'
import { nodeEntrant } from '../peers/program.ts'
import { asker, attemptOf, echo, echoProtocol, makeSystem, recordEcho } from './echo.ts'
import { ringed, ringProtocol, type Ring } from './ring.ts'

const name = 'luge'
const file = 'runtime/ours.ts'

export interface Size {
  readonly outstanding: number
  readonly actors: number
}
const words = ({ outstanding, actors }: Size) => [String(outstanding), String(actors)] as const

/** Asks within one thread; `state` is what the asked actors have, see echo.ts. */
export const localAsk = (size: Size, state: 'count' | 'record' = 'count'): Entrant =>
  nodeEntrant(name, file, 'local', ...words(size), state)
/** Asks from one thread to another. */
export const threadAsk = (shape: Shape, size: Size): Entrant =>
  nodeEntrant(name, file, 'threads', shape, ...words(size))
/** Casts around a ring of actors of one thread. */
export const dispatch = (actors: number): Entrant =>
  nodeEntrant(name, file, 'dispatch', String(actors))
/** Actors that exist and do nothing. */
export const idle: Entrant = nodeEntrant(name, file, 'idle')

const alone = {
  host: 'here',
  thread: 'echo',
  echoes: 'echo',
  toThread: () => null,
  toHost: () => null,
}

async function local(outstanding: number, actors: number, state: string): Promise<never> {
  const system = makeSystem(alone)
  if (state === 'record') system.add(recordEcho, null)
  else system.add(echo, null)
  const ask = asker(system, 'small', { host: 'here', actors })
  return await serveOrders(closedLoop({ shape: 'small', outstanding, actors, ask, attemptOf }))
}

async function threads(shape: Shape, outstanding: number, actors: number): Promise<never> {
  const pipes = makePipes()
  const links = new ThreadLinks({ clock: systemClock, pipes, onBroken: () => process.exit(1) })
  const system = makeSystem({ ...alone, thread: 'main', toThread: (thread) => links.to(thread) })
  links.host = system
  const worker = new Threads({
    entry: new URL('thread.ts', import.meta.url),
    names: ['echo'],
    data: null,
    links,
    pipes,
    log: memoryLog(),
    clock: systemClock,
    onExhausted: () => process.exit(1),
  })
  await worker.start()
  const ask = asker(system, shape, { host: 'here', actors })
  return await serveOrders(closedLoop({ shape, outstanding, actors, ask, attemptOf }))
}

/** Every actor has a message under way; each is passed on as often as all others. */
async function ring(actors: number): Promise<never> {
  const system = makeSystem(alone)
  const next = (id: string) => system.ref(ringProtocol, String((Number(id) + 1) % actors))
  const deps: Ring = { next, done: () => undefined }
  system.add(ringed, deps)
  return await serveOrders(async (operations) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    let under = actors
    deps.done = () => {
      under -= 1
      if (under === 0) resolve()
    }
    const hops = Math.ceil(operations / actors)
    const began = performance.now()
    for (let id = 0; id < actors; id += 1) system.ref(ringProtocol, `${id}`).cast('hop', hops - 1)
    await promise
    const wall_ns = (performance.now() - began) * 1e6
    return { operations: hops * actors, wall_ns, p50_ns: null, p99_ns: null, bytes: null }
  })
}

async function idleActors(): Promise<never> {
  let generation = 0
  return await serveOrders(async (operations) => {
    const system = makeSystem(alone)
    system.add(recordEcho, null)
    generation += 1
    globalThis.gc?.()
    const before = process.memoryUsage()
    const began = performance.now()
    for (let id = 0; id < operations; id += 1) {
      system.ref(echoProtocol, `${generation}.${id}`).cast('numbers', [])
    }
    await systemClock.sleep(1)
    const wall_ns = (performance.now() - began) * 1e6
    globalThis.gc?.()
    const after = process.memoryUsage()
    const held = after.heapUsed + after.external - before.heapUsed - before.external
    const made = system.inspect().length
    if (made !== operations) throw new Error(`${made} actors of ${operations}`)
    return { operations, wall_ns, p50_ns: null, p99_ns: null, bytes: held / operations }
  })
}

const roles: Readonly<Record<string, (...args: readonly string[]) => Promise<never>>> = {
  local: (outstanding, actors, state = '') => local(Number(outstanding), Number(actors), state),
  threads: (shape = '', outstanding, actors) => {
    if (!isShape(shape)) throw new Error(`there is no shape ${shape}`)
    return threads(shape, Number(outstanding), Number(actors))
  },
  dispatch: (actors) => ring(Number(actors)),
  idle: idleActors,
}

if (import.meta.main) {
  const [, , role = '', ...args] = process.argv
  await roles[role]?.(...args)
}
