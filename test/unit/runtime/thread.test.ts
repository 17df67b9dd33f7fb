/** Actors on worker threads: direct calls, a thread's death, its return, and an orderly stop. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { makePipes } from '#native/pipes.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { ThreadLinks } from '#runtime/thread/links.ts'
import { Threads } from '#runtime/thread/threads.ts'
import { routes, talkProtocol, threadNames } from '#test/kit/echo_thread.ts'
import { until } from '#test/kit/rack.ts'

const exhausted: string[] = []
const pipes = makePipes()
const broken: string[] = []
const links = new ThreadLinks({
  clock: systemClock,
  pipes,
  onBroken: (thread) => broken.push(thread),
})
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
  onExhausted: (thread) => exhausted.push(thread),
})
before(async () => {
  links.host = system
  await threads.start()
})
after(async () => {
  await threads.stop()
})

const soon = { timeout_ms: 3_000 }
const say = async (name: 'left' | 'right', through: boolean) =>
  await system.ref(talkProtocol(name), 'a').call('say', { through }, soon)

test('main calls an actor on a thread, and threads call each other directly', async () => {
  assert.deepEqual(await say('left', false), ok('left'))
  assert.deepEqual(await say('left', true), ok('right left'))
  assert.deepEqual(await say('right', true), ok('left right'))
})

test('a thread’s death fails the calls to it at once, and it comes back for everybody', async () => {
  const left = system.ref(talkProtocol('left'), 'a')
  const hanging = left.call('hang', null, { timeout_ms: 60_000 })
  const dying = await system.ref(talkProtocol('left'), 'b').call('die', null, soon)
  assert.ok(!dying.ok && dying.error === 'crashed')
  const answer = await hanging
  assert.ok(!answer.ok && answer.error === 'crashed')
  await until('the thread is back', 5_000, async () =>
    (await say('left', false)).ok ? true : null,
  )
  assert.deepEqual(await say('right', true), ok('left right'))
  assert.deepEqual(await say('left', true), ok('right left'))
})

test('a thread that dies again and again is given up, and said so', async () => {
  for (let turn = 0; turn < 6; turn += 1) {
    await until('it is up', 5_000, async () => {
      const answer = await system.ref(talkProtocol('right'), 'b').call('die', null, soon)
      return !answer.ok && answer.error === 'crashed' ? true : null
    })
    if (exhausted.length > 0) break
  }
  await until('it is given up', 5_000, () => (exhausted.includes('right') ? true : null))
  assert.ok((await say('left', false)).ok, 'the other thread goes on')
})

test('what runs can be inspected thread by thread', async () => {
  const left = (await threads.look(0)).find(({ name }) => name === 'left')
  assert.ok(left?.actors.some(({ name, phase }) => name === 'left/a' && phase === 'idle'))
})
