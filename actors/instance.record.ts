/** What a sled remembers of an instance: journaled at every change, so that a crash is settled by `init`. */
import { Type } from 'typebox'
import { ok, type Result } from '#runtime/result.ts'
import {
  instanceRuntime,
  instanceSpec,
  migration,
  type InstanceRuntime,
  type InstanceSpec,
} from '#actors/instance.protocol.ts'
import type { Migration, RunState } from '#actors/instance.state.ts'
import type { InstanceContext } from '#actors/instance.work.ts'
import { remember } from '#actors/memory.ts'
import { nullable } from '#actors/schema.ts'

export const record = Type.Object({
  spec: instanceSpec,
  runtime: instanceRuntime,
  /** Absent in journals of before. */
  migration: Type.Optional(
    nullable(Type.Object({ ...migration.properties, side: Type.Enum(['source', 'target']) })),
  ),
})
export interface InstanceState {
  /** Null: nobody asked for this instance, or it is destroyed. */
  readonly spec: InstanceSpec | null
  readonly runtime: InstanceRuntime
  /** What Nexus has taken; forgotten with the process, so that it is told once more. */
  readonly reported_gen: number
  /** The one that is under way; null for none. */
  readonly migration: Migration | null
  /** Ends the watch over the running machine; null while none is watched. */
  readonly unwatch: (() => void) | null
  readonly report_pause_ms: number
}

export const report_pause_ms_min = 100

export const blank = (context: InstanceContext): InstanceState => ({
  spec: null,
  runtime: { run_state: 'creating', gen: 0, time_updated_ms: context.clock.now() },
  reported_gen: 0,
  migration: null,
  unwatch: null,
  report_pause_ms: report_pause_ms_min,
})

/** A generation above Nexus' own, so that the next report counts. */
export function withGeneration(state: InstanceState, gen: number): InstanceState {
  return gen <= state.runtime.gen ? state : { ...state, runtime: { ...state.runtime, gen } }
}

/** Journals a new run state, then believes it and tells Nexus, after a pause. */
export async function move(
  context: InstanceContext,
  state: InstanceState,
  run_state: RunState,
  pause_ms = 0,
): Promise<Result<InstanceState, 'os_failed'>> {
  if (run_state === state.runtime.run_state && state.runtime.gen > 0) return ok(state)
  const next: InstanceState = {
    ...state,
    runtime: { run_state, gen: state.runtime.gen + 1, time_updated_ms: context.clock.now() },
    // A migration lasts as long as the state of its name.
    migration: run_state === 'migrating' ? state.migration : null,
  }
  const written = await write(context, next)
  if (!written.ok) return written
  context.after(pause_ms, 'report', null)
  return ok(next)
}

export async function write(
  context: InstanceContext,
  { spec, runtime, migration: current }: InstanceState,
): Promise<Result<null, 'os_failed'>> {
  return await remember(context, 'instance', { spec, runtime, migration: current })
}

export async function forget(context: InstanceContext): Promise<Result<null, 'os_failed'>> {
  return await remember(context, 'instance', null)
}
