/**
 * What a process looks like from inside, at one moment: the one thing that `luge top`, `luge metrics`
 * and `luge why` are views of. Ages are in milliseconds before the snapshot, so that those of two
 * hosts can be put side by side. Every list is bounded: what is most worth seeing comes first.
 */
import { Type, type Static } from 'typebox'

/** Bounds of one thread's lists. */
export const seen_max = { actors: 400, calls: 400, natives: 100, rows: 500, kinds: 500 } as const

const text = Type.String({ maxLength: 512 })
const count = Type.Number({ minimum: 0 })
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()])

const actorSeen = Type.Object({
  name: text,
  phase: Type.Enum(['starting', 'idle', 'ready', 'busy', 'down', 'stopped']),
  /** Messages that wait. */
  depth: count,
  handled: count,
  restarts: count,
  last_failure: nullable(text),
  /** What it works on: a message's name, or `init`. Null: nothing that takes longer than a moment. */
  running: nullable(Type.Object({ message: text, for_ms: count })),
})
export type ActorSeen = Static<typeof actorSeen>

const kindSeen = Type.Object({
  name: text,
  /** The groups that it fails with, the outermost first; null for actors that messages make. */
  group: nullable(text),
  actors: count,
  depth: count,
  handled: count,
  crashes: count,
})
export type KindSeen = Static<typeof kindSeen>

const callSeen = Type.Object({
  /** Empty: this host. */
  to_host: text,
  to_actor: text,
  message: text,
  /** On whose behalf; null when that is nobody in particular. */
  by: nullable(
    Type.Object({
      what: text,
      /** The actor; null when it is none, but a request from outside. */
      actor: nullable(text),
      /** Its handler has not ended: it is what the actor works on now. */
      is_running: Type.Boolean(),
    }),
  ),
  for_ms: count,
  timeout_ms: count,
})
export type CallSeen = Static<typeof callSeen>

/** A native call, or another thing that is waited for and is no call: see NativeCall. */
const nativeSeen = Type.Object({
  name: text,
  /** The actor; empty when it is none, but a request from outside or a saga's node. */
  actor: text,
  /** What it does; empty when it is for nobody in particular. */
  what: text,
  for_ms: count,
})

const rowSeen = Type.Object({
  /** `disk.attach`. */
  name: text,
  count,
  failures: count,
  sum_ms: count,
  p50_ms: count,
  p99_ms: count,
  max_ms: count,
})
export type RowSeen = Static<typeof rowSeen>

const channelSeen = Type.Object({
  /** `thread storage`, `host …`. */
  to: text,
  is_up: Type.Boolean(),
  /** Why it is not up. */
  why: nullable(text),
  /** Calls of ours that wait for the other end. */
  inflight: count,
  /** Calls of the other end that wait for us. */
  served: count,
})
export type ChannelSeen = Static<typeof channelSeen>

export const threadSeen = Type.Object({
  name: text,
  /** False: it did not answer in time; then all else is empty but `blocked_in`. */
  answers: Type.Boolean(),
  /** The native call that keeps it from answering, when it is one. */
  blocked_in: nullable(Type.Object({ what: text, for_ms: count })),
  /** The share of time that its loop worked since the look before. */
  utilization: count,
  /** How late its timers were, while it is watched; null at the first look. */
  delay_p99_ms: nullable(count),
  kinds: Type.Array(kindSeen),
  actors: Type.Array(actorSeen),
  calls: Type.Array(callSeen),
  natives: Type.Array(nativeSeen),
  /** Since somebody watches. */
  rows: Type.Array(rowSeen),
  channels: Type.Array(channelSeen),
  dead_letters: Type.Object({ count, last: Type.Array(text) }),
  /** Whatever else is counted there, since it began. */
  counters: Type.Record(Type.String(), Type.Number()),
})
export type ThreadSeen = Static<typeof threadSeen>

export const snapshot = Type.Object({
  service: Type.Enum(['sled', 'nexus']),
  host: text,
  pid: count,
  now_ms: count,
  uptime_ms: count,
  cpu_ms: count,
  rss_bytes: count,
  heap_bytes: count,
  threads: Type.Array(threadSeen),
  links: Type.Array(channelSeen),
  /** Requests by operation and status; empty where nothing is served. */
  http: Type.Array(Type.Object({ operation: text, status: count, count, sum_ms: count })),
})
export type Snapshot = Static<typeof snapshot>

/** A thread that says nothing. */
export const silentThread = (name: string, blocked_in: ThreadSeen['blocked_in']): ThreadSeen => ({
  name,
  answers: false,
  blocked_in,
  utilization: 0,
  delay_p99_ms: null,
  kinds: [],
  actors: [],
  calls: [],
  natives: [],
  rows: [],
  channels: [],
  dead_letters: { count: 0, last: [] },
  counters: {},
})

export const shown = (long: string): string => (long.length > 512 ? `${long.slice(0, 511)}…` : long)
