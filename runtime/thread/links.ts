/** This thread's ways to the others: a ring in each direction, and a channel over the two. */
import { limits } from '#config/limits.ts'
import { Channel, type ChannelHost } from '../channel/channel.ts'
import type { Clock } from '../clock.ts'
import { err } from '../result.ts'
import type { ChannelSeen } from '../seeing/snapshot.ts'
import { kinds, type FrameError } from '../wire/frame.ts'
import { makeBell, ringer, type BellMemory, type Pipes } from './bell.ts'
import { Poller, type Source } from './poller.ts'
import { RingReader, RingWriter, type RingMemory } from './ring.ts'

/** One end of the way between two threads, as main hands it out. */
export interface WayEnd {
  readonly write: RingMemory
  readonly read: RingMemory
  /** The other thread's bell. */
  readonly bell: BellMemory
}
export interface ThreadLinksOptions {
  readonly clock: Clock
  readonly pipes: Pipes | null
  /** This thread's own bell; made when it is not given. */
  readonly bell?: BellMemory
  /** The memory between this thread and another holds garbage: they need a new way. */
  readonly onBroken: (thread: string, why: string) => void
}
interface Way {
  readonly channel: Channel
  readonly close: (why: string) => void
}

export class ThreadLinks {
  readonly bell: BellMemory
  readonly #options: ThreadLinksOptions
  readonly #poller: Poller
  readonly #ways = new Map<string, Way>()
  readonly #host: LateHost = new LateHost()

  constructor(options: ThreadLinksOptions) {
    this.#options = options
    this.bell = options.bell ?? makeBell(options.pipes)
    this.#poller = new Poller(this.bell, options.pipes)
  }

  /** Who serves what comes from now on; until then it is refused. */
  set host(host: ChannelHost) {
    this.#host.real = host
  }

  /** The way to a thread; null while it is not up. */
  to(thread: string): Channel | null {
    return this.#ways.get(thread)?.channel ?? null
  }

  /** The ways there are, for people. */
  inspect(): readonly ChannelSeen[] {
    return [...this.#ways].map(([thread, { channel }]) => ({
      to: `thread ${thread}`,
      is_up: true,
      why: null,
      inflight: channel.inflight,
      served: channel.inspect().serving,
    }))
  }

  /** Opens the way to a thread; replaces an earlier one. */
  connect(thread: string, end: WayEnd): void {
    this.disconnect(thread, `thread ${thread} was started again`)
    const reader = new RingReader(end.read)
    const writer = new RingWriter(end.write, ringer(end.bell, this.#options.pipes), (callback) => {
      this.#options.clock.after(limits.ring_retry_ms, callback)
    })
    const channel = new Channel({ host: this.#host, outlet: writer, guard: null, objection: null })
    const close = (why: string) => {
      this.#poller.delete(source)
      writer.close()
      reader.close()
      channel.close('crashed', why)
    }
    const source: Source = {
      drain: (max) =>
        reader.drain(max, (cursor) => {
          channel.receive(cursor)
        }),
      hasMore: () => reader.hasMore,
      broken: (error: FrameError) => {
        const why = `the memory shared with thread ${thread} is broken: ${error.message}`
        close(why)
        this.#options.onBroken(thread, why)
      },
    }
    this.#ways.set(thread, { channel, close })
    this.#poller.add(source)
  }

  disconnect(thread: string, why: string): void {
    this.#ways.get(thread)?.close(why)
    this.#ways.delete(thread)
  }

  close(): void {
    for (const thread of this.#ways.keys()) this.disconnect(thread, 'this thread stops')
    this.#poller.stop()
  }
}

/** Stands for a system that does not exist yet: threads are connected before their actors are made. */
class LateHost implements ChannelHost {
  real: ChannelHost | null = null

  get deadlines() {
    if (this.real === null) throw new Error('a call before there is a system')
    return this.real.deadlines
  }
  serve: ChannelHost['serve'] = (incoming) => {
    if (this.real !== null) {
      this.real.serve(incoming)
    } else if (incoming.header.kind === kinds.call) {
      const { protocol, actor } = incoming.bound
      incoming.channel.refuse(
        incoming.header.correlation,
        err('unreachable', `${protocol}/${actor}: the thread is still starting`),
      )
    }
  }
  watch: ChannelHost['watch'] = (bound, watcher) => {
    if (this.real !== null) return this.real.watch(bound, watcher)
    watcher({ reason: 'absent', detail: 'the thread is still starting' })
    return () => undefined
  }
  late: ChannelHost['late'] = (what) => {
    this.real?.late(what)
  }
}
