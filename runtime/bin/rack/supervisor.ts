/** Starting, finding and stopping a sled's supervisor process: what SMF or systemd does elsewhere. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  identify,
  isAlive,
  processIdentity,
  signal,
  type ProcessIdentity,
} from '#native/process.ts'
import { writeFileAtomically } from '#runtime/files.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { lastLine } from './last_words.ts'
import { sledFiles } from './layout.ts'
import { home, readJson } from './plan.ts'

const stop_ms_max = 15_000

/** What the supervisor tells the program that started it. */
export type SupervisorNews =
  | { readonly kind: 'ready' }
  /** The sled has what it should have, and no Nexus has taken it in yet. */
  | { readonly kind: 'alone' }
  | { readonly kind: 'trouble'; readonly text: string }
  | { readonly kind: 'fatal'; readonly text: string }

/** The supervisor that runs for this sled directory; null when none does. */
export function findSupervisor(sled: string): ProcessIdentity | null {
  const path = sledFiles(sled).identity
  if (!existsSync(path)) return null
  const identity = readJson(path, processIdentity)
  return identity.ok && isAlive(identity.value) ? identity.value : null
}

/**
 * Starts a supervisor that outlives the caller, and can be found from then on. Its output goes to the sled's
 * log.
 */
export function startSupervisor(sled: string): ChildProcess {
  const files = sledFiles(sled)
  mkdirSync(sled, { recursive: true, mode: 0o700 })
  const log = openSync(files.log, 'a', 0o600)
  try {
    const child = spawn(process.execPath, [join(home, 'runtime/bin/sled.ts'), files.config], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
    })
    const identity = child.pid === undefined ? null : identify(child.pid)
    if (identity !== null) writeFileAtomically(files.identity, JSON.stringify(identity))
    return child
  } finally {
    closeSync(log)
  }
}

/**
 * Waits for a started supervisor to serve; its first fatal sentence ends the wait. `ofNexus` says what
 * stands in the way when all that the sled misses is Nexus.
 */
export async function waitReady(
  child: ChildProcess,
  sled: string,
  { timeout_ms, ofNexus }: { readonly timeout_ms: number; readonly ofNexus: () => string },
): Promise<Result<null, 'not_ready'>> {
  let trouble = () => `see ${sledFiles(sled).log}`
  const { promise, resolve } = Promise.withResolvers<Result<null, 'not_ready'>>()
  const timer = setTimeout(() => {
    resolve(err('not_ready', `the sled did not serve within ${timeout_ms / 1000} s: ${trouble()}`))
  }, timeout_ms)
  const onMessage = (news: SupervisorNews) => {
    if (news.kind === 'ready') resolve(ok(null))
    else if (news.kind === 'fatal') resolve(err('not_ready', news.text))
    else if (news.kind === 'alone') trouble = () => `it waits for Nexus: ${ofNexus()}`
    else trouble = () => news.text
  }
  const onExit = () => {
    resolve(
      err('not_ready', `the supervisor ended while starting: ${lastLine(sledFiles(sled).log)}`),
    )
  }
  child.on('message', onMessage)
  child.once('exit', onExit)
  const result = await promise
  clearTimeout(timer)
  child.off('message', onMessage)
  child.off('exit', onExit)
  if (child.connected) child.disconnect()
  return result
}

/** Ends the supervisor: asks, then kills. What it hosts keeps running. */
export async function stopSupervisor(sled: string): Promise<void> {
  const identity = findSupervisor(sled)
  if (identity !== null) {
    signal(identity, 'SIGTERM')
    if (!(await gone(identity, stop_ms_max))) {
      signal(identity, 'SIGKILL')
      await gone(identity, stop_ms_max)
    }
  }
  rmSync(sledFiles(sled).identity, { force: true })
}

/** Waits until a process is gone; false when it still runs after `timeout_ms`. */
export async function gone(identity: ProcessIdentity, timeout_ms: number): Promise<boolean> {
  for (let waited_ms = 0; waited_ms < timeout_ms; waited_ms += 20) {
    if (identify(identity.pid)?.started !== identity.started) return true
    await sleep(20)
  }
  return false
}
