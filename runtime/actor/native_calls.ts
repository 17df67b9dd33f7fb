/**
 * What is waited for that is no call to an actor: a backend, a timer, the store; what of it runs now, and
 * since when. An actor whose deps were given as `nativeDeps` reaches its backends through an object that
 * names the call; nothing else is changed. What blocks the whole thread is also written on a board in
 * shared memory, where others read it while this thread cannot answer.
 */
import { doerNow } from '../behalf.ts'
import type { Alarm, Clock } from '../clock.ts'
import type { Work } from '../trace.ts'
import type { Message } from './message.ts'
import type { Observer } from './observer.ts'

/** A call that has not come back. */
export interface NativeCall {
  /** On whose behalf: a message of an actor, or another piece of work; null for nobody in particular. */
  readonly by: Pick<Work, 'what'> | null
  /** `vmm.start`; with a blank, what is no backend: `timer of 500 ms`, `store: select …`. */
  readonly name: string
  /** In the clock's monotonic milliseconds. */
  readonly began_ms: number
}

export class NativeCalls {
  /** Where this thread writes what it is in; null where nobody would read it. */
  board: Board | null = null
  readonly running = new Set<NativeCall>()
  readonly #clock: Clock
  readonly #observer: Observer

  constructor(clock: Clock, observer: Observer) {
    this.#clock = clock
    this.#observer = observer
  }

  /** Waits for something that blocks nobody, and knows of it until it has ended. */
  readonly during = async <T>(
    name: string,
    work: () => Promise<T>,
    by: NativeCall['by'] = doerNow(),
  ): Promise<T> => {
    const began: NativeCall = { by, name, began_ms: this.#clock.monotonic() }
    this.running.add(began)
    try {
      return await work()
    } finally {
      this.running.delete(began)
    }
  }

  /** The clock as one message sees it: how long it sleeps is known. */
  clockOf(by: Message): Clock {
    return new WatchedClock(this.#clock, by, this)
  }

  /** Makes a call, and knows of it until it has come back. */
  run(context: Message, name: string, call: () => unknown): unknown {
    const began: NativeCall = { by: context, name, began_ms: this.#clock.monotonic() }
    const { tracer } = this.#observer
    const span =
      tracer === null || context.span === null
        ? null
        : tracer.begin(context.span, { name, kind: 'internal', attributes: {} })
    const end = (failure: string | null) => {
      this.running.delete(began)
      span?.end(failure)
    }
    this.running.add(began)
    this.board?.write(`${name} for ${context.what}`, this.#clock.now())
    try {
      const result = call()
      if (result instanceof Promise) {
        result.then(
          (value) => {
            end(failureOf(value))
          },
          () => {
            end('threw')
          },
        )
      } else {
        end(failureOf(result))
      }
      return result
    } catch (error) {
      end('threw')
      throw error
    } finally {
      this.board?.clear()
    }
  }
}

/** Made for each handler that looks at its clock, so that others pay nothing: hence a class. */
class WatchedClock implements Clock {
  readonly #clock: Clock
  readonly #by: Message
  readonly #natives: NativeCalls

  constructor(clock: Clock, by: Message, natives: NativeCalls) {
    this.#clock = clock
    this.#by = by
    this.#natives = natives
  }

  now(): number {
    return this.#clock.now()
  }
  monotonic(): number {
    return this.#clock.monotonic()
  }
  after(delay_ms: number, callback: () => void): () => void {
    return this.#clock.after(delay_ms, callback)
  }
  alarm(callback: () => void): Alarm {
    return this.#clock.alarm(callback)
  }
  defer(callback: () => void): void {
    this.#clock.defer(callback)
  }
  async sleep(delay_ms: number, signal?: AbortSignal): Promise<void> {
    await this.#natives.during(
      `timer of ${delay_ms} ms`,
      async () => {
        await this.#clock.sleep(delay_ms, signal)
      },
      this.#by,
    )
  }
}

function failureOf(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null
  if (!('ok' in value) || value.ok !== false || !('error' in value)) return null
  return String(value.error)
}

/** An actor's deps, and which of them are the platform's. The actor sees no difference. */
export class NativeDeps<D> {
  readonly plain: D
  readonly #natives: ReadonlyArray<readonly [name: string, native: unknown]>

  constructor(plain: D & object, names: ReadonlyArray<keyof D & string>) {
    this.plain = plain
    const isNative: ReadonlySet<string> = new Set(names)
    this.#natives = Object.entries(plain).filter(([name]) => isNative.has(name))
  }

  /** The deps as one message sees them. */
  for(by: Message): D {
    const natives = this.#natives.map(
      ([name, native]) => [name, through(by, name, native, null)] as const,
    )
    return { ...this.plain, ...Object.fromEntries(natives) }
  }
}

/** A function, or an object with its functions, called by way of NativeCalls. */
function through(by: Message, name: string, native: unknown, self: unknown): unknown {
  if (typeof native === 'function') {
    return (...args: readonly unknown[]) =>
      by.cell.services.natives.run(by, name, () => Reflect.apply(native, self, args) as unknown)
  }
  if (typeof native !== 'object' || native === null || self !== null) return native
  // Not a proxy of the backend itself: what is private there works on the backend alone.
  return new Proxy(
    {},
    {
      get: (_nothing, key) =>
        through(by, `${name}.${String(key)}`, Reflect.get(native, key), native),
    },
  )
}

const text_bytes_max = 256

/** What a thread is in, in memory that others can read. One writer; a torn text harms nobody. */
export class Board {
  readonly memory: SharedArrayBuffer
  /** Since when, in Unix milliseconds; 0 when it is in nothing. */
  readonly #since: BigInt64Array
  readonly #length: Int32Array
  readonly #text: Buffer

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(16 + text_bytes_max)) {
    this.memory = memory
    this.#since = new BigInt64Array(memory, 0, 1)
    this.#length = new Int32Array(memory, 8, 1)
    this.#text = Buffer.from(memory, 16, text_bytes_max)
  }

  write(text: string, now_ms: number): void {
    Atomics.store(this.#length, 0, this.#text.write(text))
    Atomics.store(this.#since, 0, BigInt(Math.round(now_ms)))
  }

  clear(): void {
    Atomics.store(this.#since, 0, 0n)
  }

  read(): { readonly what: string; readonly since_ms: number } | null {
    const since_ms = Number(Atomics.load(this.#since, 0))
    if (since_ms === 0) return null
    const length = Math.min(text_bytes_max, Math.max(0, Atomics.load(this.#length, 0)))
    return { what: this.#text.toString('utf8', 0, length), since_ms }
  }
}
