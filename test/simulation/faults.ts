/** What goes wrong in a simulated rack: a seed chooses which of these happen in its run, and when. */
import type { Random } from '#runtime/random.ts'
import { calmDisk } from './disk.ts'
import type { Rack, SimHost } from './rack.ts'
import { calmStore } from './store.ts'

type Fault = (faults: Faults) => void

export class Faults {
  /** How often each kind happened. */
  readonly counts = new Map<string, number>()
  readonly rack: Rack
  readonly random: Random
  readonly #kinds: readonly string[]
  readonly #pause_ms_max: number
  #isOver = false

  constructor(rack: Rack) {
    this.rack = rack
    this.random = rack.world.fork()
    // A few kinds at a time reach corners that all at once would hide.
    const share = 0.15 + 0.6 * this.random.next()
    this.#kinds = Object.keys(kinds).filter(() => this.random.next() < share)
    this.#pause_ms_max = 300 + this.random.next() * 4_000
    this.#next()
  }

  below(count: number): number {
    return Math.floor(this.random.next() * count)
  }
  ms(max: number): number {
    return this.random.next() ** 2 * max
  }
  one<T>(all: readonly T[]): T {
    const found = all[this.below(all.length)]
    if (found === undefined) throw new Error('there is nothing to choose from')
    return found
  }
  later(ms_max: number, mend: () => void): void {
    this.rack.world.after(this.ms(ms_max), mend)
  }
  /** Two hosts that have a link: the one that accepts, and a sled or a member that dials. */
  pair(): readonly [SimHost, SimHost] {
    const { hosts, nexusNames } = this.rack
    const one = hosts[this.below(nexusNames.length)]
    const other = this.one(hosts.filter((host) => host !== one))
    if (one === undefined) throw new Error('there is no member')
    return [one, other]
  }

  /** No more faults, and what they have left is mended. */
  end(): void {
    const { network, store, hosts } = this.rack
    this.#isOver = true
    this.rack.world.note('faults', 'end')
    network.mend()
    Object.assign(store.trouble, calmStore())
    store.cut.clear()
    for (const { disk, process } of hosts) {
      if (disk !== null) Object.assign(disk.trouble, calmDisk())
      for (const trouble of process?.troubles.values() ?? []) {
        Object.assign(trouble, { frames_share: 0, isFull: false })
      }
    }
  }

  #next(): void {
    const pause_ms = this.random.next() * this.#pause_ms_max
    this.rack.world.after(pause_ms, () => {
      if (this.#isOver || this.#kinds.length === 0) return
      const kind = this.one(this.#kinds)
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
      this.rack.world.note('faults', kind)
      kinds[kind]?.(this)
      this.#next()
    })
  }
}

const kinds: Readonly<Record<string, Fault>> = {
  partition: (faults) => {
    const [one, other] = faults.pair()
    const isBoth = faults.below(2) === 0
    const [from, to] = faults.below(2) === 0 ? [one.name, other.name] : [other.name, one.name]
    faults.rack.network.change(from, to, isBoth, { isCut: true })
    faults.later(12_000, () => {
      faults.rack.network.change(from, to, isBoth, { isCut: false })
    })
  },
  isolation: (faults) => {
    const host = faults.one(faults.rack.hosts)
    const set = (isCut: boolean) => {
      for (const { name } of faults.rack.hosts) {
        faults.rack.network.change(host.name, name, true, { isCut })
      }
    }
    set(true)
    faults.later(10_000, () => {
      set(false)
    })
  },
  slow_link: (faults) => {
    const [one, other] = faults.pair()
    faults.rack.network.change(one.name, other.name, true, { delay_ms_max: 20 + faults.ms(2_000) })
    faults.later(8_000, () => {
      faults.rack.network.change(one.name, other.name, true, { delay_ms_max: 3 })
    })
  },
  full_link: (faults) => {
    const [one, other] = faults.pair()
    const [from, to] = faults.below(2) === 0 ? [one.name, other.name] : [other.name, one.name]
    faults.rack.network.change(from, to, false, { isFull: true })
    faults.later(4_000, () => {
      faults.rack.network.change(from, to, false, { isFull: false })
    })
  },
  link_frames: (faults) => {
    const [one, other] = faults.pair()
    const frames_share = 0.01 + 0.2 * faults.random.next()
    faults.rack.network.change(one.name, other.name, true, { frames_share })
    faults.later(6_000, () => {
      faults.rack.network.change(one.name, other.name, true, { frames_share: 0 })
    })
  },
  reset: (faults) => {
    const [one, other] = faults.pair()
    faults.rack.network.reset(one.name, other.name)
    faults.rack.network.reset(other.name, one.name)
  },
  ring_frames: (faults) => {
    const { process } = faults.one(faults.rack.hosts)
    const troubles = [...(process?.troubles.values() ?? [])]
    if (troubles.length === 0) return
    const trouble = faults.one(troubles)
    trouble.frames_share = 0.01 + 0.1 * faults.random.next()
    faults.later(2_000, () => {
      trouble.frames_share = 0
    })
  },
  full_ring: (faults) => {
    const { process } = faults.one(faults.rack.hosts)
    const troubles = [...(process?.troubles.values() ?? [])]
    if (troubles.length === 0) return
    const trouble = faults.one(troubles)
    trouble.isFull = true
    faults.later(2_000, () => {
      trouble.isFull = false
    })
  },
  thread: (faults) => {
    const { process } = faults.one(faults.rack.hosts)
    if (process !== null) process.crash(faults.one(process.plan.threads).name)
  },
  kill: (faults) => {
    faults.one(faults.rack.hosts).crash(false)
  },
  power: (faults) => {
    faults.one(faults.rack.hosts).crash(true)
  },
  slow_disk: (faults) => {
    const disk = faults.one(faults.rack.hosts).disk
    if (disk === null) return
    disk.trouble.sync_ms_max = 50 + faults.ms(4_000)
    faults.later(5_000, () => {
      disk.trouble.sync_ms_max = calmDisk().sync_ms_max
    })
  },
  failing_disk: (faults) => {
    const disk = faults.one(faults.rack.hosts).disk
    if (disk === null) return
    disk.trouble.failing_share = faults.random.next()
    faults.later(3_000, () => {
      disk.trouble.failing_share = 0
    })
  },
  wall_clock: (faults) => {
    const { time } = faults.one(faults.rack.hosts)
    time.jumped_ms += (faults.random.next() - 0.5) * 1e9
  },
  stop: (faults) => {
    const { process } = faults.one(faults.rack.hosts)
    process?.life.stop(faults.ms(12_000))
  },
  stop_thread: (faults) => {
    const { process } = faults.one(faults.rack.hosts)
    if (process !== null) faults.one(process.threads).life.stop(faults.ms(3_000))
  },
  store: (faults) => {
    const { store } = faults.rack
    const isRough = faults.below(2) === 0
    Object.assign(store.trouble, {
      delay_ms_max: faults.ms(1_500),
      lost_share: isRough ? 0.3 * faults.random.next() : 1,
      late_share: isRough ? 0.2 : 0,
    })
    faults.later(6_000, () => {
      Object.assign(store.trouble, calmStore())
    })
  },
  store_cut: (faults) => {
    const { store } = faults.rack
    const { name } = faults.one(faults.rack.hosts)
    store.cut.add(name)
    faults.later(20_000, () => {
      store.cut.delete(name)
    })
  },
}
/** Every kind of fault there is. */
export const faultNames: readonly string[] = Object.keys(kinds)
