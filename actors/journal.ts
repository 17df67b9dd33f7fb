/** The journal as an actor: everybody's durable memory of what this sled was asked to have. */
import { behaviour, type Context } from '#runtime/actor.ts'
import type { Journal } from '#runtime/journal.ts'
import { ok } from '#runtime/result.ts'
import { journalProtocol } from './journal.protocol.ts'

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
      result: context.deps.journal.put(request).then(() => ok(null)),
    }),
    remove: (context, state, request) => ({
      state,
      result: context.deps.journal.remove(request.kind, request.id).then(() => ok(null)),
    }),
  },
})
