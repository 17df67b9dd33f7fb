/**
 * One `luge rack` command at a time works on a state directory. Each lays a claim there, a file whose
 * name says which process it is; whoever then sees no other living claim has the lock, and whoever
 * sees one takes its own back. A claim of a process that has ended counts for nothing and is removed:
 * its name is never used again, so nobody can remove a living one by mistake.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { identify, isAlive, type ProcessIdentity } from '#native/process.ts'
import type { Random } from '#runtime/random.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { unusable } from './plan.ts'

const tries_max = 20
const pause_ms_max = 100

export interface LockOptions {
  readonly state: string
  /** The verb of the command: what another one is told. */
  readonly verb: string
  readonly random: Random
}

/**
 * Does a command's work while no other works on the same state. Waits a second or two for another
 * to end; then `in_use` says which one it is. The directory is made, and removed again if it was
 * and is empty.
 */
export async function withLock<T, E extends string>(
  options: LockOptions,
  work: () => Promise<Result<T, E>>,
): Promise<Result<T, E | 'in_use' | 'state_unusable'>> {
  const { state } = options
  const own = identify(process.pid)
  if (own === null) throw new Error('this process cannot be found')
  const isNew = !existsSync(state)
  let taken: Result<string, 'in_use'>
  try {
    taken = await take(options, own)
  } catch (cause) {
    return unusable(state, cause)
  }
  if (!taken.ok) return taken
  try {
    return await work()
  } finally {
    rmSync(taken.value, { force: true })
    if (isNew) removeIfEmpty(state)
  }
}

/** Removes what killed commands left where no rack is. Where that is not allowed, it stays. */
export function sweepClaims(state: string): void {
  try {
    livingClaims(state)
  } catch {
    // The directory is another's, or there is none.
  }
}

/** Removes the claims of commands that were killed; gives back those of commands that run. */
function livingClaims(state: string): readonly Claim[] {
  const claims = readdirSync(state).flatMap((name) => parse(state, name))
  return claims.filter((claim) => {
    if (isAlive(claim.by)) return true
    rmSync(claim.path, { force: true })
    return false
  })
}

interface Claim {
  readonly path: string
  readonly verb: string
  readonly by: ProcessIdentity
}

let claims = 0

async function take(
  { state, verb, random }: LockOptions,
  own: ProcessIdentity,
): Promise<Result<string, 'in_use'>> {
  claims += 1
  const path = join(state, `lock.${verb}.${own.pid}.${claims}.${own.started}`)
  for (let tries = 1; ; tries += 1) {
    // Again each time: whoever made it may have removed it.
    mkdirSync(state, { recursive: true, mode: 0o700 })
    writeFileSync(path, '', { mode: 0o600 })
    const other = livingClaims(state).find((claim) => claim.path !== path)
    if (other === undefined) return ok(path)
    rmSync(path)
    if (tries === tries_max) {
      return err(
        'in_use',
        `luge rack ${other.verb} (process ${other.by.pid}) works on the rack in ${state}: wait until it has ended`,
      )
    }
    // Two that saw each other must not meet again.
    await sleep(random.next() * pause_ms_max)
  }
}

function parse(state: string, name: string): readonly Claim[] {
  const match = /^lock\.([a-z]+)\.([0-9]+)\.[0-9]+\.(.*)$/.exec(name)
  if (match === null) return []
  const [, verb = '', pid, started = ''] = match
  return [{ path: join(state, name), verb, by: { pid: Number(pid), started } }]
}

function removeIfEmpty(state: string): void {
  try {
    rmdirSync(state)
  } catch {
    // There is something in it, or it is gone already.
  }
}
