/**
 * Connections between hosts. As TCP does, a connection delivers its bytes in order or not at all: a cut holds
 * them back until it is mended, a host that lost its power answers nothing. What TCP would not do (lose,
 * double or move whole frames) is a fault of its own, for the channel to find out.
 */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { crc32 } from 'node:zlib'
import { limits } from '#config/limits.ts'
import type { Random } from '#runtime/random.ts'
import { frameLength } from '#runtime/wire/frame.ts'
import { FrameWatch, kindNames, type End } from './frames.ts'
import { calm, damage, type Trouble } from './ring.ts'
import type { Life, World } from './world.ts'

/** The way from one host to another, in one direction. */
interface Way extends Trouble {
  isCut: boolean
  /** Frames were lost, doubled or moved here at some time. */
  isDamaged: boolean
  delay_ms_max: number
  readonly connections: Set<Direction>
}
const usual_delay_ms_max = 3

export class SimNetwork {
  readonly #world: World
  readonly #random: Random
  readonly #ways = new Map<string, Way>()
  readonly #listening = new Map<string, { readonly life: Life; accept: (socket: Socket) => void }>()
  #opened = 0

  constructor(world: World) {
    this.#world = world
    this.#random = world.fork()
  }

  /** Connections that stand, as far as at least one end knows. */
  get connections(): number {
    return [...this.#ways.values()].reduce((sum, { connections }) => sum + connections.size, 0) / 2
  }

  listen(host: string, life: Life, accept: (socket: Socket) => void): void {
    this.#listening.set(host, { life, accept })
  }

  /** Opens a connection; the other end hears of it when it gets there. */
  connect(from: string, to: string, life: Life): Socket {
    this.#opened += 1
    const name = `${from}=${to}.${this.#opened}`
    const watch = new FrameWatch(name, (violation) => {
      this.#world.fail(violation)
    })
    const parts = { world: this.#world, random: this.#random, watch, name }
    const there = new Direction({ ...parts, way: this.#way(from, to), end: 0 })
    const back = new Direction({ ...parts, way: this.#way(to, from), end: 1 })
    const socket = new SimSocket(life, there, back)
    back.to = socket
    there.arrive(() => {
      const listener = this.#listening.get(to)
      if (listener === undefined || listener.life.isOver) {
        back.arrive(() => {
          socket.destroy(new Error(`nobody listens at ${to}`))
        })
        return
      }
      const accepted = new SimSocket(listener.life, back, there)
      there.to = accepted
      listener.accept(accepted as unknown as Socket)
    })
    return socket as unknown as Socket
  }

  /** Changes the ways between two hosts, or the one from the first to the second. */
  change(from: string, to: string, both: boolean, what: Partial<Way>): void {
    const ways = both ? [this.#way(from, to), this.#way(to, from)] : [this.#way(from, to)]
    for (const way of ways) {
      Object.assign(way, what)
      for (const direction of way.connections) direction.changed()
    }
  }

  /** Ends one of the connections between two hosts, as a router does that forgot it. */
  reset(from: string, to: string): void {
    for (const direction of this.#way(from, to).connections) direction.reset()
  }

  /** Whether what a host sends has always arrived as it was sent, or not at all. */
  isFaithful(from: string, to: string): boolean {
    return !this.#way(from, to).isDamaged
  }

  /** All ways are as they should be. */
  mend(): void {
    for (const way of this.#ways.values()) {
      Object.assign(way, { ...calm(), isCut: false, delay_ms_max: usual_delay_ms_max })
      for (const direction of way.connections) direction.changed()
    }
  }

  #way(from: string, to: string): Way {
    const key = `${from}>${to}`
    const found = this.#ways.get(key)
    if (found !== undefined) return found
    const way: Way = {
      ...calm(),
      isCut: false,
      isDamaged: false,
      delay_ms_max: usual_delay_ms_max,
      connections: new Set(),
    }
    this.#ways.set(key, way)
    return way
  }
}

interface DirectionParts {
  readonly world: World
  readonly random: Random
  readonly watch: FrameWatch
  readonly name: string
  readonly way: Way
  readonly end: End
}
interface Parcel {
  readonly due_ms: number
  readonly deliver: () => void
}

/** What one end sends to the other. */
class Direction {
  to: SimSocket | null = null
  /** Bytes that have not arrived. */
  bytes = 0
  readonly #parts: DirectionParts
  readonly #parcels: Parcel[] = []
  /** A frame that the next one overtakes. */
  #held: Buffer | null = null
  #due_ms = 0
  #isPumping = false
  #isOver = false
  #onRoom: (() => void)[] = []

  constructor(parts: DirectionParts) {
    this.#parts = parts
    parts.way.connections.add(this)
  }

  get isChoked(): boolean {
    return this.#parts.way.isFull
  }

  /** Sends bytes; `done` when they have left the sender. */
  send(bytes: Buffer, done: () => void): void {
    for (const chunk of this.#frames(bytes)) {
      // A stream keeps no boundaries.
      const cut = this.#parts.random.next() < 0.1 ? Math.floor(chunk.length / 3) : 0
      if (cut > 0) this.#sendChunk(chunk.subarray(0, cut))
      this.#sendChunk(chunk.subarray(cut))
    }
    queueMicrotask(done)
  }

  #sendChunk(chunk: Buffer): void {
    this.bytes += chunk.length
    this.arrive(() => {
      this.bytes -= chunk.length
      this.to?.receive(chunk)
    })
  }

  /** Lets something happen at the other end, behind all that is under way. */
  arrive(deliver: () => void): void {
    const { world, random, way } = this.#parts
    this.#due_ms = Math.max(this.#due_ms, world.now_ms + 0.05 + random.next() * way.delay_ms_max)
    this.#parcels.push({ due_ms: this.#due_ms, deliver })
    this.#pump()
  }

  whenRoom(callback: () => void): void {
    this.#onRoom.push(callback)
  }

  /** The way has changed. */
  changed(): void {
    if (!this.isChoked) {
      const waiting = this.#onRoom
      this.#onRoom = []
      for (const callback of waiting) callback()
    }
    this.#pump()
  }

  /** Both ends hear that the connection is no more. */
  reset(): void {
    this.#parts.world.note(this.#parts.name, 'reset')
    this.to?.destroy(new Error('connection reset'))
  }

  /** Nobody sends here any more. */
  over(): void {
    this.#isOver = true
    this.#onRoom = []
    this.#parts.way.connections.delete(this)
  }

  #frames(bytes: Buffer): Buffer[] {
    const { watch, end, world, way, random, name } = this.#parts
    const frames: Buffer[] = []
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let at = 0; at < bytes.length;) {
      const frame = Buffer.from(bytes.subarray(at, at + frameLength(view, at)))
      at += frame.length
      const { kind, sequence } = watch.sent(end, frame)
      const what = kindNames[kind] ?? String(kind)
      const sum = crc32(frame).toString(16)
      world.note(`${name}${end === 0 ? '>' : '<'}`, `${what} #${sequence} ${frame.length} ${sum}`)
      frames.push(frame)
    }
    if (way.frames_share === 0 && this.#held === null) return [Buffer.concat(frames)]
    way.isDamaged = true
    const out = damage(
      this.#held === null ? frames : [...frames, this.#held],
      way.frames_share,
      random,
    )
    this.#held = random.next() < way.frames_share ? (out.pop() ?? null) : null
    return out
  }

  #pump(): void {
    const { world, way } = this.#parts
    if (this.#isPumping || way.isCut || this.#isOver) return
    const [next] = this.#parcels
    if (next === undefined) return
    this.#isPumping = true
    world.after(next.due_ms - world.now_ms, () => {
      this.#isPumping = false
      if (!way.isCut) {
        this.#parcels.shift()
        next.deliver()
      }
      this.#pump()
    })
  }
}

/** As much of a socket as a link has to do with. */
class SimSocket extends EventEmitter {
  destroyed = false
  readonly #life: Life
  readonly #out: Direction
  readonly #in: Direction
  /** What came while the process was stopped. */
  readonly #arrived: Buffer[] = []
  /** What came while nobody read. */
  readonly #held: Buffer[] = []
  #isPaused = false

  constructor(life: Life, out: Direction, into: Direction) {
    super()
    this.#life = life
    this.#out = out
    this.#in = into
    life.onEnd(() => {
      this.#ended()
    })
  }

  get writableLength(): number {
    return this.#out.isChoked ? limits.link_outgoing_bytes_max + 1 : this.#out.bytes
  }
  get writableNeedDrain(): boolean {
    return this.#out.isChoked || this.#life.isOver
  }
  setNoDelay(): this {
    return this
  }
  pause(): this {
    this.#isPaused = true
    return this
  }
  resume(): this {
    this.#isPaused = false
    for (let bytes = this.#held.shift(); bytes !== undefined; bytes = this.#held.shift()) {
      if (this.#isPaused) {
        this.#held.unshift(bytes)
        return this
      }
      if (!this.destroyed) this.emit('data', bytes)
    }
    return this
  }

  write(bytes: Buffer, done: () => void = () => undefined): boolean {
    if (!this.destroyed && !this.#life.isOver) this.#out.send(bytes, done)
    return !this.#out.isChoked
  }

  override once(name: string, listener: (...values: any[]) => void): this {
    if (name === 'drain') {
      this.#out.whenRoom(() => {
        this.#life.after(0, listener)
      })
      return this
    }
    return super.once(name, listener)
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.#ended()
    this.#life.after(0, () => {
      if (error !== undefined) this.emit('error', error)
      this.emit('close')
    })
    return this
  }

  /** Bytes have arrived. */
  receive(bytes: Buffer): void {
    // One stop may run into another: whatever waits for its end is taken in the order in which it came.
    this.#arrived.push(bytes)
    if (this.#life.isStopped || this.#arrived.length > 1) this.#life.after(0, this.#take)
    else this.#take()
  }

  readonly #take = (): void => {
    for (const bytes of this.#arrived.splice(0)) {
      if (this.destroyed) return
      if (this.#isPaused) this.#held.push(bytes)
      else this.emit('data', bytes)
    }
  }

  /** Nothing comes or goes here any more; the other end hears of it. */
  #ended(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.#in.over()
    if (this.#life.isSilent) {
      this.#out.over()
      return
    }
    this.#out.arrive(() => {
      this.#out.over()
      this.#out.to?.destroy()
    })
  }
}
