/**
 * How a thread that sleeps is woken. Each thread has one bell that all others ring: a flag in shared
 * memory says whether it sleeps, so that a ring costs nothing while it is awake. The sound is a byte in
 * a pipe, where the platform gives one, and otherwise an Atomics.notify.
 */
import { Socket } from 'node:net'

/** A pipe's descriptors; they stay open as long as the process lives. */
export interface Pipe {
  readonly read_fd: number
  readonly write_fd: number
}
/** What the platform does for bells; null where it does nothing. */
export interface Pipes {
  readonly make: () => Pipe
  /** Another descriptor for the same pipe's end: its user closes it. */
  readonly duplicate: (fd: number) => number
  /** Writes one byte, without waiting for room. */
  readonly poke: (fd: number) => void
}

/** A bell as it is handed from thread to thread. */
export interface BellMemory {
  /** One word: 1 while the thread sleeps. */
  readonly shared: SharedArrayBuffer
  readonly pipe: Pipe | null
}

export function makeBell(pipes: Pipes | null): BellMemory {
  return { shared: new SharedArrayBuffer(4), pipe: pipes?.make() ?? null }
}

/** The others' side: wakes the thread if it sleeps. */
export function ringer({ shared, pipe }: BellMemory, pipes: Pipes | null): () => void {
  const flag = new Int32Array(shared)
  return () => {
    if (Atomics.load(flag, 0) === 0 || Atomics.compareExchange(flag, 0, 1, 0) !== 1) return
    if (pipe === null || pipes === null) Atomics.notify(flag, 0)
    else pipes.poke(pipe.write_fd)
  }
}

/** The thread's own side. */
export class Bell {
  readonly #flag: Int32Array
  readonly #wake: () => void
  readonly #socket: Socket | null

  /** `wake` is called when it was rung; seldom also without a reason. */
  constructor({ shared, pipe }: BellMemory, pipes: Pipes | null, wake: () => void) {
    this.#flag = new Int32Array(shared)
    this.#wake = wake
    this.#socket =
      pipe === null || pipes === null ? null : listen(pipes.duplicate(pipe.read_fd), wake)
  }

  /** From now on ringers wake this thread. Look once more for work afterwards. */
  sleep(): void {
    Atomics.store(this.#flag, 0, 1)
    if (this.#socket !== null) return
    // Types of the language's library leave out that a plain number may wait.
    const waiting = Atomics.waitAsync(this.#flag, 0, 1)
    if (waiting.async) void waiting.value.then(this.#wake)
    else setImmediate(this.#wake)
  }

  /** Nobody needs to ring any more. */
  awake(): void {
    Atomics.store(this.#flag, 0, 0)
    if (this.#socket === null) Atomics.notify(this.#flag, 0)
  }

  close(): void {
    this.#socket?.destroy()
  }
}

function listen(fd: number, wake: () => void): Socket {
  const socket = new Socket({
    fd,
    readable: true,
    writable: false,
    onread: {
      buffer: Buffer.alloc(64),
      callback: () => {
        wake()
        return true
      },
    },
  })
  socket.on('error', () => undefined)
  socket.unref()
  return socket
}
