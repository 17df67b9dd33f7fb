/**
 * The calls of actors into the platform's backends: what runs now, and since when. An actor whose deps
 * were given as `nativeDeps` reaches its backends through an object that names the call; nothing
 * else is changed. What blocks the whole thread is also written on a board in shared memory, where
 * others read it while this thread cannot answer.
 */
import type { Clock } from '../clock.ts'
import type { Message } from './message.ts'
import type { Observer } from './observer.ts'

/** A call that has not come back. */
export interface NativeCall {
  /** On whose behalf. */
  readonly context: Message
  /** `vmm.start`. */
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

  /** Makes a call, and knows of it until it has come back. */
  run(context: Message, name: string, call: () => unknown): unknown {
    const began: NativeCall = { context, name, began_ms: this.#clock.monotonic() }
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
