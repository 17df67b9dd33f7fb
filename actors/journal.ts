/** The journal as an actor: everybody's durable memory of what this sled was asked to have. */
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { NotWritten, type Journal } from '#runtime/journal/journal.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { journalProtocol } from '#actors/journal.protocol.ts'

type JournalContext = Context<{ readonly journal: Journal }, typeof journalProtocol>

/** Writes answer late: the actor goes on while they wait, and those of one tick share a commit. */
export const journal = behaviour({
  protocol: journalProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 3,
    restarts_period_ms: 10_000,
    shutdown_ms: 5_000,
    mailbox_max: 4096,
    thread: 'journal',
    activation: 'start',
  },
  init: (_context: JournalContext) => null,
  invariant: () => undefined,
  handlers: {
    get: (context, state, request) => ({
      state,
      result: ok(context.deps.journal.get(request.kind, request.id)),
    }),
    list: (context, state, request) => ({
      state,
      result: ok([...context.deps.journal.list(request.kind)]),
    }),
    put: (context, state, request) => ({
      state,
      result: written(context.deps.journal.put(request).then(() => ok(null))),
    }),
    remove: (context, state, request) => ({
      state,
      result: written(context.deps.journal.remove(request.kind, request.id).then(() => ok(null))),
    }),
    append: (context, state, { kind, id, documents }) => ({
      state,
      result: written(context.deps.journal.append(kind, id, documents).then(ok)),
    }),
    read: (context, state, { kind, id, after, limit }) => {
      const { events, ...page } = context.deps.journal.read(kind, id, after, limit)
      return { state, result: ok({ ...page, events: [...events] }) }
    },
    snapshot: (context, state, { through, ...entry }) => ({
      state,
      result: written(context.deps.journal.snapshot(entry, through)),
    }),
    compact: (context, state) => ({
      state,
      result: written(context.deps.journal.compact().then(() => ok(null))),
    }),
  },
})

/** A disk that refuses is no reason for this actor to crash: it goes on when there is room again. */
async function written<T, E extends string>(
  writing: Promise<Result<T, E>>,
): Promise<Result<T, E | 'os_failed'>> {
  try {
    return await writing
  } catch (error) {
    if (error instanceof NotWritten) return err('os_failed', explain(error))
    throw error
  }
}
