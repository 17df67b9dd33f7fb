/** Our side of asks between hosts, as entrants: `hosts.ts server|client OUTSTANDING SECURITY HOSTS …`. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import type { System } from '#runtime/actor/system.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { AuthorityStore } from '#runtime/tls/store.ts'
import { connector, Links, type Security } from '#runtime/wire/links.ts'
import type { Entrant } from '../contestant.ts'
import type { Message } from '../messages.ts'
import { closedLoop, serveNothing, serveOrders } from '../peers/orders.ts'
import { freePort, nodePairEntrant } from '../peers/program.ts'
import { asker, attemptOf, echo, echoProtocol, makeSystem } from './echo.ts'

const actors_per_host = 1000

/**
 * Asks from one process to another over TCP: to one host, or to many that share that process and
 * have a link each. So many asks are outstanding with each host.
 */
export const tcpAsk = (given: {
  readonly outstanding: number
  readonly security: 'plain' | 'tls'
  readonly hosts: number
}): Entrant =>
  nodePairEntrant(
    'luge',
    'runtime/hosts.ts',
    ...[String(given.outstanding), given.security, String(given.hosts)],
  )

/** What the server tells the client: where its hosts are, and where the certificates. */
export interface Where {
  readonly ports: readonly number[]
  readonly directory: string | null
}
const nameOf = (at: number) => `server-${at}`
const namesOf = (count: number) => Array.from({ length: count }, (_, at) => nameOf(at))

/** Certificates of a rack's authority, for the client and every server. */
async function certify(hosts: readonly string[]): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'luge-bench-'))
  process.once('exit', () => {
    rmSync(directory, { recursive: true, force: true })
  })
  const store = await AuthorityStore.open({
    directory: join(directory, 'authority'),
    name: 'bench',
    now_ms: systemClock.now(),
    random: systemRandom,
  })
  if (!store.ok) throw new Error(store.detail)
  for (const host of hosts) {
    const provided = await store.value.provide(host, join(directory, host))
    if (!provided.ok) throw new Error(provided.detail)
  }
  return directory
}

async function securityOf(
  directory: string | null,
  host: string,
  peers: readonly string[],
): Promise<Security | null> {
  if (directory === null) return null
  const files = hostFiles(join(directory, host))
  const identity = await Identity.open({ files, host, clock: systemClock, log: memoryLog() })
  if (!identity.ok) throw new Error(identity.detail)
  return { identity: identity.value, peers }
}

function linked(host: string, security: Security | null, onUp: () => void) {
  const links: Links = new Links({
    host,
    clock: systemClock,
    log: memoryLog(),
    random: systemRandom,
    exports: [echoProtocol],
    serve: () => system,
    security,
    onPeer: onUp,
  })
  const system = makeSystem({
    host,
    thread: 'echo',
    echoes: 'echo',
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  return { links, system }
}

/** Hosts with these names, of which a `client` may ask echoes. */
export async function listenAs(names: readonly string[], security: string): Promise<Where> {
  const directory = security === 'tls' ? await certify(['client', ...names]) : null
  const ports: number[] = []
  for (const name of names) {
    const own = await securityOf(directory, name, ['client'])
    const { links, system } = linked(name, own, () => undefined)
    system.add(echo, null)
    const port = await freePort()
    await links.listen({ host: '127.0.0.1', port })
    ports.push(port)
  }
  return { ports, directory }
}

/** The client's system, once its links to all of them stand. */
export async function reach({ ports, directory }: Where): Promise<System> {
  const names = namesOf(ports.length)
  const isUp = Promise.withResolvers<void>()
  let missing = ports.length
  const own = await securityOf(directory, 'client', names)
  const { links, system } = linked('client', own, () => {
    missing -= 1
    if (missing === 0) isUp.resolve()
  })
  ports.forEach((port, at) => {
    links.dial(nameOf(at), connector({ host: '127.0.0.1', port }))
  })
  await isUp.promise
  return system
}

async function client(outstanding: number, where: Where): Promise<never> {
  const { ports } = where
  const names = namesOf(ports.length)
  const system = await reach(where)
  const asks = names.map((host) => asker(system, 'small', { host, actors: actors_per_host }))
  // Neighbours are on different hosts, so that every host always has its share.
  const ask = (actor: number, message: Message<'small'>) => {
    const of = asks[actor % asks.length]
    if (of === undefined) throw new Error(`there is no actor ${actor}`)
    return of(Math.floor(actor / asks.length), message)
  }
  return await serveOrders(
    closedLoop({
      shape: 'small',
      outstanding: outstanding * ports.length,
      actors: actors_per_host * ports.length,
      ask,
      attemptOf,
    }),
  )
}

if (import.meta.main) {
  const [, , role, outstanding, security = '', hosts, where = ''] = process.argv
  if (role === 'server') {
    const listening = await listenAs(namesOf(Number(hosts)), security)
    await serveOrders(serveNothing, JSON.stringify(listening))
  }
  await client(Number(outstanding), JSON.parse(where) as Where)
}
