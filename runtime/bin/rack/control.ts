/** Talking to a running process of the rack: a link over the control socket in its state directory. */
import { accessSync, constants } from 'node:fs'
import { randomUUID } from 'node:crypto'
import type { RefMaker } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { stderrLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import type { RackPlan } from './plan.ts'
import { findSupervisor } from './supervisor.ts'

const connect_ms_max = 3_000

/** A process of the rack on this machine. */
export interface Target {
  readonly service: 'sled' | 'nexus'
  readonly host: string
  /** Its state directory. */
  readonly directory: string
  readonly control: string
}
export interface ControlLink {
  readonly ref: RefMaker
  readonly isUp: () => boolean
  readonly close: () => void
}

/** The rack's processes on this machine, sleds first. */
export function targetsOf(state: string, plan: RackPlan): readonly Target[] {
  const sleds = plan.sleds.map((sled) => sledTarget(state, sled))
  return [...sleds, ...nexusTargets(state, plan)]
}

/** The members of Nexus on this machine. */
export function nexusTargets(state: string, plan: RackPlan): readonly Target[] {
  return plan.nexus.map(({ id }, index) => {
    const directory = nexusState(state, index + 1)
    return { service: 'nexus', host: id, directory, control: nexusFiles(directory).control }
  })
}

function sledTarget(state: string, sled: { readonly id: string; readonly number: number }): Target {
  const directory = sledState(state, sled.number)
  return { service: 'sled', host: sled.id, directory, control: sledFiles(directory).control }
}

/** Links up with a process. The caller hangs up. */
export async function openControl(target: Target): Promise<Result<ControlLink, 'not_running'>> {
  const there = isThere(target)
  if (!there.ok) return there
  const path = target.control
  const log = stderrLog('luge', 'error')
  const host = `luge-${randomUUID()}`
  const up = Promise.withResolvers<boolean>()
  const links: Links = new Links({
    host,
    clock: systemClock,
    log,
    random: systemRandom,
    exports: [],
    serve: () => system,
    security: null,
    onPeer: (_peer, isUp) => {
      up.resolve(isUp)
    },
  })
  const system: System = new System({
    host,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log,
    routes: {},
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  const giveUp = systemClock.after(connect_ms_max, () => {
    up.resolve(false)
  })
  links.dial(target.host, connector({ path }))
  const isUp = await up.promise
  giveUp()
  const close = () => {
    links.close()
  }
  if (!isUp) {
    close()
    return err('not_running', `${nameOf(target)} does not answer at ${path}: see its log`)
  }
  return ok({
    close,
    isUp: () => links.peers.length > 0,
    ref: (protocol, id) => system.ref(protocol, id, target.host),
  })
}

/** Links up with a sled's supervisor, asks, and hangs up. */
export async function withSled<T, E extends string>(
  state: string,
  sled: { readonly id: string; readonly number: number },
  ask: (ref: RefMaker) => Promise<Result<T, E>>,
): Promise<Result<T, E | 'not_running'>> {
  const opened = await openControl(sledTarget(state, sled))
  if (!opened.ok) return opened
  try {
    return await ask(opened.value.ref)
  } finally {
    opened.value.close()
  }
}

const nameOf = ({ service, directory }: Target) =>
  `the ${service === 'sled' ? 'supervisor' : 'Nexus'} of ${directory}`

function isThere(target: Target): Result<null, 'not_running'> {
  const absent = err('not_running', `${nameOf(target)} does not run: luge rack up starts it`)
  if (target.service === 'sled' && findSupervisor(target.directory) === null) return absent
  try {
    accessSync(target.control, constants.R_OK | constants.W_OK)
    return ok(null)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return absent
    return err(
      'not_running',
      `${nameOf(target)} may not be asked: ${explain(error)}: act as the user who brought the rack up`,
    )
  }
}
