/**
 * Actors on worker threads. Messages go from any thread to any other over rings of their own;
 * comlink carries the low-rate control surface between main and a thread: start, stop, look.
 * A thread's death is the death of its actors: calls to them fail with `crashed`, and the thread is
 * started again within its budget.
 */
import { parentPort, Worker, workerData, type MessagePort } from 'node:worker_threads'
import { expose, transfer, wrap, type Remote } from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import { limits } from '#config/limits.ts'
import { systemClock, type Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { Board } from '../actor/native_calls.ts'
import { explain } from '../result.ts'
import { Lookout, type LookoutOptions } from '../seeing/lookout.ts'
import { shown, silentThread, type ThreadSeen } from '../seeing/snapshot.ts'
import type { System } from '../actor/system.ts'
import type { FinishedSpan } from '../trace.ts'
import { makeBell, type BellMemory, type Pipes } from './bell.ts'
import { ThreadLinks, type WayEnd } from './links.ts'
import { makeRing } from './ring.ts'

/** What main may ask of a thread. */
export interface ThreadControl {
  /** Gives the thread its way to another one; replaces an earlier way. */
  readonly connect: (thread: string, end: WayEnd) => void
  /** That thread is there no more: calls to it fail. */
  readonly disconnect: (thread: string, why: string) => void
  readonly start: () => Promise<void>
  readonly stop: () => Promise<void>
  /** See Lookout. */
  readonly look: (measure_ms: number) => Promise<ThreadSeen>
  readonly spans: () => readonly FinishedSpan[]
}

export interface ThreadsOptions {
  /** The module that every thread runs; it calls `hostThread`. */
  readonly entry: URL
  readonly names: readonly string[]
  /** Handed to each thread as it is; must survive structured cloning. */
  readonly data: unknown
  /** Main's own ways to the threads. */
  readonly links: ThreadLinks
  /** How bells sound; null where the platform has no pipes. */
  readonly pipes: Pipes | null
  readonly log: Log
  readonly clock: Clock
  /** A thread used up its restarts: nothing here can mend that. */
  readonly onExhausted: (thread: string, why: string) => void
  /** How often a thread may end within a minute; 5 when it is not given. */
  readonly restarts_max?: number
}
interface Running {
  readonly name: string
  readonly worker: Worker
  readonly control: Remote<ThreadControl>
  /** Rejects when the thread ends. What it was asked and has not answered is never answered. */
  readonly died: Promise<never>
}
const restarts_max = 5
const restarts_period_ms = 60_000

/** The threads of a process, as main sees them. */
export class Threads {
  readonly #options: ThreadsOptions
  readonly #running = new Map<string, Running>()
  readonly #deaths = new Map<string, number[]>()
  /** A thread that is started again keeps its bell: the others hold on to it. */
  readonly #bells = new Map<string, BellMemory>()
  /** What each thread says that it is in, also while it cannot answer. */
  readonly #boards = new Map<string, Board>()
  #stopping = false
  /** Ways are made one after another: so each thread has one to every other, whoever dies meanwhile. */
  #ways: Promise<unknown> = Promise.resolve()

  constructor(options: ThreadsOptions) {
    this.#options = options
  }

  /** Starts all threads: they load at once, and begin in order, each able to call those before. */
  async start(): Promise<void> {
    const spawned = this.#options.names.map((name) => this.#spawn(name))
    for (const thread of spawned) await this.#begin(thread)
  }

  /** Stops all threads, the last first. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const [name, { worker, control, died }] of [...this.#running].toReversed()) {
      const patience = new AbortController()
      const late = this.#options.clock.sleep(limits.thread_stop_ms_max, patience.signal)
      await Promise.race([control.stop(), died, late]).catch((error: unknown) => {
        this.#options.log.warn('a thread did not stop in order', { name, why: explain(error) })
      })
      patience.abort()
      await worker.terminate()
    }
  }

  /** Ends a thread wherever it is; it is started again like one that ended by itself. */
  async kill(name: string): Promise<void> {
    await this.#running.get(name)?.worker.terminate()
  }

  /** What each thread looks like; one that does not answer in time is silent. */
  async look(measure_ms: number): Promise<readonly ThreadSeen[]> {
    return await Promise.all(
      this.#options.names.map(async (name) => await this.#lookAt(name, measure_ms)),
    )
  }

  async #lookAt(name: string, measure_ms: number): Promise<ThreadSeen> {
    const { clock } = this.#options
    const control = this.#running.get(name)?.control
    const seen = await this.#soon(async () => (await control?.look(measure_ms)) ?? null)
    if (seen !== null) return seen
    const board = this.#boards.get(name)?.read() ?? null
    return silentThread(
      name,
      board === null
        ? null
        : { what: shown(board.what), for_ms: Math.max(0, clock.now() - board.since_ms) },
    )
  }

  /** Spans that have ended in any thread since the last time. */
  async spans(): Promise<readonly FinishedSpan[]> {
    const fetched = await Promise.all(
      [...this.#running.values()].map(
        async ({ control }) => await this.#soon(async () => await control.spans()),
      ),
    )
    return fetched.flatMap((spans) => spans ?? [])
  }

  /** What a thread answers, or null when it takes too long. */
  async #soon<T>(ask: () => Promise<T>): Promise<T | null> {
    const patience = new AbortController()
    const late = this.#options.clock.sleep(limits.seeing_thread_ms_max, patience.signal)
    const answer = await Promise.race([ask().catch(() => null), late.then(() => null)])
    patience.abort()
    return answer
  }

  #spawn(name: string, isAgain = false): Running {
    const board = new Board()
    this.#boards.set(name, board)
    const worker = new Worker(this.#options.entry, {
      name,
      workerData: { name, data: this.#options.data, bell: this.#bellOf(name), board: board.memory },
      // Descriptors that system calls have made are closed by whoever made them.
      trackUnmanagedFds: false,
    })
    const control = wrap<ThreadControl>(nodeEndpoint(worker))
    worker.on('message', (message: unknown) => {
      if (isComplaint(message)) void this.reconnect(name, message.broken)
    })
    worker.on('error', (error) => {
      this.#options.log.error('a thread threw', { name, why: explain(error) })
    })
    const { promise: died, reject } = Promise.withResolvers<never>()
    worker.once('exit', (code) => {
      reject(new Error(`thread ${name} ended with code ${code}`))
      this.#onDeath(name, worker, isAgain)
    })
    died.catch(() => undefined)
    return { name, worker, control, died }
  }

  async #begin(thread: Running): Promise<void> {
    await this.#inTurn(async () => {
      await this.#connect(thread)
    })
    await Promise.race([thread.control.start(), thread.died])
  }

  /** A way between this thread and main, and one to each that already runs. */
  async #connect(thread: Running): Promise<void> {
    await this.#pair(thread, 'main')
    for (const other of this.#running.keys()) {
      if (other !== thread.name) await this.#pair(thread, other)
    }
    this.#running.set(thread.name, thread)
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#ways.then(work)
    this.#ways = done.catch(() => undefined)
    await done
  }

  /** New rings between a thread and another one, or main. Rejects when the first of the two dies. */
  async #pair({ name, control, died }: Running, other: string): Promise<void> {
    const to = makeRing()
    const back = makeRing()
    const mine = { write: to.writer, read: back.reader, bell: this.#bellOf(other) }
    const theirs = { write: back.writer, read: to.reader, bell: this.#bellOf(name) }
    await Promise.race([control.connect(other, transfer(mine, portsOf(mine))), died])
    if (other === 'main') {
      this.#options.links.connect(name, theirs)
      return
    }
    const there = this.#running.get(other)
    if (there === undefined) return
    const connected = there.control.connect(name, transfer(theirs, portsOf(theirs)))
    // If that one dies it gets new ways when it begins again.
    await Promise.race([connected, there.died.catch(() => undefined), died])
  }

  /** The memory between two threads was overwritten: they begin again with new memory. */
  async reconnect(name: string, other: string): Promise<void> {
    const running = this.#running.get(name)
    if (running === undefined || this.#stopping) return
    this.#options.log.error('two threads get a new way to each other', { name, other })
    await this.#inTurn(async () => {
      await this.#pair(running, other)
    }).catch((error: unknown) => {
      this.#options.log.warn('a thread got no new way', { name, other, why: explain(error) })
    })
  }

  #bellOf(name: string): BellMemory {
    if (name === 'main') return this.#options.links.bell
    const found = this.#bells.get(name)
    if (found !== undefined) return found
    const made = makeBell(this.#options.pipes)
    this.#bells.set(name, made)
    return made
  }

  /** A thread that ends before it was ever up is its starter's concern (`start` rejects). */
  #onDeath(name: string, worker: Worker, isAgain: boolean): void {
    const wasUp = this.#running.get(name)?.worker === worker
    if (!wasUp && !isAgain) return
    if (wasUp) {
      this.#running.delete(name)
      const why = `thread ${name} ended`
      this.#options.links.disconnect(name, why)
      for (const { control } of this.#running.values()) void control.disconnect(name, why)
    }
    this.#again(name)
  }

  /** Starts a thread again, within its budget; one that dies while it begins counts as well. */
  #again(name: string): void {
    if (this.#stopping) return
    const now = this.#options.clock.monotonic()
    const recent = (this.#deaths.get(name) ?? []).filter((at) => at > now - restarts_period_ms)
    this.#deaths.set(name, [...recent, now])
    if (recent.length >= (this.#options.restarts_max ?? restarts_max)) {
      this.#options.onExhausted(name, `it ended ${recent.length + 1} times within a minute`)
      return
    }
    const thread = this.#spawn(name, true)
    this.#begin(thread).catch((error: unknown) => {
      this.#options.log.error('a thread could not begin', { name, why: explain(error) })
      void thread.worker.terminate()
    })
  }
}

/** What a thread says when the memory that it shares with another one is broken. */
interface Complaint {
  readonly broken: string
}
const isComplaint = (message: unknown): message is Complaint =>
  typeof message === 'object' && message !== null && 'broken' in message

const portsOf = ({ write, read }: WayEnd): MessagePort[] => [write.port, read.port]

/** What a thread's composition root gives back. */
export interface Hosted {
  readonly system: System
  readonly stop: () => Promise<void>
  /** See Lookout. */
  readonly counters?: LookoutOptions['counters']
  /** Spans that have ended since the last time, where something is traced. */
  readonly spans?: () => readonly FinishedSpan[]
}

/**
 * The thread's side: called once by the thread's entry module. `compose` builds the actors when
 * main says so; by then the ways to main and to the threads before this one exist. `makePipes` gives the
 * platform's pipes; it is called where main uses them.
 */
export function hostThread(
  compose: (name: string, data: unknown, links: ThreadLinks) => Promise<Hosted>,
  makePipes: () => Pipes,
): void {
  const port = parentPort
  if (port === null) throw new Error('this module runs as a worker thread')
  // Structured cloning has kept what `Threads` handed over; nobody else starts this module.
  const { name, data, bell, board } = workerData as {
    name: string
    data: unknown
    bell: BellMemory
    board: SharedArrayBuffer
  }
  let hosted: Hosted | null = null
  let lookout: Lookout | null = null
  const links = new ThreadLinks({
    clock: systemClock,
    pipes: bell.pipe === null ? null : makePipes(),
    bell,
    onBroken: (broken) => {
      port.postMessage({ broken } satisfies Complaint)
    },
  })
  const control: ThreadControl = {
    connect: (thread, end) => {
      links.connect(thread, end)
    },
    disconnect: (thread, why) => {
      links.disconnect(thread, why)
    },
    start: async () => {
      hosted = await compose(name, data, links)
      const { system, counters = () => ({}) } = hosted
      system.natives.board = new Board(board)
      const channels = () => links.inspect()
      lookout = new Lookout({ thread: name, system, clock: systemClock, channels, counters })
    },
    stop: async () => {
      lookout?.close()
      await hosted?.stop()
      links.close()
    },
    spans: () => hosted?.spans?.() ?? [],
    look: async (measure_ms) => (await lookout?.look(measure_ms)) ?? silentThread(name, null),
  }
  expose(control, nodeEndpoint(port))
}
