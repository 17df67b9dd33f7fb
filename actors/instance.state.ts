/**
 * The instance's state machine (Omicron's `common/instance.rs` as of 2022-11-11, with two changes:
 * a reboot ends in `running`, and a guest that ends by itself ends in `stopped`). Pure.
 *
 *   creating ──run──► starting ──seen──► running ──stop──► stopping ──seen──► stopped
 *                        ▲                │  ▲                                  │
 *                        │                reboot ──► rebooting ──seen──► running│
 *                        └────────────────run───────────────────────────────────┘
 *
 * A running guest that migrates is `migrating` on both sleds until Nexus says where it goes on; there it
 * is `running` again, and the other sled forgets it.
 */
import { err, ok, type Result } from '#runtime/result.ts'

export type RunState =
  | 'creating'
  | 'starting'
  | 'running'
  | 'stopping'
  | 'stopped'
  | 'rebooting'
  | 'migrating'
  | 'repairing'
  | 'failed'
  | 'destroyed'
export type Target = 'running' | 'stopped' | 'reboot' | 'destroyed'
export type Action = 'none' | 'run' | 'stop' | 'reboot' | 'destroy'

export interface Transition {
  readonly next: RunState
  readonly action: Action
}
type Planned = Result<Transition, 'invalid_transition'>

/** What a request for a target state leads to from a run state. */
export function planRequest(from: RunState, target: Target): Planned {
  switch (target) {
    case 'running':
      return planRun(from)
    case 'stopped':
      return planStop(from)
    case 'reboot':
      return planReboot(from)
    case 'destroyed':
      return planDestroy(from)
  }
}

const stay = (from: RunState): Planned => ok({ next: from, action: 'none' })
const refuse = (verb: string, from: RunState): Planned =>
  err('invalid_transition', `cannot ${verb} instance in state "${from}"`)

function planRun(from: RunState): Planned {
  switch (from) {
    case 'starting':
    case 'running':
    case 'rebooting':
    case 'migrating':
      return stay(from)
    case 'creating':
    case 'stopping':
    case 'stopped':
      return ok({ next: 'starting', action: 'run' })
    case 'repairing':
    case 'failed':
    case 'destroyed':
      return refuse('run', from)
  }
}

function planStop(from: RunState): Planned {
  switch (from) {
    case 'stopping':
    case 'stopped':
      return stay(from)
    case 'creating':
      return ok({ next: 'stopped', action: 'none' })
    case 'starting':
    case 'running':
    case 'rebooting':
      return ok({ next: 'stopping', action: 'stop' })
    case 'migrating':
    case 'repairing':
    case 'failed':
    case 'destroyed':
      return refuse('stop', from)
  }
}

function planReboot(from: RunState): Planned {
  if (from === 'rebooting') return stay(from)
  return from === 'starting' || from === 'running'
    ? ok({ next: 'rebooting', action: 'reboot' })
    : refuse('reboot', from)
}

function planDestroy(from: RunState): Planned {
  return from === 'destroyed' ? stay(from) : ok({ next: 'destroyed', action: 'destroy' })
}

/** A migration as both sleds know it; `side`: whether the guest is to leave here or to arrive. */
export interface Migration {
  readonly migration_id: string
  readonly dst_propolis_id: string
  readonly side: 'source' | 'target'
}

/** What a request to migrate leads to while `current` is under way. */
export function planMigrate(
  from: RunState,
  current: Migration | null,
  asked: Omit<Migration, 'side'>,
): Planned {
  if (from !== 'migrating' || current === null) {
    return from === 'running' ? ok({ next: 'migrating', action: 'none' }) : refuse('migrate', from)
  }
  const { migration_id, dst_propolis_id } = current
  return migration_id === asked.migration_id && dst_propolis_id === asked.dst_propolis_id
    ? stay(from)
    : err(
        'invalid_transition',
        `instance is migrating already: migration ${migration_id} to propolis ${dst_propolis_id} is in progress`,
      )
}

/** Whether a machine should be there and go on. */
export const isLive = (from: RunState): boolean =>
  from === 'starting' || from === 'running' || from === 'rebooting'

export type Seen = 'running' | 'reset' | 'shutdown' | 'exited' | 'overdue'

/** What an observation of the machine makes of a run state; `release`: the machine is over. */
export function planSeen(
  from: RunState,
  seen: Seen,
): { readonly next: RunState; readonly action: 'none' | 'kill' | 'release' } {
  const isEnding = from === 'stopping'
  if (seen === 'running' || seen === 'reset') {
    return { next: isLive(from) ? 'running' : from, action: 'none' }
  }
  if (seen === 'shutdown') return { next: isLive(from) ? 'stopping' : from, action: 'none' }
  if (seen === 'overdue') return { next: from, action: isEnding ? 'kill' : 'none' }
  return isLive(from) || isEnding || from === 'migrating'
    ? { next: 'stopped', action: 'release' }
    : { next: from, action: 'none' }
}
