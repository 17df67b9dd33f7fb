/**
 * One seed: a rack works while things go wrong; then nothing goes wrong any more, everything comes to
 * rest, and what is left is compared with what must be.
 */
import type { ChannelLoad } from '#runtime/channel/channel.ts'
import { explain } from '#runtime/result.ts'
import { ledgerProtocol } from './actors.ts'
import { Faults } from './faults.ts'
import { shardName, shardProtocol } from './nexus.ts'
import type { SimProcess, SimThread } from './process.ts'
import { Rack } from './rack.ts'
import type { Counts } from './truth.ts'
import { Trace, Violation, World } from './world.ts'

const boot_ms = 2_000
const work_ms = 25_000
/** Longer than silence is borne, sessions are watched, and actors are down. */
const rest_ms = 20_000
const end_ms = 5_500

export interface Outcome {
  readonly seed: number
  /** Of everything that happened, to the byte. */
  readonly hash: string
  /** Null when all held. */
  readonly failure: string | null
  readonly at_ms: number
  readonly steps: number
  readonly counts: Counts
  readonly faults: ReadonlyMap<string, number>
}

/** Runs a seed to its end or to the first thing that does not hold. `print` is given the trace. */
export async function simulate(
  seed: number,
  print: ((line: string) => void) | null = null,
): Promise<Outcome> {
  const trace = new Trace(print)
  const world = new World(seed, trace)
  const rack = new Rack(world)
  const strays = (error: unknown) => {
    world.fail(error instanceof Error ? error : new Error(explain(error)))
  }
  process.on('unhandledRejection', strays)
  process.on('uncaughtException', strays)
  let faults: Faults | null = null
  let failure: string | null = null
  try {
    faults = await live(rack)
  } catch (error) {
    failure = error instanceof Violation ? error.message : explain(error)
    if (!(error instanceof Violation) && error instanceof Error) failure += `\n${error.stack ?? ''}`
    world.note('FAILED', failure)
  } finally {
    process.off('unhandledRejection', strays)
    process.off('uncaughtException', strays)
  }
  return {
    seed,
    hash: trace.digest(),
    failure,
    at_ms: world.now_ms,
    steps: world.steps,
    counts: rack.truth.counts,
    faults: faults?.counts ?? new Map(),
  }
}

async function live(rack: Rack): Promise<Faults> {
  const { world, truth } = rack
  const check = () => {
    rack.checkLeases()
  }
  await world.run(boot_ms, check)
  truth.hold(rack.isUp, 'the rack does not come up')
  const faults = new Faults(rack)
  await world.run(work_ms, check)
  faults.end()
  rack.rest()
  await world.run(rest_ms, check)
  truth.hold(rack.isUp, 'the rack does not come up again')
  checkRest(rack)
  await reckon(rack, check)
  checkRest(rack)
  await finish(rack, check)
  return faults
}

/** Nothing waits for anything. */
function checkRest(rack: Rack): void {
  const { truth, hosts } = rack
  truth.hold(truth.open.length === 0, `calls have not ended: ${truth.open.join('; ')}`)
  const loads = new Map<string, ChannelLoad>()
  for (const { process, member, name } of hosts) {
    if (process === null) continue
    truth.hold(member === null || member.isLive, `${name} is not live`)
    for (const thread of process.threads) {
      checkThread(rack, thread)
      for (const [other, { channel }] of thread.ways) {
        loads.set(`the way from ${thread.title} to ${other}`, channel.inspect())
      }
    }
    for (const peer of process.links.peers) {
      const load = process.links.to(peer)?.inspect()
      if (load !== undefined) loads.set(`the link of ${name} to ${peer}`, load)
    }
  }
  checkLoads(rack, loads)
  for (const host of hosts) {
    const begun = [...host.begun.values()]
    const isInOrder = begun.every((count, index) => count <= (begun[index + 1] ?? count))
    const isEven = new Set(begun).size <= 1
    truth.hold(host.strategy !== 'one_for_all' || isEven, `${host.name}: all did not fall for one`)
    truth.hold(host.strategy !== 'rest_for_one' || isInOrder, `${host.name}: the rest stood`)
  }
  const links = hosts.reduce((sum, { process }) => sum + (process?.plan.dials.length ?? 0), 0)
  const { connections } = rack.network
  truth.hold(connections === links, `${connections} connections stand for ${links} links`)
}

function checkThread({ truth }: Rack, { title, system, life, process }: SimThread): void {
  for (const cell of system.inspect()) {
    const isQuiet = cell.phase === 'idle' && cell.depth === 0
    truth.hold(isQuiet, `${title}: ${cell.name} is ${cell.phase} with ${cell.depth} messages`)
  }
  const waiting = [...system.deadlines.entries()].length
  truth.hold(waiting === 0, `${title}: ${waiting} deadlines wait for calls that ended`)
  // Pings, heartbeats and looks for idle actors go on.
  const timers_max = title.endsWith('/main') ? process.links.peers.length + 6 : 1
  truth.hold(life.waiting <= timers_max, `${title}: ${life.waiting} timers are left`)
}

/** Channels carry nothing but the watches that somebody still has. */
function checkLoads({ truth }: Rack, loads: ReadonlyMap<string, ChannelLoad>): void {
  let [watches, watched] = [0, 0]
  for (const [where, load] of loads) {
    truth.hold(load.calls === 0, `${where}: ${load.calls} calls are pending`)
    truth.hold(load.serving === 0, `${where}: ${load.serving} calls are being served`)
    truth.hold(load.parked === 0, `${where}: ${load.parked} frames are parked`)
    watches += load.watches
    watched += load.watched
  }
  const due = [...truth.watching].reduce((sum, { hops }) => sum + hops, 0)
  truth.hold(watches === due && watched === due, `${watches} and ${watched} watches, not ${due}`)
}

/** Whatever was acknowledged can be read. */
async function reckon(rack: Rack, check: () => void): Promise<void> {
  const { truth, world, hosts, sledNames } = rack
  const asker = hosts.find(({ member }) => member !== null)
  if (asker?.process === null || asker === undefined) throw new Error('no member is there')
  const { main } = asker.process
  const read: string[] = []
  const limit = { timeout_ms: 5_000, rate: asker.time.rate }
  for (const sled of sledNames) {
    for (const id of ['l0', 'l1', 'l2']) {
      const place = `${sled} ledger/${id}`
      void truth
        .follow(main.life, `last read of ${place}`, limit, () =>
          main.system.ref(ledgerProtocol, id, sled).call('read', null, limit),
        )
        .then((answer) => {
          truth.hold(answer.ok, `${place} cannot be read: ${answer.ok ? '' : answer.detail}`)
          if (answer.ok) truth.read(place, truth.expected(place), answer.value)
          read.push(place)
        })
    }
  }
  for (const id of ['s0', 's1', 's2']) {
    const name = shardName(id)
    void truth
      .follow(main.life, `last read of ${name}`, limit, () =>
        main.system.ref(shardProtocol, id).call('read', null, limit),
      )
      .then((answer) => {
        truth.hold(answer.ok, `${name} cannot be read: ${answer.ok ? '' : answer.detail}`)
        if (answer.ok) truth.read(name, truth.expected(name), answer.value)
        read.push(name)
      })
  }
  await world.run(end_ms, check)
  const unread = truth.places.filter((place) => !read.includes(place))
  truth.hold(unread.length === 0, `not read at the end: ${unread.join(', ')}`)
}

/** The sleds stop: everybody who watches is told, once. Then the members stop, and nothing is left. */
async function finish(rack: Rack, check: () => void): Promise<void> {
  const { truth, world, hosts } = rack
  const stopped: SimProcess[] = []
  for (const isSled of [true, false]) {
    for (const host of hosts) {
      const { process } = host
      if (process === null || (host.disk !== null) !== isSled) continue
      stopped.push(process)
      void process.stop()
    }
    await world.run(end_ms, check)
    const watching = [...truth.watching].map(({ what }) => what)
    truth.hold(watching.length === 0, `never told: ${watching.join('; ')}`)
  }
  for (const { life, host } of stopped) truth.hold(life.isOver, `${host} does not stop`)
  const { connections } = rack.network
  truth.hold(connections === 0, `${connections} connections are left`)
}
