/** A worker thread for tests: it hosts one kind, named after itself, that answers and can be killed. */
import { Type } from 'typebox'
import { makePipes } from '#native/pipes.sys.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { NativeDeps } from '#runtime/actor/native_calls.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { hostThread } from '#runtime/thread/threads.ts'

export const threadNames = ['left', 'right'] as const
export const routes = { left: 'left', right: 'right' } as const

export const talkProtocol = (name: 'left' | 'right') =>
  protocol(name, 1, {
    /** Says its thread's name; `through` asks the other thread first and puts its name in front. */
    say: call(1, {
      request: Type.Object({ through: Type.Boolean() }),
      reply: Type.String(),
      errors: [],
    }),
    /** Never answers. */
    hang: call(2, { request: nothing, reply: nothing, errors: [] }),
    /** Ends the whole thread. */
    die: call(3, { request: nothing, reply: nothing, errors: [] }),
    /** Stays in a native call: `naps` lets the thread go on meanwhile, `sleeps` does not. */
    rest: call(4, {
      request: Type.Object({ how: Type.Enum(['naps', 'sleeps']), ms: Type.Integer() }),
      reply: nothing,
      errors: [],
    }),
    /** Has `a` of the other thread rest, and waits for it. */
    wait: call(5, {
      request: Type.Object({ how: Type.Enum(['naps', 'sleeps']), ms: Type.Integer() }),
      reply: nothing,
      errors: [],
    }),
  })

/** What stands for a platform. */
const bed = {
  naps: async (ms: number) => {
    await systemClock.sleep(ms)
  },
  sleeps: (ms: number) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
  },
}

const talker = (name: 'left' | 'right') =>
  behaviour({
    protocol: talkProtocol(name),
    child: {
      restart: 'permanent',
      restarts_max: 1,
      restarts_period_ms: 1_000,
      shutdown_ms: 50,
      mailbox_max: 10,
      thread: name,
      activation: 'by_id',
    },
    init: (_context: Context<{ readonly bed: typeof bed }>) => null,
    invariant: () => undefined,
    handlers: {
      say: async (context, state, { through }) => {
        if (!through) return { state, result: ok(name) }
        const other = name === 'left' ? 'right' : 'left'
        const said = await context
          .ref(talkProtocol(other), 'a')
          .call('say', { through: false }, { timeout_ms: 2_000 })
        return { state, result: ok(`${said.ok ? said.value : said.error} ${name}`) }
      },
      hang: (_context, state) => ({ state, result: new Promise<never>(() => undefined) }),
      die: () => process.exit(3),
      rest: async (context, state, { how, ms }) => {
        await context.deps.bed[how](ms)
        return { state, result: ok(null) }
      },
      wait: async (context, state, request) => {
        const other = name === 'left' ? 'right' : 'left'
        await context.ref(talkProtocol(other), 'a').call('rest', request, { timeout_ms: 60_000 })
        return { state, result: ok(null) }
      },
    },
  })

// Main imports the protocol; only a thread hosts.
const { isMainThread } = await import('node:worker_threads')
if (!isMainThread) {
  hostThread(async (name, _data, links) => {
    const system = new System({
      host: 'here',
      thread: name,
      clock: systemClock,
      random: systemRandom,
      log: memoryLog(),
      routes,
      toThread: (other) => links.to(other),
      toHost: () => null,
    })
    links.host = system
    system.add(talker(name === 'left' ? 'left' : 'right'), new NativeDeps({ bed }, ['bed']))
    return {
      system,
      stop: async () => {
        await system.stop()
      },
    }
  }, makePipes)
}
