/** The CPU time of other processes, to the nanosecond: `/proc` counts in hundredths of seconds. */
import { constants } from 'node:os'
import koffi from 'koffi'

/** Linux's number for "all threads of that process, by the scheduler's account" (clock_getcpuclockid(3)). */
const clockOf = (pid: number): number => (~pid << 3) | 2

let clockGettime: ((clock: number, time: Buffer) => number) | null = null

/** What all threads of a process have used so far, those that ended included. Linux only. */
export function cpuTime_ns(pid: number): number {
  clockGettime ??= koffi.load('libc.so.6').func('int clock_gettime(int clock, void *time)')
  const time = Buffer.alloc(16)
  const status = clockGettime(clockOf(pid), time)
  if (status !== 0) {
    const why = koffi.errno() === constants.errno.EINVAL ? 'it has ended' : `errno ${koffi.errno()}`
    throw new Error(`the CPU time of process ${pid} cannot be read: ${why}`)
  }
  return Number(time.readBigInt64LE(0)) * 1e9 + Number(time.readBigInt64LE(8))
}
