/** A simulated rack: members of the cluster and sleds, what runs on each, and how they come and go. */
import { isCurrent, sessionName } from '#runtime/cluster/store.ts'
import type { Strategy } from '#runtime/actor/supervisor.ts'
import {
  guard,
  guardProtocol,
  journal,
  ledger,
  ledgerProtocol,
  pillarFor,
  pillarProtocols,
  sink,
  sinkProtocol,
  sleeper,
  sleeperProtocol,
} from './actors.ts'
import { Client } from './client.ts'
import { SimDisk, SimJournal } from './disk.ts'
import { SimNetwork } from './network.ts'
import { Member, shard, shardIds, shardName, shardProtocol, tasks } from './nexus.ts'
import { SimProcess, type ProcessPlan, type SimThread } from './process.ts'
import { SimStore } from './store.ts'
import { Truth } from './truth.ts'
import { HostTime, type World } from './world.ts'

/** Less than what the cluster allows. */
const drift = 0.05
const boot_ms_max = 500
const strategies: readonly Strategy[] = ['one_for_one', 'rest_for_one', 'one_for_all']
const pillars = pillarProtocols.map((made) => ({ id: made.name, behaviour: pillarFor(made) }))

export class SimHost {
  readonly name: string
  readonly time: HostTime
  /** Null for members of the cluster. */
  readonly disk: SimDisk | null
  process: SimProcess | null = null
  member: Member | null = null
  /** How often each pillar has begun in the thread that runs now. */
  begun = new Map<string, number>()
  readonly strategy: Strategy
  readonly #rack: Rack

  constructor(rack: Rack, name: string, isSled: boolean) {
    const { world, truth } = rack
    this.#rack = rack
    this.name = name
    this.time = new HostTime(world, drift)
    this.strategy = strategies[Math.floor(world.random.next() * strategies.length)] ?? 'one_for_one'
    const changed = (key: string, text: string) => {
      if (key.startsWith('ledger/')) truth.keeps(`${name} ${key}`, JSON.parse(text))
    }
    this.disk = isSled ? new SimDisk(world, `${name}/disk`, changed) : null
    this.boot()
  }

  get isUp(): boolean {
    return this.process?.isUp === true
  }

  boot(): void {
    const { world, network } = this.#rack
    world.note(this.name, 'boots')
    const around = { world, network, time: this.time }
    this.process = new SimProcess(this.#plan(), around, () => {
      this.#bootLater()
    })
  }

  /** Its process is killed, or its machine loses its power; it comes back. */
  crash(isSilent: boolean): void {
    if (this.process === null) return
    this.#rack.world.note(this.name, isSilent ? 'loses its power' : 'is killed')
    this.process.life.end(isSilent)
    this.#bootLater()
  }

  #bootLater(): void {
    const { world } = this.#rack
    this.process = null
    this.member = null
    world.after(20 + world.random.next() * boot_ms_max, () => {
      this.boot()
    })
  }

  #plan(): ProcessPlan {
    return this.disk === null ? this.#nexusPlan() : this.#sledPlan(this.disk)
  }

  #sledPlan(disk: SimDisk): ProcessPlan {
    const { truth } = this.#rack
    const deps = { truth, host: this.name }
    const work = {
      ledger: 'work',
      guard: 'work',
      sink: 'work',
      sleeper: 'side',
      journal: 'journal',
    }
    return {
      host: this.name,
      routes: { ...work, ...Object.fromEntries(pillars.map(({ id }) => [id, 'side'])) },
      exports: [ledgerProtocol, guardProtocol, sinkProtocol, sleeperProtocol, ...pillarProtocols],
      dials: this.#rack.nexusNames,
      main: (thread) => {
        this.#rack.employ(thread, 1)
      },
      threads: [
        {
          name: 'journal',
          populate: ({ system, life }) => {
            system.add(journal, { journal: new SimJournal(disk, life), truth }, 'sled')
          },
        },
        {
          name: 'work',
          populate: (thread) => {
            thread.system.add(ledger, deps)
            thread.system.add(guard, deps)
            thread.system.add(sink, deps)
            this.#rack.employ(thread, 1)
          },
        },
        {
          name: 'side',
          populate: ({ system }) => {
            system.add(sleeper, deps)
            this.#raise(system)
          },
        },
      ],
    }
  }

  /** A group of actors that stand and fall together, as its strategy says. */
  #raise(system: SimThread['system']): void {
    const group = system.group({
      name: 'pillars',
      strategy: this.strategy,
      restarts_max: 1,
      restarts_period_ms: 5_000,
    })
    this.begun = new Map()
    for (const { id, behaviour } of pillars) {
      system.add(behaviour, { begun: this.begun, truth: this.#rack.truth }, id, group)
    }
  }

  #nexusPlan(): ProcessPlan {
    const { truth, store, nexusNames, sledNames } = this.#rack
    return {
      host: this.name,
      routes: { shard: 'main' },
      exports: [shardProtocol],
      dials: nexusNames.filter((other) => other < this.name),
      main: (thread) => {
        const connection = store.connect(this.name, thread.life)
        this.member = new Member(thread, truth, connection, sledNames)
        if (this.#rack.isResting) this.member.rest()
        thread.system.add(shard, { member: this.member, truth })
        this.#rack.employ(thread, 1)
      },
      threads: [
        {
          name: 'work',
          populate: (thread) => {
            this.#rack.employ(thread, 2)
          },
        },
      ],
    }
  }
}

export class Rack {
  readonly world: World
  readonly truth: Truth
  readonly network: SimNetwork
  readonly store: SimStore
  readonly nexusNames: readonly string[]
  readonly sledNames: readonly string[]
  readonly hosts: readonly SimHost[]
  /** Clients do nothing new. */
  isResting = false
  #clients = 0

  constructor(world: World) {
    this.world = world
    this.truth = new Truth(world)
    this.network = new SimNetwork(world)
    this.store = new SimStore(world, this.truth)
    const sleds = 2 + Math.floor(world.random.next() * 2)
    this.nexusNames = [1, 2, 3].map((n) => `nexus-${n}`)
    this.sledNames = Array.from({ length: sleds }, (_, n) => `sled-${n + 1}`)
    this.hosts = [
      ...this.nexusNames.map((name) => new SimHost(this, name, false)),
      ...this.sledNames.map((name) => new SimHost(this, name, true)),
    ]
  }

  get isUp(): boolean {
    return this.hosts.every(({ isUp }) => isUp)
  }

  host(name: string): SimHost | null {
    return this.hosts.find((host) => host.name === name) ?? null
  }

  /** Puts clients to work in a thread. */
  employ(thread: SimThread, count: number): void {
    for (let n = 0; n < count; n += 1) {
      this.#clients += 1
      new Client(this, thread, `c${this.#clients}`).begin()
    }
  }

  /** Nothing new is begun, by nobody. */
  rest(): void {
    this.isResting = true
    for (const { member } of this.hosts) member?.rest()
  }

  /** Whatever the store says is held, its holder knows of. */
  checkHolders(): void {
    for (const name of [...tasks, ...shardIds.map(shardName)]) {
      const row = this.store.leases.look(name)
      if (row === null || row.holder === null) continue
      const member = this.host(row.holder.member_id)?.member ?? null
      const isKnown = member?.held().some((lease) => isCurrent(lease, row)) === true
      const holder = sessionName(row.holder)
      this.truth.hold(isKnown, `${name} is held by ${holder}, which does not know it`)
    }
  }

  /** By true time no two members act under one lease. */
  checkLeases(): void {
    const holders = new Map<string, string>()
    for (const { member, name } of this.hosts) {
      for (const lease of member?.held() ?? []) {
        const other = holders.get(lease.name)
        this.truth.hold(other === undefined, `${name} and ${other} both hold ${lease.name}`)
        holders.set(lease.name, name)
      }
    }
  }
}
