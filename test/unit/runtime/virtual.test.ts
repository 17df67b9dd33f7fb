/** Virtual actors: one activation in the cluster, on the host where they belong, under a lease. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Type } from 'typebox'
import { behaviour, type Context } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { joinCluster } from '#runtime/cluster/cluster.ts'
import { clusterHomes } from '#runtime/cluster/homes.ts'
import { MemoryLeaseStore } from '#runtime/cluster/memory.ts'
import type { LeaseStore } from '#runtime/cluster/store.ts'
import { memoryLog } from '#runtime/log.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import type { System } from '#runtime/actor/system.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { aloneSystem } from '#test/kit/alone.ts'
import { until } from '#test/kit/rack.ts'

const keeperProtocol = protocol('keeper', 1, {
  /** Says where it runs and under which generation. */
  where: call(1, {
    request: nothing,
    reply: Type.Object({ host: Type.String(), generation: Type.Integer() }),
    errors: [],
    idempotent: true,
  }),
})
type KeeperContext = Context<{ readonly host: string }, typeof keeperProtocol>
const keeper = behaviour({
  protocol: keeperProtocol,
  child: {
    restart: 'permanent',
    restarts_max: 1,
    restarts_period_ms: 1_000,
    shutdown_ms: 100,
    mailbox_max: 64,
    thread: 'main',
    activation: 'virtual',
  },
  init: (_context: KeeperContext) => null,
  invariant: () => undefined,
  handlers: {
    where: (context, state) => ({
      state,
      result: ok({ host: context.deps.host, generation: context.generation }),
    }),
  },
})

const directory = mkdtempSync(join(tmpdir(), 'luge-virtual-'))
const closers: Array<() => Promise<void> | void> = []
after(async () => {
  for (const close of closers) await close()
  rmSync(directory, { recursive: true, force: true })
})
const timing = { heartbeat_ms: 100, trust_ms_max: 400, silence_ms_min: 600 }
const soon = { timeout_ms: 3_000 }

/** A host of the cluster; `cutOff` lets its questions to the store go unanswered. */
async function host(name: string, shared: LeaseStore) {
  let isCutOff = false
  const store = new Proxy(shared, {
    get: (target, key: keyof LeaseStore) =>
      isCutOff ? () => new Promise(() => undefined) : target[key].bind(target),
  })
  const time = {
    monotonic: systemClock.monotonic,
    after: systemClock.after,
  }
  const joined = await joinCluster({
    member_id: name,
    address: name,
    supersede: false,
    store,
    time,
    timing,
  })
  assert.ok(joined.ok)
  const cluster = joined.value
  const links: Links = new Links({
    host: name,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(),
    exports: [keeperProtocol],
    serve: () => system,
    security: null,
  })
  const system: System = aloneSystem({
    host: name,
    toHost: (peer) => links.to(peer),
    homes: clusterHomes(cluster),
  })
  system.add(keeper, { host: name })
  await links.listen({ path: join(directory, name) })
  closers.push(async () => {
    links.close()
    await system.stop()
    await cluster.membership.leave()
  })
  const where = async (id: string) => await system.ref(keeperProtocol, id).call('where', null, soon)
  return {
    name,
    system,
    links,
    cluster,
    where,
    cutOff: () => {
      isCutOff = true
    },
  }
}

const ids = Array.from({ length: 20 }, (_, index) => `k${index}`)

test('a virtual actor runs once in the cluster, wherever it is called from', async () => {
  const shared = new MemoryLeaseStore()
  const one = await host('one', shared)
  const two = await host('two', shared)
  one.links.dial('two', connector({ path: join(directory, 'two') }))
  await until('both see both', 5_000, () =>
    [one, two].every(({ cluster }) => cluster.membership.members().length === 2) &&
    two.links.to('one') !== null
      ? true
      : null,
  )
  const onTwo: string[] = []
  for (const id of ids) {
    const here = await one.where(id)
    const there = await two.where(id)
    assert.ok(here.ok && there.ok, JSON.stringify([here, there]))
    assert.deepEqual(here.value, there.value)
    assert.ok(here.value.generation >= 1)
    if (here.value.host === 'two') onTwo.push(id)
  }
  assert.ok(onTwo.length > 0 && onTwo.length < ids.length, 'both have their part')

  two.cutOff()
  await until('all of them run on the host that is left', 15_000, async () => {
    const answers = await Promise.all(ids.map(async (id) => await one.where(id)))
    return answers.every((answer) => answer.ok && answer.value.host === 'one') ? true : null
  })
  for (const id of onTwo) {
    const moved = await one.where(id)
    assert.ok(moved.ok && moved.value.generation === 2, 'a takeover is a new generation')
    // What the host that was cut off still has handles nothing any more.
    const stale = await two.where(id)
    assert.ok(!stale.ok && stale.error === 'unreachable', JSON.stringify(stale))
  }
})
