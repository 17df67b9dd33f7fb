/** Messages of the journal: what this sled was asked to have, durable before it is acknowledged. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { limits } from '#config/limits.ts'
import { nullable } from '#actors/schema.ts'

const kind = Type.String({ minLength: 1, maxLength: 32 })
const id = Type.String({ minLength: 1, maxLength: 128 })
/** A JSON value: its shape is the business of the actor that wrote it. */
const document = Type.Unknown()

export const journalEntry = Type.Object({ kind, id, document })
export type JournalEntry = Static<typeof journalEntry>

/** The number of an event in its stream; the first is 1. */
const seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/**
 * One actor a host, id `sled`. An entry is a stream: a document, and the events appended after it.
 * Whatever writes is answered when it is on the disk; `os_failed` says that the disk refused and
 * that nothing of this write is there.
 */
export const journalProtocol = protocol('journal', 2, {
  get: call(1, {
    request: Type.Object({ kind, id }),
    reply: nullable(document),
    errors: [],
    idempotent: true,
  }),
  list: call(2, {
    request: Type.Object({ kind: nullable(kind) }),
    reply: Type.Array(journalEntry),
    errors: [],
    idempotent: true,
  }),
  /** The document replaces the one before and all events. */
  put: call(3, { request: journalEntry, reply: nothing, errors: ['os_failed'], idempotent: true }),
  remove: call(4, {
    request: Type.Object({ kind, id }),
    reply: nothing,
    errors: ['os_failed'],
    idempotent: true,
  }),
  /** Adds events, all or none; answered with the number of the last. */
  append: call(5, {
    request: Type.Object({
      kind,
      id,
      documents: Type.Array(document, { minItems: 1, maxItems: limits.journal_append_max }),
    }),
    reply: seq,
    errors: ['os_failed'],
    idempotent: false,
  }),
  /**
   * A page of what follows event `after` (null: from the beginning): the snapshot, if it stands for
   * any of that, and events. `next` is the `after` of the next page, null when there is none.
   */
  read: call(6, {
    request: Type.Object({
      kind,
      id,
      after: nullable(seq),
      limit: Type.Integer({ minimum: 1, maximum: limits.journal_read_events_max }),
    }),
    reply: Type.Object({
      snapshot: nullable(Type.Object({ through: seq, document })),
      events: Type.Array(Type.Object({ seq, document })),
      next: nullable(seq),
    }),
    errors: [],
    idempotent: true,
  }),
  /**
   * The document stands for the events through `through`, which are then gone. `conflict`: there is
   * no such event, or a snapshot stands for more already.
   */
  snapshot: call(7, {
    request: Type.Object({ kind, id, document, through: seq }),
    reply: nothing,
    errors: ['conflict', 'os_failed'],
    idempotent: true,
  }),
  /** Gives the disk back what is superfluous; also done unasked, once it is much. */
  compact: call(8, { request: nothing, reply: nothing, errors: ['os_failed'], idempotent: true }),
})
