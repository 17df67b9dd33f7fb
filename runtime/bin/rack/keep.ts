/** The foreground form of `luge rack up`: restarts the supervisor until told to stop. */
import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive } from '#native/process.ts'
import type { Result } from '#runtime/result.ts'
import { rackDown } from './down.ts'
import { findSupervisor, startSupervisor, waitReady } from './supervisor.ts'

const look_ms = 200
const restart_ms_min = 200
const restart_ms_max = 5_000
const ready_ms_max = 60_000

/**
 * Watches the supervisor and starts it again when it ends, as SMF or systemd would. SIGINT and
 * SIGTERM take the rack down; its state stays.
 */
export async function keepUp(state: string, sled: string): Promise<Result<null, string>> {
  const stop = new AbortController()
  const onSignal = () => {
    stop.abort()
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  let pause_ms = restart_ms_min
  while (!stop.signal.aborted) {
    const supervisor = findSupervisor(sled)
    if (supervisor !== null) {
      while (!stop.signal.aborted && isAlive(supervisor)) await pause(look_ms, stop.signal)
      continue
    }
    process.stderr.write('luge: the supervisor ended; starting it again\n')
    const child = startSupervisor(sled)
    const ready = await waitReady(child, sled, ready_ms_max)
    child.unref()
    if (!ready.ok) process.stderr.write(`luge: ${ready.detail}\n`)
    pause_ms = ready.ok ? restart_ms_min : Math.min(pause_ms * 2, restart_ms_max)
    await pause(pause_ms, stop.signal)
  }
  return await rackDown(state, true)
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}
