/** Time as an argument, so that a whole rack can run on time that a test moves. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  readonly now: () => number
  /** Calls back once after `delay_ms`; the returned function takes it back. */
  readonly after: (delay_ms: number, callback: () => void) => () => void
  /** Ends after `delay_ms`, or earlier when `signal` is aborted. Never rejects. */
  readonly sleep: (delay_ms: number, signal?: AbortSignal) => Promise<void>
}

/** What setTimeout can count; a longer delay is no timer at all. */
const timer_ms_max = 2 ** 31 - 1

function sleeper(after: Clock['after']): Clock['sleep'] {
  return async (delay_ms, signal) => {
    if (signal?.aborted === true) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = after(delay_ms, resolve)
    const onAbort = () => {
      resolve()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    await promise
    cancel()
    signal?.removeEventListener('abort', onAbort)
  }
}

const systemAfter: Clock['after'] = (delay_ms, callback) => {
  if (delay_ms > timer_ms_max) return () => undefined
  const timer = setTimeout(callback, delay_ms)
  return () => {
    clearTimeout(timer)
  }
}

/** A moment in RFC 3339, in UTC with milliseconds. */
export const isoTime = (ms: number): string => new Date(ms).toISOString()

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after: systemAfter,
  sleep: sleeper(systemAfter),
}

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Moves time on; timers fire in order of their time. */
  readonly advance: (ms: number) => Promise<void>
}

/** Lets everything that the last timer set off come to rest before time moves on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

/** A clock for tests, starting at `start_ms`. */
export function manualClock(start_ms = 1_000_000): ManualClock {
  let now_ms = start_ms
  let timers: Array<{ readonly at_ms: number; readonly callback: () => void }> = []
  const after: Clock['after'] = (delay_ms, callback) => {
    const timer = { at_ms: now_ms + delay_ms, callback }
    timers.push(timer)
    return () => {
      timers = timers.filter((other) => other !== timer)
    }
  }
  return {
    now: () => now_ms,
    after,
    sleep: sleeper(after),
    advance: async (ms) => {
      const end_ms = now_ms + ms
      await settle()
      for (;;) {
        const due = timers.filter((timer) => timer.at_ms <= end_ms)
        const next = due.toSorted((a, b) => a.at_ms - b.at_ms)[0]
        if (next === undefined) break
        timers = timers.filter((timer) => timer !== next)
        now_ms = Math.max(now_ms, next.at_ms)
        next.callback()
        await settle()
      }
      now_ms = end_ms
    },
  }
}
