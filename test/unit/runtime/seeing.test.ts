/** Seeing in: what a process looks like, what waits for what, and what it costs while nobody looks. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { makePipes } from '#native/pipes.sys.ts'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { onBehalfOf } from '#runtime/behalf.ts'
import { manualClock, systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { ok } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Lookout } from '#runtime/seeing/lookout.ts'
import { metricsText } from '#runtime/seeing/metrics.ts'
import { lookAtProcess } from '#runtime/seeing/process.ts'
import { seen_max, snapshot, type Snapshot } from '#runtime/seeing/snapshot.ts'
import { drawTop } from '#runtime/seeing/top.ts'
import { whyOf } from '#runtime/seeing/why.ts'
import { System } from '#runtime/actor/system.ts'
import { ThreadLinks } from '#runtime/thread/links.ts'
import { Threads } from '#runtime/thread/threads.ts'
import { routes, talkProtocol, threadNames } from '#test/kit/echo_thread.ts'
import { until } from '#test/kit/rack.ts'
import { aloneSystem } from '#test/kit/alone.ts'

const counterProtocol = protocol('counter', 1, {
  add: call(1, { request: nothing, reply: nothing, errors: [] }),
  wait: call(2, { request: nothing, reply: nothing, errors: [] }),
  crash: call(3, { request: nothing, reply: nothing, errors: [] }),
  sleep: call(4, { request: nothing, reply: nothing, errors: [] }),
})
/** It waits until its gate is opened. */
const counter = behaviour({
  protocol: counterProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 2,
    restarts_period_ms: 5_000,
    shutdown_ms: 100,
    mailbox_max: 3,
    thread: 'main',
    activation: 'by_id',
  },
  init: (_context: Context<{ readonly gate: Promise<void> }>) => null,
  invariant: () => undefined,
  handlers: {
    add: (_context, state) => ({ state, result: ok(null) }),
    wait: async (context, state) => {
      await context.deps.gate
      return { state, result: ok(null) }
    },
    crash: () => {
      throw new Error('it crashes as told')
    },
    sleep: async (context, state) => {
      await context.clock.sleep(30_000, context.signal)
      return { state, result: ok(null) }
    },
  },
})

const pipes = makePipes()
const links = new ThreadLinks({ clock: systemClock, pipes, onBroken: () => undefined })
const system: System = new System({
  host: 'here',
  thread: 'main',
  clock: systemClock,
  random: systemRandom,
  log: memoryLog(),
  routes,
  toThread: (thread) => links.to(thread),
  toHost: () => null,
})
const threads = new Threads({
  entry: new URL('../../kit/echo_thread.ts', import.meta.url),
  names: threadNames,
  data: null,
  links,
  pipes,
  log: memoryLog(),
  clock: systemClock,
  onExhausted: () => undefined,
})
const lookout = new Lookout({
  thread: 'main',
  system,
  clock: systemClock,
  channels: () => links.inspect(),
  counters: () => ({ things_done: 3 }),
})
before(async () => {
  links.host = system
  await threads.start()
})
after(async () => {
  lookout.close()
  await threads.stop()
})

async function look(measure_ms = 0): Promise<Snapshot> {
  return await lookAtProcess(
    {
      service: 'sled',
      host: 'here',
      clock: systemClock,
      lookout,
      threads: async (ms) => await threads.look(ms),
      links: () => [
        { to: 'host away', is_up: false, why: 'it said "no"\n', inflight: 0, served: 0 },
      ],
      http: () => [{ operation: 'GET /x', status: 200, count: 2, sum_ms: 5 }],
    },
    measure_ms,
  )
}
const soon = { timeout_ms: 60_000 }
const left = () => system.ref(talkProtocol('left'), 'a')

test('a call that waits is followed through threads to the native call that runs', async () => {
  const waiting = left().call('wait', { how: 'naps', ms: 2_000 }, soon)
  const seen = await until('right/a naps', 5_000, async () => {
    const now = await look()
    return now.threads.some(({ natives }) => natives.length > 0) ? now : null
  })
  assert.ok(fits(snapshot, seen))
  const [chain = []] = whyOf([seen], [], 'left/a wait')
  const steps = [
    /^somebody in sled here waits for left\/a wait, for \d+\.\d s of at most 60\.0 s\.$/,
    /^left\/a \(thread left of sled here\) works on wait for \d+\.\d s\.$/,
    /^left\/a wait waits for right\/a rest, for \d+\.\d s of at most 60\.0 s\.$/,
    /^right\/a \(thread right of sled here\) works on rest for \d+\.\d s\.$/,
    /^The native call bed\.naps of right\/a rest runs for \d+\.\d s\.$/,
  ]
  assert.equal(chain.length, steps.length, chain.join('\n'))
  for (const [at, step] of steps.entries()) assert.match(chain[at] ?? '', step)
  assert.deepEqual(await waiting, ok(null))
  assert.deepEqual(whyOf([await look()], [], null), [], 'nothing is stuck any more')
})

test('a thread that is blocked is named with the native call that blocks it', async () => {
  const waiting = left().call('wait', { how: 'sleeps', ms: 4_000 }, soon)
  const seen = await until('right is silent', 3_000, async () => {
    const now = await look()
    return now.threads.some(({ name, answers }) => name === 'right' && !answers) ? now : null
  })
  assert.ok(fits(snapshot, seen))
  const right = seen.threads.find(({ name }) => name === 'right')
  assert.equal(right?.blocked_in?.what, 'bed.sleeps for right/a rest')
  const chain = whyOf([seen], [], 'left/a wait')[0] ?? []
  assert.match(
    chain.at(-1) ?? '',
    /^thread right of sled here does not answer: the native call bed\.sleeps for right\/a rest keeps it for \d+\.\d s\.$/,
  )
  assert.match(drawTop(viewOf(seen), endless).join('\n'), /right +silent .*in bed\.sleeps/)
  assert.deepEqual(await waiting, ok(null))
  await until('all answer again', 10_000, async () =>
    (await look()).threads.every(({ answers }) => answers) ? true : null,
  )
})

test('messages that wait behind a stuck one are counted, and who is down says why', async () => {
  const gate = Promise.withResolvers<void>()
  system.add(counter, { gate: gate.promise })
  const actor = system.ref(counterProtocol, 'a')
  const stuck = [1, 2, 3].map(async () => await actor.call('wait', null, soon))
  await until('one is handled, two wait', 5_000, async () => {
    const now = await look()
    const found = now.threads[0]?.actors.find(({ name }) => name === 'counter/a')
    return found?.running?.message === 'wait' && found.depth === 2 ? true : null
  })
  const told = whyOf([await look()], [], 'counter/a')
    .flat()
    .join('\n')
  assert.match(told, /works on wait for \d+\.\d s, and 2 messages wait behind it/)
  assert.match(told, /waits for nothing that is seen here/)
  gate.resolve()
  await Promise.all(stuck)

  const other = system.ref(counterProtocol, 'b')
  for (let turn = 0; turn < 3; turn += 1) await other.call('crash', null, soon)
  const down = whyOf([await look()], [], 'counter/b')
    .flat()
    .join('\n')
  assert.match(down, /^counter\/b is down \(thread main of sled here\): it crashes as told\.$/)
})

/** A system of its own, with counters in it, and who looks at it. */
function seenSystem() {
  const clock = manualClock()
  const own = aloneSystem({ clock })
  own.add(counter, { gate: Promise.resolve() })
  const watch = new Lookout({
    thread: 'main',
    system: own,
    clock,
    channels: () => [],
    counters: () => ({}),
  })
  return { clock, own, watch }
}

test('who waits for a timer, and who for something that is no actor, is told what that is', async () => {
  const { clock, own, watch } = seenSystem()
  const sleeping = own.ref(counterProtocol, 'a').call('sleep', null, soon)
  const gate = Promise.withResolvers<string>()
  const asking = onBehalfOf(
    { what: 'POST /x (request 1)' },
    async () => await own.natives.during('store: select 1', async () => await gate.promise),
  )
  const background = own.natives.during('store: select 2', async () => await gate.promise)
  await clock.advance(2_000)
  const seen = { ...(await look()), threads: [await watch.look(0)] }
  assert.ok(fits(snapshot, seen))
  assert.deepEqual(whyOf([seen], [], null), [
    [
      'somebody in sled here waits for counter/a sleep, for 2.0 s of at most 60.0 s.',
      'counter/a (thread main of sled here) works on sleep for 2.0 s.',
      'counter/a sleep waits for the timer of 30000 ms, for 2.0 s.',
    ],
    ['POST /x (request 1) waits for the store: select 1, for 2.0 s.'],
  ])
  assert.equal(whyOf([seen], [], 'request 1').length, 1)
  gate.resolve('an answer')
  assert.deepEqual(await Promise.all([asking, background]), ['an answer', 'an answer'])
  await clock.advance(30_000)
  assert.deepEqual(await sleeping, ok(null))
  assert.equal(own.natives.running.size, 0)
})

test('a host that cannot be looked at ends the chain with the reason', async () => {
  const seen = await look()
  const [main] = seen.threads
  assert.ok(main !== undefined)
  const asked = {
    to_host: 'there',
    to_actor: 'disk/1',
    message: 'attach',
    by: { what: 'POST /x', actor: null, is_running: false },
    for_ms: 2_000,
    timeout_ms: 5_000,
  }
  const asking = { ...seen, threads: [{ ...main, calls: [asked] }] }
  assert.deepEqual(whyOf([asking], [{ host: 'there', why: 'it does not run' }], null), [
    [
      'POST /x waits for disk/1 attach in host there, for 2.0 s of at most 5.0 s.',
      'disk/1 is in host there, which cannot be looked at: it does not run.',
    ],
  ])
})

const none = { depth: 0, handled: 0, crashes: 0 }
const asks = (from: string, to: string) => ({
  to_host: '',
  to_actor: to,
  message: 'ask',
  by: { what: `${from} ask`, actor: from, is_running: true },
  for_ms: 2_000,
  timeout_ms: 5_000,
})
const actor = (name: string) => ({
  name,
  phase: 'busy' as const,
  depth: 0,
  handled: 0,
  restarts: 0,
  last_failure: null,
  running: { message: 'ask', for_ms: 2_000 },
})
const kind = (name: string) => ({ ...none, name, group: null, actors: 1 })

test('two who wait for each other are a circle that is said once', async () => {
  const seen = await look()
  const [main] = seen.threads
  assert.ok(main !== undefined)
  const circle: Snapshot = {
    ...seen,
    threads: [
      {
        ...main,
        kinds: [kind('x'), kind('y')],
        actors: [actor('x/1'), actor('y/1')],
        calls: [asks('x/1', 'y/1'), asks('y/1', 'x/1')],
      },
    ],
  }
  const chains = whyOf([circle], [], null)
  assert.equal(chains.length, 1)
  assert.match(chains[0]?.at(-1) ?? '', /in a circle\.$/)
})

test('messages are measured while somebody watches, and some time after', async () => {
  const { clock, own, watch } = seenSystem()
  const add = async () => await own.ref(counterProtocol, 'a').call('add', null, soon)
  await add()
  assert.equal(own.observer.isLooking, false, 'nobody has looked yet')
  assert.deepEqual((await watch.look(5_000)).rows, [])
  await add()
  const [row] = (await watch.look(5_000)).rows
  assert.deepEqual([row?.name, row?.count, row?.failures], ['counter.add', 1, 0])
  await clock.advance(4_000)
  await watch.look(5_000)
  await clock.advance(4_000)
  assert.equal(own.observer.isLooking, true, 'the last look counts')
  await clock.advance(2_000)
  assert.equal(own.observer.isLooking, false)
  watch.close()
})

test('a snapshot stays small whatever the number of actors, and shows those in trouble', async () => {
  const own = aloneSystem()
  const gate = Promise.withResolvers<void>()
  own.add(counter, { gate: gate.promise })
  const stuck = own.ref(counterProtocol, '7000').call('wait', null, soon)
  const count = 20_000
  for (let id = 0; id < count; id += 1) own.ref(counterProtocol, String(id)).cast('add', null)
  const watch = new Lookout({
    thread: 'main',
    system: own,
    clock: systemClock,
    channels: () => [],
    counters: () => ({}),
  })
  const seen = await watch.look(0)
  assert.equal(seen.kinds[0]?.actors, count)
  assert.equal(seen.actors.length, seen_max.actors)
  assert.equal(seen.actors[0]?.name, 'counter/7000')
  gate.resolve()
  await stuck
})

const endless = { width: 400, height: null } as const
const viewOf = (seen: Snapshot, earlier: readonly Snapshot[] = []) =>
  ({ now: [seen], before: earlier, unseen: [], sort: 'tree', filter: '' }) as const

test('the screen is a tree with rates, or a list by a column, and fits where it is drawn', async () => {
  const first = await look(2_000)
  await left().call('say', { through: true }, soon)
  const seen = await look(2_000)
  const later = { ...seen, now_ms: first.now_ms + 1_000 }
  const text = drawTop(viewOf(later, [first]), endless).join('\n')
  assert.match(text, /^sled here {2}pid \d+ {2}up /)
  assert.match(text, /\n {2}left .*\n {4}left .*\n {6}left\/a +idle +0 +1\.0 /)
  assert.match(text, /\nleft\.say +1 +/)
  assert.match(text, /\nsled → host away +down .*it said/)
  const sorted = drawTop(
    { ...viewOf(later, [first]), sort: 'handled', filter: '/a' },
    { width: 80, height: 20 },
  )
  assert.ok(sorted.length <= 20, `${sorted.length} lines`)
  assert.ok(sorted.every((line) => line.length <= 80))
  assert.ok(sorted.every((line) => !line.startsWith('counter/b')))
})

test('metrics are one family a name, and odd labels are escaped', async () => {
  const text = metricsText([await look(2_000)])
  const types = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name)
  assert.equal(new Set(types).size, types.length)
  assert.match(text, /^luge_things_done_total\{service="sled",host="here",thread="main"\} 3$/m)
  assert.match(text, /^luge_http_request_seconds_count\{.*operation="GET \/x",status="200"\} 2$/m)
  assert.match(text, /^luge_link_up\{service="sled",host="here",to="host away"\} 0$/m)
  assert.match(text, /^luge_thread_up\{.*thread="right"\} 1$/m)
  assert.equal(
    metricsText([{ ...(await look()), host: 'a"b\\c\nd' }]).includes('host="a\\"b\\\\c\\nd"'),
    true,
  )
})
