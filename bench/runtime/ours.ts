/**
 * Our side of the scenarios, as entrants like all others: `ours.ts local OUTSTANDING ACTORS`,
 * `ours.ts server`, and `ours.ts client OUTSTANDING ACTORS PORT`.
 */
import { Type } from 'typebox'
import { behaviour } from '#runtime/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { call, protocol } from '#runtime/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/system.ts'
import { connector, Links } from '#runtime/wire/link.ts'
import type { Entrant } from '../contestant.ts'
import type { Message } from '../messages.ts'
import { closedLoop, serveNothing, serveOrders, type Work } from '../peers/orders.ts'
import { freePort, nodeEntrant, nodePairEntrant } from '../peers/program.ts'

const name = 'luge'

export interface Size {
  readonly outstanding: number
  readonly actors: number
}
const words = ({ outstanding, actors }: Size) => [String(outstanding), String(actors)] as const

/** Asks within one thread. */
export const localAsk = (size: Size): Entrant =>
  nodeEntrant(name, 'runtime/ours.ts', 'local', ...words(size))

/** Asks from one process to another over one TCP link. */
export const tcpAsk = (size: Size): Entrant =>
  nodePairEntrant(name, 'runtime/ours.ts', ...words(size))

const message = Type.Object({
  kind: Type.String(),
  id: Type.String(),
  size: Type.Integer(),
  name: Type.String(),
  attempt: Type.Integer(),
})
const echoProtocol = protocol('echo', 1, {
  echo: call(1, { request: message, reply: message, errors: [], idempotent: true }),
})
const echo = behaviour({
  protocol: echoProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 4096,
    thread: 'main',
    activation: 'by_id',
  },
  init: () => ({ asked: 0 }),
  invariant: () => undefined,
  handlers: {
    echo: (_context, { asked }, request) => ({ state: { asked: asked + 1 }, result: ok(request) }),
  },
})
const options = { timeout_ms: 10_000 }

function makeSystem(host: string, toHost: (host: string) => ReturnType<Links['to']>): System {
  return new System({
    host,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    routes: {},
    toThread: () => null,
    toHost,
  })
}

function linked(host: string, onUp: () => void) {
  const links: Links = new Links({
    host,
    clock: systemClock,
    log: memoryLog(),
    exports: [echoProtocol],
    serve: () => system,
    security: null,
    onPeer: onUp,
  })
  const system: System = makeSystem(host, (peer) => links.to(peer))
  return { links, system }
}

/** Asks the actors of a host; a refused or failed call ends the program. */
function asks(system: System, host: string, { outstanding, actors }: Size): Work {
  const refs = Array.from({ length: actors }, (_, id) => system.ref(echoProtocol, `${id}`, host))
  const ask = async (actor: number, request: Message<'small'>) => {
    const answer = await refs[actor]?.call('echo', request, options)
    if (answer?.ok !== true) throw new Error(answer?.detail ?? `there is no actor ${actor}`)
    return answer.value
  }
  return closedLoop({ shape: 'small', outstanding, actors, ask })
}

async function local(size: Size): Promise<never> {
  const system = makeSystem('here', () => null)
  system.add(echo, null)
  return await serveOrders(asks(system, 'here', size))
}

async function server(): Promise<never> {
  const { links, system } = linked('server', () => undefined)
  system.add(echo, null)
  const port = await freePort()
  await links.listen({ host: '127.0.0.1', port })
  return await serveOrders(serveNothing, String(port))
}

async function client(size: Size, port: number): Promise<never> {
  const isUp = Promise.withResolvers<void>()
  const { links, system } = linked('client', () => {
    isUp.resolve()
  })
  links.dial('server', connector({ host: '127.0.0.1', port }))
  await isUp.promise
  return await serveOrders(asks(system, 'server', size))
}

if (import.meta.main) {
  const [, , role, outstanding, actors, port] = process.argv
  const size = { outstanding: Number(outstanding), actors: Number(actors) }
  if (role === 'local') await local(size)
  else if (role === 'server') await server()
  else await client(size, Number(port))
}
