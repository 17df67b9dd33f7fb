/**
 * `luge rack down`: stops the rack and removes what it made, found from the plan and the kernel
 * alone, so that it works the same after a crash of everything.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { systemRandom } from '#runtime/random.ts'
import { ok, type Result } from '#runtime/result.ts'
import { makeBlock, makePorts, makeVmm, makeZones } from '../backends.ts'
import { sledConfigOf } from './configs.ts'
import { authorityState, isNexusZone, nexusState, sledState } from './layout.ts'
import { sweepClaims, withLock } from './lock.ts'
import { planPath, readPlan, type RackPlan } from './plan.ts'
import { stopSupervisor } from './supervisor.ts'

const grace_ms = 5_000

/** Takes the rack of a state directory down. None there is fine. Repeat it after a failure. */
export async function rackDown(state: string, keepState: boolean): Promise<Result<null, string>> {
  const found = readPlan(state)
  if (!found.ok) return found
  if (found.value === null) {
    sweepClaims(state)
    process.stderr.write(`luge: there is no rack in ${state}\n`)
    return ok(null)
  }
  const down = await withLock({ state, verb: 'down', random: systemRandom }, async () => {
    // Another command may have taken it down meanwhile.
    const plan = readPlan(state)
    if (!plan.ok || plan.value === null) return plan.ok ? ok(null) : plan
    return await takeDown(state, plan.value, keepState)
  })
  if (down.ok && !keepState) removeEmpty(state)
  return down
}

/** The same for a command that has the lock: whatever there is of this plan. */
export async function takeDown(
  state: string,
  plan: RackPlan,
  keepState: boolean,
): Promise<Result<null, string>> {
  // The first one last: the others' cables end there.
  for (const { number } of plan.sleds.toReversed()) {
    const down = await sledDown(state, plan, number, keepState)
    if (!down.ok) return down
  }
  if (!keepState) forget(state, plan)
  return ok(null)
}

/**
 * Leaves a rack that could not be brought up again at rest: its state stays, and guests that run go
 * on, for it is only their supervisor that cannot start. Without guests nothing of it runs on.
 */
export async function rackRest(state: string, plan: RackPlan): Promise<Result<null, string>> {
  await Promise.all(
    plan.sleds.map(async ({ number }) => {
      await stopSupervisor(sledState(state, number))
    }),
  )
  for (const { number } of plan.sleds) {
    const zones = await makeZones(sledConfigOf(state, plan, number)).list()
    if (!zones.ok) return zones
    if (zones.value.some((zone) => zone.state === 'running' && !isNexusZone(zone.name))) {
      return ok(null)
    }
  }
  return await takeDown(state, plan, true)
}

async function sledDown(
  state: string,
  plan: RackPlan,
  number: number,
  keepState: boolean,
): Promise<Result<null, string>> {
  const directory = sledState(state, number)
  if (!existsSync(directory)) return ok(null)
  await stopSupervisor(directory)
  const config = sledConfigOf(state, plan, number)
  const trials = await makeVmm(config).endTrials()
  if (!trials.ok) return trials
  // Guests and services first: they hold the volumes and the links.
  const zones = await makeZones(config).destroyAll(grace_ms)
  if (!zones.ok) return zones
  const block = makeBlock(config)
  const volumes = keepState ? await block.unexportAll() : await block.destroyAll()
  if (!volumes.ok) return volumes
  const ports = makePorts(config)
  const links = ports.destroyAll()
  ports.close()
  return links
}

/** Removes the rack's own files, the plan last. */
function forget(state: string, plan: RackPlan): void {
  for (const { number } of plan.sleds) {
    rmSync(sledState(state, number), { recursive: true, force: true })
  }
  for (const index of plan.nexus.keys()) {
    rmSync(nexusState(state, index + 1), { recursive: true, force: true })
  }
  rmSync(authorityState(state), { recursive: true, force: true })
  rmSync(planPath(state), { force: true })
}

/** A directory that holds others' files stays. */
function removeEmpty(state: string): void {
  if (!existsSync(state) || readdirSync(state).length > 0) return
  try {
    rmdirSync(state)
  } catch {
    // A mount point, or a directory in one that is not ours to change: it stays, empty.
  }
}
