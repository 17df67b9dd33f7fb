/** Watching actors, near and far: each watch tells once, whatever ends what it watches. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Down } from '#runtime/actor/actor.ts'
import { ok } from '#runtime/result.ts'
import { far, joined, mid, near, runtime } from '#test/kit/joined.ts'
import { probeProtocol } from '#test/kit/probe.ts'
import { until } from '#test/kit/rack.ts'

const soon = { timeout_ms: 5_000 }
const unit = probeProtocol('unit')
const settle = async () => {
  for (let turn = 0; turn < 100; turn += 1) await Promise.resolve()
}
const local = () => runtime({ host: 'here', thread: 'main', kind: 'unit' })

let chain: Awaited<ReturnType<typeof joined>>
before(async () => {
  chain = await joined()
})
after(() => {
  chain.close()
})

test('an actor learns in its own mailbox what became of one it watches', async () => {
  const { system, seen } = local()
  const watcher = system.ref(unit, 'watcher')
  const watched = system.ref(unit, 'watched')
  for (const [how, reason] of [
    ['end', 'ended'],
    ['crash', 'crashed'],
  ] as const) {
    await watched.call('add', 1, soon)
    await watcher.call('watch', { kind: 'unit', id: 'watched', host: null }, soon)
    if (how === 'end') await watched.call('end', null, soon)
    else await watched.call('crash', 'as asked', soon)
    await settle()
    assert.deepEqual(
      seen.downs.map((down) => down.reason),
      [reason],
    )
    seen.downs.length = 0
  }
})

test('watching what is not there tells at once, and harms nobody', async () => {
  const { system, seen } = local()
  const watcher = system.ref(unit, 'watcher')
  assert.deepEqual(
    await watcher.call('watch', { kind: 'unit', id: 'nobody', host: null }, soon),
    ok(null),
  )
  await settle()
  assert.deepEqual(
    seen.downs.map((down) => down.reason),
    ['absent'],
  )
  assert.equal(system.inspect().find(({ name }) => name === 'unit/watcher')?.restarts, 0)
})

test('an actor that is stopped tells its watchers so', async () => {
  const { system } = local()
  await system.ref(unit, 'a').call('add', 1, soon)
  const downs: Down[] = []
  system.monitor(system.ref(unit, 'a'), (down) => downs.push(down))
  await system.stop()
  assert.deepEqual(
    downs.map(({ reason }) => reason),
    ['stopped'],
  )
})

test('a watch that was taken back, or whose watcher crashed, tells nothing', async () => {
  const { system, seen } = local()
  const watcher = system.ref(unit, 'watcher')
  const watched = system.ref(unit, 'watched')
  const watch = { kind: 'unit', id: 'watched', host: null }
  await watched.call('add', 1, soon)
  await watcher.call('watch', watch, soon)
  await watcher.call('take_back', null, soon)
  await watcher.call('watch', watch, soon)
  await watcher.call('crash', 'forgets', soon)
  await watched.call('end', null, soon)
  await settle()
  assert.deepEqual(seen.downs, [])
})

test('each of many watchers is told once, and none of the next life', async () => {
  const { system } = local()
  const watched = system.ref(unit, 'watched')
  await watched.call('add', 1, soon)
  let told = 0
  for (let count = 0; count < 100; count += 1) {
    system.monitor(watched, () => {
      told += 1
    })
  }
  await watched.call('crash', 'once', soon)
  await watched.call('crash', 'twice', soon)
  await settle()
  assert.equal(told, 100)
})

/** From where, what is watched, and how it is reached. */
const ways = [
  ['a thread', () => chain.main.system, near, null, () => chain.thread.system],
  ['main, from a thread', () => chain.thread.system, mid, null, () => chain.main.system],
  ['another host', () => chain.main.system, far, 'rack-b', () => chain.host.system],
  ['another host through main', () => chain.thread.system, far, 'rack-b', () => chain.host.system],
  ['a thread of another host', () => chain.host.system, near, 'rack-a', () => chain.thread.system],
] as const

for (const [where, from, protocol, host] of ways) {
  test(`an actor of ${where} is watched like one of this thread`, async () => {
    const system = from()
    const id = `watched-${where}`
    const watched = system.ref(protocol, id, host)
    const downs: Down[] = []
    const watch = (to = id) =>
      system.monitor(system.ref(protocol, to, host), (down) => downs.push(down))
    const told = async (reason: Down['reason']) => {
      await until(`told that it is ${reason}`, 2_000, () => (downs.length > 0 ? true : null))
      // A message there and back: a second report would have come before its answer.
      await system.ref(protocol, 'other', host).call('add', 0, soon)
      assert.deepEqual(
        downs.splice(0).map((down) => down.reason),
        [reason],
      )
    }
    watch('nobody')
    await told('absent')
    await watched.call('add', 1, soon)
    watch()
    await watched.call('end', null, soon)
    await told('ended')
    await watched.call('add', 1, soon)
    watch()
    await watched.call('crash', 'as asked', soon)
    await told('crashed')
    await until('it is back', 2_000, async () =>
      (await watched.call('add', 0, soon)).ok ? true : null,
    )
    watch()()
    await watched.call('end', null, soon)
    await system.ref(protocol, 'other', host).call('add', 0, soon)
    assert.deepEqual(downs, [])
  })
}

test('a link that breaks tells every watch on the other host, also one made through main', async () => {
  const downs: string[] = []
  const ref = chain.main.system.ref(far, 'w', 'rack-b')
  await ref.call('add', 1, soon)
  chain.main.system.monitor(ref, ({ reason }) => downs.push(`main ${reason}`))
  chain.thread.system.monitor(chain.thread.system.ref(far, 'w', 'rack-b'), ({ reason }) =>
    downs.push(`thread ${reason}`),
  )
  // Both watches are there when the answer to a later call is.
  await chain.thread.system.ref(far, 'w', 'rack-b').call('add', 1, soon)
  chain.cutLink()
  await until('both are told', 2_000, () => (downs.length >= 2 ? true : null))
  await chain.untilUp()
  assert.deepEqual(downs.toSorted(), ['main unreachable', 'thread unreachable'])
  assert.deepEqual(await ref.call('add', 1, soon), ok(3), 'the actor itself lived on')
  await ref.call('end', null, soon)
  assert.equal(downs.length, 2, 'and ends without telling old watches')
})

test('watching a host that no link leads to is told at once', () => {
  const downs: Down[] = []
  const { system } = chain.main
  system.monitor(system.ref(far, 'w', 'nowhere'), (down) => downs.push(down))
  assert.equal(downs[0]?.reason, 'unreachable')
})

test('a thread’s death tells every watch on its actors, also one of another host', async () => {
  const downs: string[] = []
  const fromMain = chain.main.system.ref(near, 'w')
  await fromMain.call('add', 1, soon)
  const fromHost = chain.host.system.ref(near, 'w', 'rack-a')
  chain.main.system.monitor(fromMain, ({ reason }) => downs.push(`main ${reason}`))
  chain.host.system.monitor(fromHost, ({ reason }) => downs.push(`host ${reason}`))
  await fromHost.call('add', 1, soon)
  chain.killThread()
  await until('both are told', 2_000, () => (downs.length >= 2 ? true : null))
  assert.deepEqual(downs.toSorted(), ['host crashed', 'main crashed'])
  chain.reviveThread()
  await until('the thread is back', 2_000, async () =>
    (await fromMain.call('add', 1, soon)).ok ? true : null,
  )
})
