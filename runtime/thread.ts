/**
 * Actors on worker threads. Messages go from any thread to any other over a port of their own;
 * comlink carries the low-rate control surface between main and a thread: start, stop, inspect.
 * A thread's death is the death of its actors: calls to them fail with `crashed`, and the thread is
 * started again within its budget.
 */
import {
  MessageChannel,
  parentPort,
  Worker,
  workerData,
  type MessagePort,
} from 'node:worker_threads'
import { expose, transfer, wrap, type Remote } from 'comlink'
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs'
import type { CellInfo } from './cell.ts'
import { systemClock, type Clock } from './clock.ts'
import { Endpoint, type Incoming } from './endpoint.ts'
import type { Log } from './log.ts'
import { err, explain } from './result.ts'
import { decodeFrame } from './wire/frame.ts'

/** What main may ask of a thread. */
export interface ThreadControl {
  /** Gives the thread its way to another one; replaces an earlier way. */
  readonly connect: (thread: string, port: MessagePort) => void
  readonly start: () => Promise<void>
  readonly stop: () => Promise<void>
  readonly inspect: () => readonly CellInfo[]
}

/** This thread's ways to the others. */
export class ThreadLinks {
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #clock: Clock
  readonly #onCall: (incoming: Incoming) => void

  constructor(clock: Clock, onCall: (incoming: Incoming) => void) {
    this.#clock = clock
    this.#onCall = onCall
  }

  /** The way to a thread; null while it is not up. */
  to(thread: string): Endpoint | null {
    return this.#endpoints.get(thread) ?? null
  }

  connect(thread: string, port: MessagePort): void {
    this.disconnect(thread, `thread ${thread} was started again`)
    const endpoint = new Endpoint({
      clock: this.#clock,
      onCall: this.#onCall,
      send: (bytes) => {
        port.postMessage(bytes)
        return true
      },
    })
    port.on('message', (bytes: Uint8Array) => {
      endpoint.receive(decodeFrame(bytes))
    })
    port.once('close', () => {
      endpoint.close('crashed', `thread ${thread} ended`)
    })
    this.#endpoints.set(thread, endpoint)
  }

  disconnect(thread: string, why: string): void {
    this.#endpoints.get(thread)?.close('crashed', why)
    this.#endpoints.delete(thread)
  }
}

export interface ThreadsOptions {
  /** The module that every thread runs; it calls `hostThread`. */
  readonly entry: URL
  readonly names: readonly string[]
  /** Handed to each thread as it is; must survive structured cloning. */
  readonly data: unknown
  /** Main's own ways to the threads. */
  readonly links: ThreadLinks
  readonly log: Log
  readonly clock: Clock
  /** A thread used up its restarts: nothing here can mend that. */
  readonly onExhausted: (thread: string, why: string) => void
}
interface Running {
  readonly worker: Worker
  readonly control: Remote<ThreadControl>
}
interface Spawned extends Running {
  readonly name: string
  /** Rejects when the thread ends. */
  readonly died: Promise<never>
}
const restarts_max = 5
const restarts_period_ms = 60_000

/** The threads of a process, as main sees them. */
export class Threads {
  readonly #options: ThreadsOptions
  readonly #running = new Map<string, Running>()
  readonly #deaths = new Map<string, number[]>()
  #stopping = false

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
    for (const [name, { worker, control }] of [...this.#running].toReversed()) {
      await control.stop().catch((error: unknown) => {
        this.#options.log.warn('a thread did not stop in order', { name, why: explain(error) })
      })
      await worker.terminate()
    }
  }

  /** What runs in each thread. */
  async inspect(): Promise<ReadonlyMap<string, readonly CellInfo[]>> {
    const entries = await Promise.all(
      [...this.#running].map(
        async ([name, { control }]) => [name, await control.inspect()] as const,
      ),
    )
    return new Map(entries)
  }

  #spawn(name: string): Spawned {
    const worker = new Worker(this.#options.entry, {
      name,
      workerData: { name, data: this.#options.data },
      // Descriptors that system calls have made are closed by whoever made them.
      trackUnmanagedFds: false,
    })
    const control = wrap<ThreadControl>(nodeEndpoint(worker))
    worker.on('error', (error) => {
      this.#options.log.error('a thread threw', { name, why: explain(error) })
    })
    const { promise: died, reject } = Promise.withResolvers<never>()
    worker.once('exit', (code) => {
      reject(new Error(`thread ${name} ended with code ${code}`))
      this.#onDeath(name, worker)
    })
    died.catch(() => undefined)
    return { name, worker, control, died }
  }

  async #begin({ name, worker, control, died }: Spawned): Promise<void> {
    const up = async () => {
      await this.#connect(name, control)
      this.#running.set(name, { worker, control })
      await control.start()
    }
    await Promise.race([up(), died])
  }

  /** A port between this thread and main, and one to each that already runs. */
  async #connect(name: string, control: Remote<ThreadControl>): Promise<void> {
    const toMain = new MessageChannel()
    this.#options.links.connect(name, toMain.port1)
    await control.connect('main', transfer(toMain.port2, [toMain.port2]))
    for (const [other, { control: otherControl }] of this.#running) {
      if (other === name) continue
      const pair = new MessageChannel()
      await control.connect(other, transfer(pair.port1, [pair.port1]))
      await otherControl.connect(name, transfer(pair.port2, [pair.port2]))
    }
  }

  #onDeath(name: string, worker: Worker): void {
    if (this.#running.get(name)?.worker !== worker) return
    this.#running.delete(name)
    this.#options.links.disconnect(name, `thread ${name} ended`)
    if (this.#stopping) return
    const now = this.#options.clock.now()
    const recent = (this.#deaths.get(name) ?? []).filter((at) => at > now - restarts_period_ms)
    this.#deaths.set(name, [...recent, now])
    if (recent.length >= restarts_max) {
      this.#options.onExhausted(name, `it ended ${recent.length + 1} times within a minute`)
      return
    }
    this.#begin(this.#spawn(name)).catch((error: unknown) => {
      this.#options.onExhausted(name, explain(error))
    })
  }
}

/** What a thread's composition root gives back. */
export interface Hosted {
  readonly serve: (incoming: Incoming) => void
  readonly stop: () => Promise<void>
  readonly inspect: () => readonly CellInfo[]
}

/**
 * The thread's side: called once by the thread's entry module. `compose` builds the actors when
 * main says so; by then the ways to main and to the threads before this one exist.
 */
export function hostThread(
  compose: (name: string, data: unknown, links: ThreadLinks) => Promise<Hosted>,
): void {
  if (parentPort === null) throw new Error('this module runs as a worker thread')
  // Structured cloning has kept what `Threads` handed over; nobody else starts this module.
  const { name, data } = workerData as { name: string; data: unknown }
  let hosted: Hosted | null = null
  const links = new ThreadLinks(systemClock, (incoming) => {
    if (hosted === null) incoming.answer(err('unreachable', `thread ${name} is still starting`))
    else hosted.serve(incoming)
  })
  const control: ThreadControl = {
    connect: (thread, port) => {
      links.connect(thread, port)
    },
    start: async () => {
      hosted = await compose(name, data, links)
    },
    stop: async () => {
      await hosted?.stop()
    },
    inspect: () => hosted?.inspect() ?? [],
  }
  expose(control, nodeEndpoint(parentPort))
}
