/** Work that leaves a trace: every execution of a request is written down outside of whoever did it. */
import { appendFileSync } from 'node:fs'
import { Type } from 'typebox'
import { behaviour } from '#runtime/actor/actor.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'

/** Threads of the process that tells, by the kind that each hosts. */
export const threadNames = ['one', 'two', 'three'] as const
export const routes = { one: 'one', two: 'two', three: 'three' } as const
export const hostNames = ['far-one', 'far-two'] as const

const job = Type.Object({
  request: Type.Integer(),
  pause_ms: Type.Integer(),
  payload: Type.String(),
})
export const workProtocol = (name: string) =>
  protocol(name, 1, {
    /** Does a request, which takes `pause_ms`; answers with its number. */
    work: call(1, { request: job, reply: Type.Integer(), errors: [] }),
    /** Has another actor do a request; answers with what became of it. */
    relay: call(2, {
      request: Type.Object({
        kind: Type.String(),
        host: Type.Union([Type.String(), Type.Null()]),
        id: Type.String(),
        timeout_ms: Type.Integer(),
        job,
      }),
      reply: Type.String(),
      errors: [],
    }),
    /** Ends the thread or process that the actor runs in, in the middle of everything. */
    die: call(3, { request: nothing, reply: nothing, errors: [] }),
    crash: call(4, { request: nothing, reply: nothing, errors: [] }),
  })

/** `done` is the file that executions are appended to: one write each, kept whatever dies then. */
export const workActor = (name: string) =>
  behaviour<ReturnType<typeof workProtocol>, null, { readonly done: string }>({
    protocol: workProtocol(name),
    child: {
      restart: 'permanent',
      restarts_max: 1_000,
      restarts_period_ms: 1_000,
      shutdown_ms: 50,
      mailbox_max: 32,
      thread: name,
      activation: 'by_id',
    },
    init: () => null,
    invariant: () => undefined,
    handlers: {
      work: async (context, state, { request, pause_ms }) => {
        appendFileSync(context.deps.done, `${request}\n`)
        if (pause_ms > 0) await context.clock.sleep(pause_ms)
        return { state, result: ok(request) }
      },
      relay: (context, state, { kind, host, id, timeout_ms, job: what }) => ({
        state,
        result: context
          .ref(workProtocol(kind), id, host)
          .call('work', what, { timeout_ms })
          .then((answer) => ok(answer.ok ? 'ok' : answer.error)),
      }),
      die: () => process.exit(9),
      crash: () => {
        throw new Error('as asked')
      },
    },
  })
