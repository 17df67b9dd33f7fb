/**
 * A simulated process: threads with a system each, a ring in each direction between any two, links to
 * other hosts at the main one. It does with them what `Threads`, `ThreadLinks` and the entry
 * points do, in the same order and with time in between.
 */
import { Channel } from '#runtime/channel/channel.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Protocol } from '#runtime/actor/protocol.ts'
import type { Random } from '#runtime/random.ts'
import { System } from '#runtime/actor/system.ts'
import { Links } from '#runtime/wire/links.ts'
import { simClock } from './clock.ts'
import { FrameWatch } from './frames.ts'
import { SimHomes } from './homes.ts'
import type { SimNetwork } from './network.ts'
import { calm, SimRing, type Trouble } from './ring.ts'
import { Life, Violation, type HostTime, type World } from './world.ts'

const deaths_max = 5
const deaths_period_ms = 60_000
/** What it takes to load a thread, and to hand something over between two. */
const load_ms_max = 10
const step_ms_max = 1

export interface ThreadPlan {
  readonly name: string
  /** Registers its actors. */
  readonly populate: (thread: SimThread) => void
}
export interface ProcessPlan {
  readonly host: string
  readonly threads: readonly ThreadPlan[]
  readonly main: (thread: SimThread) => void
  readonly routes: Readonly<Record<string, string>>
  readonly exports: readonly Protocol[]
  readonly dials: readonly string[]
}
export interface Surroundings {
  readonly world: World
  readonly network: SimNetwork
  readonly time: HostTime
}

interface Way {
  readonly channel: Channel
  readonly close: (why: string) => void
}

export class SimThread {
  readonly name: string
  readonly life: Life
  readonly clock: Clock
  readonly random: Random
  readonly system: System
  /** Where virtual actors live; of use at the main thread of a member. */
  readonly homes: SimHomes
  readonly process: SimProcess
  readonly ways = new Map<string, Way>()

  constructor(process: SimProcess, name: string) {
    const { world, time } = process.around
    this.process = process
    this.name = name
    this.life = new Life(world, process.life)
    this.random = world.fork()
    this.clock = simClock(this.life, time, world.fork())
    this.homes = new SimHomes(process.host)
    this.system = new System({
      host: process.host,
      thread: name,
      clock: this.clock,
      random: this.random,
      log: traceLog(world, this.title),
      routes: process.plan.routes,
      toThread: (other) => this.ways.get(other)?.channel ?? null,
      toHost: (host) =>
        name === 'main' ? process.links.to(host) : (this.ways.get('main')?.channel ?? null),
      homes: this.homes,
      onExhausted: (actor, _why, rests) => {
        world.note(this.title, `${actor} ${rests ? 'rests' : 'is given up'}`)
        if (!rests) process.exhausted(this, actor)
      },
    })
  }

  get title(): string {
    return `${this.process.host}/${this.name}`
  }

  disconnect(other: string, why: string): void {
    this.ways.get(other)?.close(why)
    this.ways.delete(other)
  }
}

export class SimProcess {
  readonly plan: ProcessPlan
  readonly around: Surroundings
  readonly life: Life
  readonly main: SimThread
  readonly links: Links
  readonly troubles = new Map<string, Trouble>()
  readonly #running = new Map<string, SimThread>()
  readonly #deaths = new Map<string, number[]>()
  readonly #random: Random
  readonly #onExit: (why: string) => void
  #isUp = false

  /** `onExit`: it ended by its own decision. */
  constructor(plan: ProcessPlan, around: Surroundings, onExit: (why: string) => void) {
    this.plan = plan
    this.around = around
    this.#onExit = onExit
    this.life = new Life(around.world)
    this.#random = around.world.fork()
    this.main = new SimThread(this, 'main')
    this.links = new Links({
      host: plan.host,
      clock: this.main.clock,
      random: around.world.fork(),
      log: this.#linkLog(traceLog(around.world, this.main.title)),
      exports: plan.exports,
      serve: () => this.main.system,
      security: null,
    })
    void this.#start()
  }

  get host(): string {
    return this.plan.host
  }
  /** All threads and links stand. */
  get isUp(): boolean {
    return (
      this.#isUp &&
      this.#running.size === this.plan.threads.length &&
      this.plan.dials.every((host) => this.links.to(host) !== null)
    )
  }
  get threads(): readonly SimThread[] {
    return [this.main, ...this.#running.values()]
  }
  thread(name: string): SimThread | null {
    return name === 'main' ? this.main : (this.#running.get(name) ?? null)
  }

  /** One of its threads dies. */
  crash(name: string): void {
    const thread = this.#running.get(name)
    if (thread === undefined) return
    this.around.world.note(thread.title, 'dies')
    thread.life.end()
    this.main.life.after(this.#random.next() * load_ms_max, () => {
      this.#onDeath(thread)
    })
  }

  /** An actor's supervisors gave up: its thread ends, and begins anew. */
  exhausted(thread: SimThread, actor: string): void {
    // Not in the middle of the actor's own fall.
    thread.life.after(0, () => {
      if (thread === this.main) this.#exit(`${actor} gave up`)
      else this.crash(thread.name)
    })
  }

  /** Ends everything in order. */
  async stop(): Promise<void> {
    this.links.close()
    await this.main.system.stop()
    for (const thread of [...this.#running.values()].toReversed()) {
      await thread.system.stop()
      for (const other of thread.ways.keys()) thread.disconnect(other, 'this thread stops')
      thread.life.end()
      this.main.disconnect(thread.name, `thread ${thread.name} ended`)
    }
    this.life.end()
  }

  async #start(): Promise<void> {
    for (const { name } of this.plan.threads) await this.#begin(name)
    this.plan.main(this.main)
    const { network } = this.around
    network.listen(this.host, this.life, (socket) => {
      this.links.accept(socket, null)
    })
    for (const host of this.plan.dials) {
      this.links.dial(host, () => network.connect(this.host, host, this.life))
    }
    this.#isUp = true
  }

  async #begin(name: string): Promise<void> {
    await this.#pause(load_ms_max)
    const thread = new SimThread(this, name)
    await this.#pair(thread, this.main)
    for (const other of this.#running.values()) {
      if (other.name !== name) await this.#pair(thread, other)
    }
    this.#running.set(name, thread)
    this.plan.threads.find((plan) => plan.name === name)?.populate(thread)
  }

  /** New memory between two threads; each hears of it in its own time. */
  async #pair(one: SimThread, other: SimThread): Promise<void> {
    const key = [one.name, other.name].toSorted().join('-')
    const trouble = this.troubles.get(key) ?? calm()
    this.troubles.set(key, trouble)
    const { world } = this.around
    const name = `${this.host}/${one.name}=${other.name}`
    const watch = new FrameWatch(name, (violation) => {
      world.fail(violation)
    })
    const parts = { random: this.#random, watch, trouble }
    const there = new SimRing({ ...parts, name: `${name}>`, writer: one.life, end: 0 })
    const back = new SimRing({ ...parts, name: `${name}<`, writer: other.life, end: 1 })
    this.#connect(one, other.name, there, back)
    await this.#pause(step_ms_max)
    if (!other.life.isOver) this.#connect(other, one.name, back, there)
    await this.#pause(step_ms_max)
  }

  #connect(thread: SimThread, other: string, out: SimRing, into: SimRing): void {
    thread.disconnect(other, `thread ${other} was started again`)
    const channel = new Channel({
      host: thread.system,
      outlet: out,
      guard: null,
      objection: null,
    })
    const close = (why: string) => {
      into.read(null)
      out.close()
      channel.close('crashed', why)
      const left = Object.entries(channel.inspect()).filter(([, count]) => count > 0)
      if (left.length === 0) return
      const { world } = this.around
      world.fail(
        new Violation(`${thread.title}: a closed way to ${other} still has ${left.join()}`),
      )
    }
    thread.ways.set(other, { channel, close })
    into.read({
      life: thread.life,
      take: (cursor) => {
        channel.receive(cursor)
      },
      broken: (error) => {
        close(`the memory shared with thread ${other} is broken: ${error.message}`)
        this.main.life.after(this.#random.next() * step_ms_max, () => {
          void this.#reconnect(thread.name, other)
        })
      },
    })
  }

  async #reconnect(name: string, other: string): Promise<void> {
    const [one, two] = [this.thread(name), this.thread(other)]
    if (one === null || two === null || one.life.isOver || two.life.isOver) return
    await this.#pair(one, two)
  }

  /** A link breaks the protocol where frames were lost, doubled or moved, and nowhere else. */
  #linkLog(log: Log): Log {
    const { world, network } = this.around
    return {
      ...log,
      warn: (message, fields) => {
        log.warn(message, fields)
        const peer = fields?.['peer']
        if (message !== 'a peer broke the protocol' || typeof peer !== 'string') return
        if (!network.isFaithful(peer, this.host)) return
        world.fail(new Violation(`${this.host} to ${peer}: ${String(fields?.['why'])}`))
      },
    }
  }

  #onDeath(thread: SimThread): void {
    const { name } = thread
    if (this.#running.get(name) !== thread) return
    this.#running.delete(name)
    this.main.disconnect(name, `thread ${name} ended`)
    const now = this.main.clock.monotonic()
    const recent = (this.#deaths.get(name) ?? []).filter((at) => at > now - deaths_period_ms)
    this.#deaths.set(name, [...recent, now])
    if (recent.length >= deaths_max) this.#exit(`thread ${name} died too often`)
    else void this.#begin(name)
  }

  #exit(why: string): void {
    this.around.world.note(this.host, `exits: ${why}`)
    this.life.end()
    this.#onExit(why)
  }

  #pause(ms_max: number): Promise<void> {
    return new Promise((resolve) => {
      this.main.life.after(this.#random.next() * ms_max, resolve)
    })
  }
}

/** Logs are part of the trace: a sentence, and why. */
function traceLog(world: World, who: string): Log {
  const add =
    (level: string): Log['info'] =>
    (message, fields) => {
      const why = fields?.['why'] ?? fields?.['detail'] ?? ''
      world.note(who, `${level}: ${message} ${JSON.stringify(why)}`)
    }
  return {
    debug: add('debug'),
    info: add('info'),
    warn: add('warn'),
    error: add('error'),
    child: (fields) => traceLog(world, `${who} ${JSON.stringify(fields['actor'] ?? '')}`),
  }
}
