/**
 * The calls of actors into the platform's backends: what runs now, and since when. An actor whose deps
 * were given as `nativeDeps` reaches its backends through an object that names the call; nothing
 * else is changed. What blocks the whole thread is also written on a board in shared memory, where
 * others read it while this thread cannot answer.
 */
import type { Clock } from './clock.ts'
import type { Standing } from './message.ts'
import type { Observer } from './observer.ts'

/** A call that has not come back. */
export interface NativeCall {
  /** On whose behalf. */
  readonly context: Standing
  /** `vmm.start`. */
  readonly name: string
  /** In the clock's monotonic milliseconds. */
  readonly began_ms: number
}

type AnyFunction = (...args: readonly unknown[]) => unknown

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
  run(context: Standing, name: string, call: () => unknown): unknown {
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

/** An actor's deps, some of them backends. */
export class NativeDeps {
  readonly #plain: object
  readonly #backends: ReadonlyArray<readonly [key: string, through: new (by: Standing) => object]>

  constructor(deps: object, names: readonly string[]) {
    this.#plain = deps
    const named = Object.entries(deps).filter(([key]) => names.includes(key))
    this.#backends = named.map(([key, backend]: [string, unknown]) => [
      key,
      throughOf(key, backend),
    ])
  }

  /** The deps as one message sees them. */
  for(by: Standing): object {
    const backends = this.#backends.map(([key, Through]) => [key, new Through(by)] as const)
    return { ...this.#plain, ...Object.fromEntries(backends) }
  }
}

/** Says which of an actor's deps are the platform's. The actor sees no difference. */
export function nativeDeps<D extends object>(deps: D, names: ReadonlyArray<keyof D & string>): D {
  // The class stands for the deps until `context.deps` asks for them.
  return new NativeDeps(deps, names) as unknown as D
}

/** A class whose methods are a backend's, each called by way of NativeCalls. */
function throughOf(key: string, backend: unknown): new (by: Standing) => object {
  class Through {
    readonly by: Standing
    constructor(by: Standing) {
      this.by = by
    }
  }
  const { prototype } = Through
  for (let at: unknown = backend; isObject(at) && at !== Object.prototype;) {
    for (const name of Object.getOwnPropertyNames(at)) {
      if (name === 'constructor' || Object.hasOwn(prototype, name)) continue
      Object.defineProperty(prototype, name, { get: getter(key, name, backend) })
    }
    at = Object.getPrototypeOf(at)
  }
  return Through
}

function getter(key: string, name: string, backend: unknown) {
  return function get(this: { readonly by: Standing }): unknown {
    const { by } = this
    const found: unknown = Reflect.get(backend as object, name)
    if (typeof found !== 'function') return found
    const real = found as AnyFunction
    return (...args: readonly unknown[]) =>
      by.cell.services.natives.run(by, `${key}.${name}`, () => Reflect.apply(real, backend, args))
  }
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

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
