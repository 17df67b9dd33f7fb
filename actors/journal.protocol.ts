/** Messages of the journal: what this sled was asked to have, durable before it is acknowledged. */
import { Type, type Static } from 'typebox'
import { call, nothing, protocol } from '#runtime/protocol.ts'
import { nullable } from './schema.ts'

const kind = Type.String({ minLength: 1, maxLength: 32 })
const id = Type.String({ minLength: 1, maxLength: 128 })
/** A JSON value: its shape is the business of the actor that wrote it. */
const document = Type.Unknown()

export const journalEntry = Type.Object({ kind, id, document })
export type JournalEntry = Static<typeof journalEntry>

/** One actor a host, id `sled`. */
export const journalProtocol = protocol('journal', 1, {
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
  /** Answered when the entry is on the disk. */
  put: call(3, { request: journalEntry, reply: nothing, errors: [], idempotent: true }),
  remove: call(4, {
    request: Type.Object({ kind, id }),
    reply: nothing,
    errors: [],
    idempotent: true,
  }),
})
