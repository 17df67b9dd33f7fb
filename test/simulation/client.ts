/**
 * Those who want something of the rack: they call actors near and far, try again where that is allowed,
 * give up, watch, and remember what was acknowledged.
 */
import type { Ref } from '#runtime/actor/actor.ts'
import { isDeliveryFailure, type Protocol } from '#runtime/actor/protocol.ts'
import { ledgerProtocol, pillarProtocols, sinkProtocol, sleeperProtocol } from './actors.ts'
import { shardIds, shardName, shardProtocol } from './nexus.ts'
import type { SimThread } from './process.ts'
import type { Rack } from './rack.ts'
import type { Watching } from './truth.ts'

const pause_ms_max = 400
const tries_max = 4
const ledgers = 3
/** Now and then one that needs memory of its own on the way. */
const blob_bytes = [10, 100, 3_000, 60_000]

export class Client {
  readonly #rack: Rack
  readonly #thread: SimThread
  readonly #name: string
  #operations = 0
  #notes = 0
  readonly #watching: Watching[] = []

  constructor(rack: Rack, thread: SimThread, name: string) {
    this.#rack = rack
    this.#thread = thread
    this.#name = name
  }

  get #isSled(): boolean {
    return this.#rack.sledNames.includes(this.#thread.process.host)
  }

  begin(): void {
    void this.#live()
  }

  async #live(): Promise<void> {
    const { clock, random } = this.#thread
    while (!this.#rack.isResting) {
      await this.#one()
      await clock.sleep(random.next() * pause_ms_max)
    }
  }

  async #one(): Promise<void> {
    const chance = this.#below(100)
    if (chance < 30) await this.#change('add', tries_max)
    else if (chance < 45) await this.#change('bump', 1)
    else if (chance < 55) await this.#read()
    else if (chance < 65) await this.#shard()
    else if (chance < 75) this.#note()
    else if (chance < 83) await this.#sleep()
    else if (chance < 89) this.#watch()
    else if (chance < 94) await this.#echo()
    else if (chance < 95) await this.#flood()
    else await this.#hurt()
  }

  /** Adds to a ledger. Only what may be done twice is sent again. */
  async #change(kind: 'add' | 'bump', tries: number): Promise<void> {
    const { sled, id } = this.#ledger()
    const op = this.#operation()
    for (let turn = 0; turn < tries; turn += 1) {
      const timeout_ms = 200 + this.#below(2_000)
      const answer = await this.#call(`ledger ${kind} ${op} at ${sled}`, timeout_ms, () =>
        this.#ref(ledgerProtocol, id, sled).call(kind, { op }, { timeout_ms }),
      )
      if (answer.ok) {
        this.#rack.truth.hold(answer.value.op === op, `the answer to ${op} is another one's`)
        this.#rack.truth.acknowledge(place(sled, id), op)
        return
      }
      if (!isDeliveryFailure(answer.error)) return
      await this.#thread.clock.sleep(this.#below(500))
    }
  }

  async #read(): Promise<void> {
    const { sled, id } = this.#ledger()
    const expected = this.#rack.truth.expected(place(sled, id))
    const answer = await this.#call(`ledger read at ${sled}`, 1_000, () =>
      this.#ref(ledgerProtocol, id, sled).call('read', null, { timeout_ms: 1_000 }),
    )
    if (answer.ok) this.#rack.truth.read(place(sled, id), expected, answer.value)
  }

  /** Adds to a list that one member of the cluster keeps. */
  async #shard(): Promise<void> {
    const id = shardIds[this.#below(shardIds.length)] ?? ''
    // Members know where it belongs; a sled asks any, and may be wrong.
    const host = this.#isSled ? (this.#rack.nexusNames[this.#below(3)] ?? '') : null
    const ref = this.#thread.system.ref(shardProtocol, id, host)
    const op = this.#operation()
    const timeout_ms = 1_500
    const expected = this.#rack.truth.expected(shardName(id))
    const answer = await this.#call(`shard add ${op}`, timeout_ms, () =>
      ref.call('add', { op }, { timeout_ms }),
    )
    if (answer.ok) this.#rack.truth.acknowledge(shardName(id), answer.value.op)
    const read = await this.#call('shard read', timeout_ms, () =>
      ref.call('read', null, { timeout_ms }),
    )
    if (read.ok) this.#rack.truth.read(shardName(id), expected, read.value)
  }

  #note(): void {
    const { sled, id } = this.#ledger()
    const ref = this.#ref(sinkProtocol, id, sled)
    for (let count = 1 + this.#below(5); count > 0; count -= 1) {
      this.#notes += 1
      ref.cast('note', { from: this.#name, n: this.#notes })
    }
  }

  /** Waits for something that takes long; sometimes gives up before its deadline. */
  async #sleep(): Promise<void> {
    const sled = this.#sled()
    const op = this.#operation()
    const timeout_ms = 50 + this.#below(2_000)
    // Whoever does not hear that nobody waits sleeps for longer than the run takes.
    const ms = this.#below(3) === 0 ? 1e7 : this.#below(500)
    const abort = new AbortController()
    if (this.#below(3) === 0) {
      this.#thread.clock.after(this.#below(timeout_ms), () => {
        abort.abort()
      })
    }
    const options = { timeout_ms, signal: abort.signal }
    const answer = await this.#call(`sleeper sleep ${op} at ${sled}`, timeout_ms, () =>
      this.#ref(sleeperProtocol, `p${this.#below(3)}`, sled).call('sleep', { op, ms }, options),
    )
    if (answer.ok) this.#rack.truth.hold(answer.value.op === op, `${op} was answered to another`)
  }

  #watch(): void {
    const { truth } = this.#rack
    const old = this.#watching.shift()
    if (old !== undefined && this.#below(2) === 0) old.takeBack()
    const sled = this.#sled()
    const isLedger = this.#below(2) === 0
    const ref: Ref<Protocol> = isLedger
      ? this.#ref(ledgerProtocol, `l${this.#below(ledgers)}`, sled)
      : this.#ref(sleeperProtocol, `p${this.#below(3)}`, sled)
    const what = `${this.#thread.title} ${this.#name} watches ${sled}`
    const { system, life } = this.#thread
    const about = { what, hops: this.#hops(isLedger ? 'work' : 'side') }
    this.#watching.push(truth.watch(life, about, (watcher) => system.monitor(ref, watcher)))
  }

  /** How many channels lead to a thread of a sled: to our main thread, to that host, to its thread. */
  #hops(thread: string): number {
    const { name } = this.#thread
    if (this.#isSled) return Number(name !== thread)
    return name === 'main' ? 2 : 3
  }

  async #echo(): Promise<void> {
    const { sled, id } = this.#ledger()
    const op = this.#operation().padEnd(blob_bytes[this.#below(blob_bytes.length)] ?? 0, '.')
    const answer = await this.#call(`ledger echo at ${sled}`, 2_000, () =>
      this.#ref(ledgerProtocol, id, sled).call('echo', { op }, { timeout_ms: 2_000 }),
    )
    if (answer.ok) this.#rack.truth.hold(answer.value.op === op, `${op} came back changed`)
  }

  /** More at once than fits into a mailbox. */
  async #flood(): Promise<void> {
    const { sled, id } = this.#ledger()
    const ref = this.#ref(ledgerProtocol, id, sled)
    const timeout_ms = 500
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const op = this.#operation().padEnd(this.#below(2_000), '.')
        const answer = await this.#call(`ledger echo at ${sled}`, timeout_ms, () =>
          ref.call('echo', { op }, { timeout_ms }),
        )
        if (answer.ok) this.#rack.truth.hold(answer.value.op === op, `${op} came back changed`)
      }),
    )
  }

  async #hurt(): Promise<void> {
    const sled = this.#sled()
    const pillar = pillarProtocols[this.#below(pillarProtocols.length)]
    const timeout_ms = 1_000
    if (pillar !== undefined && this.#below(3) === 0) {
      await this.#call(`${pillar.name} hold at ${sled}`, timeout_ms, () =>
        this.#ref(pillar, pillar.name, sled).call('hold', this.#below(1_500), { timeout_ms }),
      )
    } else if (pillar !== undefined && this.#below(2) === 0) {
      await this.#call(`${pillar.name} crash at ${sled}`, timeout_ms, () =>
        this.#ref(pillar, pillar.name, sled).call('crash', null, { timeout_ms }),
      )
    } else if (this.#below(2) === 0) {
      await this.#call(`ledger crash at ${sled}`, timeout_ms, () =>
        this.#ref(ledgerProtocol, `l${this.#below(ledgers)}`, sled).call('crash', null, {
          timeout_ms,
        }),
      )
    } else {
      await this.#call(`sleeper wake at ${sled}`, timeout_ms, () =>
        this.#ref(sleeperProtocol, `p${this.#below(3)}`, sled).call('wake', null, { timeout_ms }),
      )
    }
  }

  #call<T extends { readonly ok: boolean; readonly error?: string }>(
    what: string,
    timeout_ms: number,
    call: () => Promise<T>,
  ): Promise<T> {
    const { life, title, process } = this.#thread
    const limit = { timeout_ms, rate: process.around.time.rate }
    return this.#rack.truth.follow(life, `${title} ${this.#name} ${what}`, limit, call)
  }

  #ref<P extends Protocol>(protocol: P, id: string, host: string): Ref<P> {
    return this.#thread.system.ref(protocol, id, host)
  }
  #ledger() {
    return { sled: this.#sled(), id: `l${this.#below(ledgers)}` }
  }
  /** A sled; on a sled that one. */
  #sled(): string {
    // Sleds have no links to each other.
    if (this.#isSled) return this.#thread.process.host
    const { sledNames } = this.#rack
    return sledNames[this.#below(sledNames.length)] ?? ''
  }
  #operation(): string {
    this.#operations += 1
    return `${this.#name}.${this.#operations}`
  }
  #below(count: number): number {
    return Math.floor(this.#thread.random.next() * count)
  }
}

const place = (sled: string, id: string): string => `${sled} ledger/${id}`
