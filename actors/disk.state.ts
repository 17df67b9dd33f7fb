/**
 * What a disk is and which way it may go. Pure: plans say what to do, the actor does it.
 *
 *   absent ──create──► ready ──export──► exported (to one instance)
 *     ▲                 │ ▲                  │
 *     └────destroy──────┘ └────unexport──────┘
 */
import { err, ok, type Result } from '#runtime/result.ts'

export interface DiskIntent {
  readonly id: string
  readonly size_bytes: number
  readonly block_size: number
  readonly source: unknown
}
/** What is journaled: the volume that should exist, and who may use it. */
export interface DiskWanted<S extends DiskIntent = DiskIntent> {
  readonly spec: S
  readonly attachment: { readonly instance_id: string; readonly read_only: boolean } | null
}
export interface DiskState<S extends DiskIntent = DiskIntent> {
  readonly id: string
  /** Null: nobody asked for this disk, or it is gone. */
  readonly wanted: DiskWanted<S> | null
  readonly phase: 'absent' | 'ready' | 'exported'
}

/** The same request again is fine; another one under the same id is not. */
export function planEnsure<S extends DiskIntent>(
  state: DiskState<S>,
  spec: S,
): Result<'create' | 'none', 'conflict'> {
  if (state.wanted !== null && JSON.stringify(state.wanted.spec) !== JSON.stringify(spec)) {
    return err('conflict', `disk ${state.id} is already made with ${describe(state.wanted.spec)}`)
  }
  return ok(state.phase === 'absent' ? 'create' : 'none')
}

/** A disk is for one instance at a time. */
export function planAttach<S extends DiskIntent>(
  state: DiskState<S>,
  attachment: NonNullable<DiskWanted['attachment']>,
): Result<DiskWanted<S>, 'not_found' | 'attached_elsewhere'> {
  if (state.wanted === null || state.phase === 'absent') {
    return err('not_found', `disk ${state.id} has no volume on this sled`)
  }
  const held = state.wanted.attachment
  if (held !== null && held.instance_id !== attachment.instance_id) {
    return err('attached_elsewhere', `disk ${state.id} is attached to instance ${held.instance_id}`)
  }
  return ok({ ...state.wanted, attachment })
}

/** Only the instance that holds it can let go; anybody else's detach has nothing to do. */
export function planDetach<S extends DiskIntent>(
  state: DiskState<S>,
  instance_id: string,
): DiskWanted<S> | null {
  if (state.wanted?.attachment?.instance_id !== instance_id) return null
  return { ...state.wanted, attachment: null }
}

export function planDestroy(state: DiskState): Result<null, 'attached'> {
  const held = state.wanted?.attachment ?? null
  return held === null
    ? ok(null)
    : err('attached', `disk ${state.id} is attached to instance ${held.instance_id}`)
}

const describe = (spec: DiskIntent) => `${spec.size_bytes} bytes in blocks of ${spec.block_size}`
