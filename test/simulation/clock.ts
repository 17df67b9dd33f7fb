/** A thread's clock: its machine's time, and callbacks that die with the thread. */
import { sleeper, type Alarm, type Clock } from '#runtime/clock.ts'
import type { Random } from '#runtime/random.ts'
import type { HostTime, Life } from './world.ts'

/** A timer goes off up to this much late. */
const late_ms_max = 1

export function simClock(life: Life, time: HostTime, random: Random): Clock {
  const after: Clock['after'] = (delay_ms, callback) =>
    life.after(Math.max(0, delay_ms) / time.rate + random.next() * late_ms_max, callback)
  return {
    now: () => time.now(),
    monotonic: () => time.monotonic(),
    after,
    alarm: (callback) => simAlarm(after, () => time.monotonic(), callback),
    defer: (callback) => {
      life.after(0, callback)
    },
    sleep: sleeper(after),
  }
}

/** As the machine's own: it stays armed while nobody waits, and may go off early. */
function simAlarm(after: Clock['after'], monotonic: () => number, callback: () => void): Alarm {
  let cancel: (() => void) | null = null
  let due_ms = Number.POSITIVE_INFINITY
  return {
    set: (at_ms) => {
      if (cancel !== null && due_ms <= at_ms) return
      cancel?.()
      due_ms = at_ms
      cancel = after(at_ms - monotonic(), () => {
        cancel = null
        due_ms = Number.POSITIVE_INFINITY
        callback()
      })
    },
    clear: () => undefined,
  }
}
