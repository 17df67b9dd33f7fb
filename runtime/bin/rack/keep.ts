/** The foreground form of `luge rack up`: restarts the supervisor until told to stop. */
import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive } from '#native/process.ts'
import { systemClock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import type { Result } from '#runtime/result.ts'
import { rackDown } from './down.ts'
import { sledState } from './layout.ts'
import { troublesOfNexus } from './last_words.ts'
import { withLock } from './lock.ts'
import { readPlan, type RackPlan } from './plan.ts'
import { keepCertificates } from './renewal.ts'
import { findSupervisor, startSupervisor, waitReady } from './supervisor.ts'

const look_ms = 200
const restart_ms_min = 200
const restart_ms_max = 5_000
const ready_ms_max = 60_000

/**
 * Watches the rack's supervisors and starts those again that end, as SMF or systemd would, and
 * renews certificates in time. SIGINT and SIGTERM take the rack down; its state stays.
 */
export async function keepUp(state: string, plan: RackPlan): Promise<Result<null, string>> {
  const stop = new AbortController()
  const onSignal = () => {
    stop.abort()
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  const renewals = keepCertificates(state, plan, {
    clock: systemClock,
    signal: stop.signal,
    onFailure: (why) => {
      process.stderr.write(`luge: certificates: ${why}\n`)
    },
  })
  const sleds = plan.sleds.map(async ({ number }) => {
    await keepSupervisor(state, sledState(state, number), stop.signal)
  })
  await Promise.all(sleds)
  // Somebody else may have taken the rack down.
  stop.abort()
  await renewals
  return await rackDown(state, true)
}

async function keepSupervisor(state: string, sled: string, signal: AbortSignal): Promise<void> {
  let pause_ms = restart_ms_min
  while (!signal.aborted) {
    const supervisor = findSupervisor(sled)
    if (supervisor !== null) {
      while (!signal.aborted && isAlive(supervisor)) await pause(look_ms, signal)
      continue
    }
    const started = await withLock({ state, verb: 'up', random: systemRandom }, async () => {
      const plan = readPlan(state)
      if (!plan.ok || plan.value === null) return plan
      process.stderr.write('luge: the supervisor ended; starting it again\n')
      const child = startSupervisor(sled)
      const rack = plan.value
      const ready = await waitReady(child, sled, {
        timeout_ms: ready_ms_max,
        ofNexus: () => troublesOfNexus(state, rack),
      })
      child.unref()
      return ready.ok ? plan : ready
    })
    if (started.ok && started.value === null) return
    if (!started.ok) process.stderr.write(`luge: ${started.detail}\n`)
    pause_ms = started.ok ? restart_ms_min : Math.min(pause_ms * 2, restart_ms_max)
    await pause(pause_ms, signal)
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
