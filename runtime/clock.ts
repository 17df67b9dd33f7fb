/** Time as an argument, so that a whole rack can run on time that a test moves. */
export interface Clock {
  /** Milliseconds since the Unix epoch. It jumps when somebody sets the machine's clock. */
  readonly now: () => number
  /**
   * Milliseconds that only go on, from an arbitrary start: deadlines and ages are counted in these.
   * It may stand still within one turn of the event loop.
   */
  readonly monotonic: () => number
  /** Calls back once after `delay_ms`; the returned function takes it back. */
  readonly after: (delay_ms: number, callback: () => void) => () => void
  /** An alarm that can be set again and again, cheaply. */
  readonly alarm: (callback: () => void) => Alarm
  /** Calls back when timers and sockets have had their turn. */
  readonly defer: (callback: () => void) => void
  /** Ends after `delay_ms`, or earlier when `signal` is aborted. Never rejects. */
  readonly sleep: (delay_ms: number, signal?: AbortSignal) => Promise<void>
}
/** Its callback looks at the clock itself: an alarm may go off early, never late. */
export interface Alarm {
  /** Rings at `at_ms` of the monotonic time, or earlier if it was set earlier before. */
  readonly set: (at_ms: number) => void
  /** Nothing waits for it any more. */
  readonly clear: () => void
}

/** What setTimeout can count; a longer delay is no timer at all. */
const timer_ms_max = 2 ** 31 - 1

/** `sleep`, made of `after`. */
export function sleeper(after: Clock['after']): Clock['sleep'] {
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

/** Ends with `end`, or after `delay_ms`. */
export async function atMost(clock: Clock, delay_ms: number, end: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const cancel = clock.after(delay_ms, resolve)
  await Promise.race([promise, end])
  cancel()
}

const day_ms = 86_400_000
/** The last day that was written, up to its `T`: what is shown together is mostly of one day. */
let day = { number: Number.NaN, text: '' }
const digits = Array.from({ length: 1_000 }, (_, number) => String(number).padStart(3, '0'))
const twoDigits = digits.map((text) => text.slice(1))

/** A moment in RFC 3339, in UTC with milliseconds. Throws a RangeError beyond the calendar's ends. */
export function isoTime(ms: number): string {
  const number = Math.floor(ms / day_ms)
  if (number !== day.number) day = { number, text: new Date(ms).toISOString().slice(0, -13) }
  const of_day = Math.floor(ms) - number * day_ms
  const seconds = Math.floor(of_day / 1_000)
  const minutes = Math.floor(seconds / 60)
  const hour = twoDigits[Math.floor(minutes / 60)]
  return `${day.text}${hour}:${twoDigits[minutes % 60]}:${twoDigits[seconds % 60]}.${digits[of_day % 1_000]}Z`
}

/** The moment that a text of RFC 3339 means, in milliseconds since the Unix epoch; null when it means none. */
export const readIsoTime = (text: string): number | null => {
  const moment_ms = Date.parse(text)
  return Number.isNaN(moment_ms) ? null : moment_ms
}

// Asking the kernel for the time may cost more than a message: once a turn of the loop is enough.
let turn_ms: number | null = null
const endTurn = () => {
  turn_ms = null
}
function systemMonotonic(): number {
  if (turn_ms !== null) return turn_ms
  turn_ms = performance.now()
  setImmediate(endTurn)
  return turn_ms
}

/**
 * A timer that stays armed while nobody waits for it, and then keeps no process alive. Whether somebody
 * waits may change with every message; what that means for the process is settled once a turn.
 */
function systemAlarm(callback: () => void): Alarm {
  let timer: NodeJS.Timeout | null = null
  let due_ms = Number.POSITIVE_INFINITY
  let isWanted = false
  let isSettling = false
  const ring = () => {
    timer = null
    due_ms = Number.POSITIVE_INFINITY
    callback()
  }
  const settleRef = () => {
    isSettling = false
    if (!isWanted) timer?.unref()
  }
  return {
    set: (at_ms) => {
      isWanted = true
      if (timer !== null && due_ms <= at_ms) {
        if (!isSettling) timer.ref()
        return
      }
      if (timer !== null) clearTimeout(timer)
      due_ms = at_ms
      timer = setTimeout(ring, Math.min(timer_ms_max, Math.max(0, at_ms - systemMonotonic())))
    },
    clear: () => {
      isWanted = false
      if (isSettling) return
      isSettling = true
      setImmediate(settleRef)
    },
  }
}

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: systemMonotonic,
  after: systemAfter,
  alarm: systemAlarm,
  defer: (callback) => {
    setImmediate(callback)
  },
  sleep: sleeper(systemAfter),
}

/** A clock that stands still until a test moves it. */
export interface ManualClock extends Clock {
  /** Moves time on; timers fire in order of their time. */
  readonly advance: (ms: number) => Promise<void>
  /** Sets the wall clock forward or back; the monotonic time goes on as if nothing had happened. */
  readonly jump: (ms: number) => void
}

/** Lets everything that the last timer set off come to rest before time moves on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

/** A clock for tests, starting at `start_ms`. */
export function manualClock(start_ms = 1_000_000): ManualClock {
  let now_ms = start_ms
  let jumped_ms = 0
  let timers: Array<{ readonly at_ms: number; readonly callback: () => void }> = []
  const after: Clock['after'] = (delay_ms, callback) => {
    const timer = { at_ms: now_ms + delay_ms, callback }
    timers.push(timer)
    return () => {
      timers = timers.filter((other) => other !== timer)
    }
  }
  return {
    now: () => now_ms + jumped_ms,
    monotonic: () => now_ms,
    after,
    alarm: (callback) => plainAlarm(after, () => now_ms, callback),
    defer: (callback) => {
      queueMicrotask(callback)
    },
    sleep: sleeper(after),
    jump: (ms) => {
      jumped_ms += ms
    },
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

/** An alarm made of timers, for clocks that are not in a hurry. */
export function plainAlarm(
  after: Clock['after'],
  monotonic: () => number,
  callback: () => void,
): Alarm {
  let cancel: (() => void) | null = null
  const clear = () => {
    cancel?.()
    cancel = null
  }
  return {
    clear,
    set: (at_ms) => {
      clear()
      cancel = after(Math.max(0, at_ms - monotonic()), () => {
        cancel = null
        callback()
      })
    },
  }
}
