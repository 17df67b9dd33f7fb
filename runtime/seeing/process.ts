/** Puts together what a whole process looks like. */
import { resourceUsage } from 'node:process'
import type { Clock } from '../clock.ts'
import type { Lookout } from './lookout.ts'
import type { Snapshot, ThreadSeen } from './snapshot.ts'

export interface ProcessOptions {
  readonly service: Snapshot['service']
  readonly host: string
  readonly clock: Clock
  /** The main thread's. */
  readonly lookout: Lookout
  /** The other threads. */
  readonly threads: (measure_ms: number) => Promise<readonly ThreadSeen[]>
  /** The ways to other hosts. */
  readonly links: () => Snapshot['links']
  readonly http: () => Snapshot['http']
}

/** Looks at every thread, at the same time. */
export async function lookAtProcess(
  options: ProcessOptions,
  measure_ms: number,
): Promise<Snapshot> {
  const { service, host, clock, lookout } = options
  const [own, others] = await Promise.all([lookout.look(measure_ms), options.threads(measure_ms)])
  const { userCPUTime, systemCPUTime } = resourceUsage()
  const { rss, heapUsed } = process.memoryUsage()
  return {
    service,
    host,
    pid: process.pid,
    now_ms: clock.now(),
    uptime_ms: process.uptime() * 1_000,
    cpu_ms: (userCPUTime + systemCPUTime) / 1_000,
    rss_bytes: rss,
    heap_bytes: heapUsed,
    threads: [own, ...others],
    links: options.links(),
    http: options.http(),
  }
}
