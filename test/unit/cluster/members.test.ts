/** One thing at a time, on virtual time: what a member does when the store or a member is away. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinCluster, type Cluster } from '#runtime/cluster/cluster.ts'
import type { Result } from '#runtime/result.ts'
import type { Lease, LeaseStore } from '#runtime/cluster/store.ts'
import { checkTiming, takeoverMsMax, type Timing } from '#runtime/cluster/timing.ts'
import { calmNetwork, Process, World } from '#test/kit/cluster_world.ts'

const timing: Timing = { heartbeat_ms: 1_000, trust_ms_max: 4_000, silence_ms_min: 6_000 }

interface Member extends Cluster {
  readonly process: Process
}

async function start(world: World, member_id: string, supersede = false): Promise<Member> {
  const process = new Process(world, 0)
  const { store, time } = process
  const address = `${member_id}.example`
  const joining = joinCluster({ store, time, timing, member_id, address, supersede })
  let joined: Awaited<typeof joining> | null = null
  void joining.then((result) => (joined = result))
  await world.until(() => joined !== null, 5_000)
  const result = await joining
  assert.ok(result.ok)
  return { ...result.value, process }
}

async function settled<T>(world: World, work: Promise<T>): Promise<T> {
  let isDone = false
  void work.then(() => (isDone = true))
  assert.ok(await world.until(() => isDone, 60_000), 'it does not end')
  return await work
}

test('members see each other come and go', async () => {
  const world = new World(1, calmNetwork(10))
  const a = await start(world, 'a')
  const b = await start(world, 'b')
  let changes = 0
  a.membership.onChange(() => (changes += 1))
  await world.run(2_000)
  const ids = () => a.membership.members().map(({ member_id }) => member_id)
  assert.deepEqual(ids(), ['a', 'b'])
  assert.deepEqual((await settled(world, b.membership.leave())).ok, true)
  assert.equal(b.membership.state(), 'left')
  await world.run(2_000)
  assert.deepEqual(ids(), ['a'])
  assert.equal(changes, 2)
})

test('a member without a store doubts itself before anybody may take over, and goes on when it is back', async () => {
  const world = new World(2, calmNetwork(10))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  const acquired = await settled(world, a.leases.acquire('lamp'))
  assert.ok(acquired.ok)
  const states: string[] = []
  a.membership.onChange(() => states.push(a.membership.state()))
  await world.run(3_000)
  states.length = 0
  a.process.isCutOff = true
  await world.run(5_000)
  assert.equal(a.membership.state(), 'doubtful')
  assert.equal(a.leases.isHeld(acquired.value), false)
  assert.equal(a.membership.trust_ms(), 0)
  const refused = await settled(world, a.leases.acquire('door'))
  assert.equal(refused.ok ? '' : refused.error, 'not_live')
  assert.match(a.membership.snapshot().last_failure ?? '', /the cluster's store cannot renew a#1/)
  a.process.isCutOff = false
  await world.run(1_500)
  assert.equal(a.membership.state(), 'live')
  assert.equal(a.leases.isHeld(acquired.value), true, 'nobody had taken it, and nobody could')
  assert.deepEqual(states, ['doubtful', 'live'])
  assert.equal(b.membership.snapshot().counts.fenced, 0)
})

test('a member that is away for too long is fenced, learns it, and holds nothing any more', async () => {
  const world = new World(3, calmNetwork(10))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  const lost = await settled(world, a.leases.acquire('lamp'))
  assert.ok(lost.ok)
  a.process.isCutOff = true
  await world.run(takeoverMsMax(timing))
  const taken = await settled(world, b.leases.acquire('lamp'))
  assert.ok(taken.ok)
  assert.equal(taken.value.generation, lost.value.generation + 1)
  a.process.isCutOff = false
  assert.ok(await world.until(() => a.membership.state() === 'fenced', 5_000))
  assert.deepEqual(a.leases.held(), [])
  assert.equal(a.directory.home('disk', '1'), null)
  const again = await start(world, 'a')
  assert.equal(again.membership.session.incarnation, 2)
})

test('a stopped process that goes on does not trust what it held, before it has asked anybody', async () => {
  const world = new World(4, calmNetwork(10))
  const a = await start(world, 'a')
  const acquired = await settled(world, a.leases.acquire('lamp'))
  assert.ok(acquired.ok)
  a.process.stop(60_000)
  await world.run(10_000)
  assert.equal(a.leases.isHeld(acquired.value), false)
})

test('an outage of the store, however long, ends nobody’s session', async () => {
  const world = new World(5, calmNetwork(100))
  const members = [await start(world, 'a'), await start(world, 'b'), await start(world, 'c')]
  await world.run(3_000)
  for (const { process } of members) process.isCutOff = true
  await world.run(120_000)
  for (const { membership } of members) assert.equal(membership.state(), 'doubtful')
  for (const { process } of members) process.isCutOff = false
  await world.run(30_000)
  for (const { membership } of members) {
    assert.equal(membership.state(), 'live')
    assert.equal(membership.snapshot().counts.fenced, 0)
  }
})

test('a member whose own clock leaps ahead ends no session that lives', async () => {
  const world = new World(6, calmNetwork(100))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  for (let leap = 0; leap < 20; leap += 1) {
    await world.run(5_000)
    a.process.leap(3_600_000)
  }
  await world.run(5_000)
  assert.deepEqual([a.membership.state(), b.membership.state()], ['live', 'live'])
  assert.equal(a.membership.snapshot().counts.fenced, 0)
})

test('a process that replaces one that was seen to end has its leases at once; another waits', async () => {
  const world = new World(7, calmNetwork(10))
  const first = await start(world, 'a')
  assert.ok((await settled(world, first.leases.acquire('lamp'))).ok)
  first.process.isDead = true
  const second = await start(world, 'a')
  const early = await settled(world, second.leases.acquire('lamp'))
  assert.match(early.ok ? '' : early.detail, /lamp is held by a#1/)
  second.process.isDead = true
  const third = await start(world, 'a', true)
  const acquired = await settled(world, third.leases.acquire('lamp'))
  assert.equal(acquired.ok ? acquired.value.generation : 0, 2)
})

test('within one process a name is held once', async () => {
  const world = new World(8, calmNetwork(10))
  const a = await start(world, 'a')
  const both = Promise.all([a.leases.acquire('lamp'), a.leases.acquire('lamp')])
  const [one, other] = await settled(world, both)
  assert.ok(one.ok)
  assert.equal(other.ok ? '' : other.error, 'held')
  assert.equal(a.leases.isHeld(one.value), true)
  assert.ok((await settled(world, a.leases.release(one.value))).ok)
  assert.equal(a.leases.isHeld(one.value), false)
  const next = await settled(world, a.leases.acquire('lamp'))
  assert.equal(next.ok ? next.value.generation : 0, 2)
})

test('a lease taken or released without an answer does not stay with a member that does not know', async () => {
  const world = new World(9, calmNetwork(10))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  for (const verb of ['take', 'release'] as const) {
    const name = `lamp-${verb}`
    const held = verb === 'release' ? await settled(world, a.leases.acquire(name)) : null
    a.process.isHeard = () => {
      const row = world.store.look(name)
      return verb === 'take' ? row === null : row?.holder !== null
    }
    const working: Promise<Result<unknown, string>> =
      held?.ok === true ? a.leases.release(held.value) : a.leases.acquire(name)
    const answer = await settled(world, working)
    assert.equal(answer.ok ? '' : answer.error, 'store_unavailable')
    a.process.isHeard = () => true
    await world.run(10_000)
    assert.deepEqual(a.leases.held(), [])
    assert.equal(world.store.look(name)?.holder, null, `${name} is stuck`)
    assert.ok((await settled(world, b.leases.acquire(name))).ok)
  }
})

test('a take that the store carries out long after it was given up does nothing', async () => {
  const world = new World(10, calmNetwork(10))
  const { store, time } = new Process(world, 0)
  const late: Lease[] = []
  const take: LeaseStore['take'] = async (lease) => {
    if (late.length > 0) return await store.take(lease)
    late.push(lease)
    return await new Promise<never>(() => undefined)
  }
  const joined = await settled(
    world,
    joinCluster({
      store: { ...store, take },
      time,
      timing,
      member_id: 'a',
      address: '',
      supersede: false,
    }),
  )
  assert.ok(joined.ok)
  const { leases } = joined.value
  const answer = await settled(world, leases.acquire('lamp'))
  assert.equal(answer.ok ? '' : answer.error, 'store_unavailable')
  await world.run(60_000)
  for (const lease of late) assert.equal(await world.store.take(lease), false)
  assert.equal(world.store.look('lamp')?.holder, null)
  assert.ok((await settled(world, leases.acquire('lamp'))).ok)
})

test('who waits for a name gets it soon after its release, or stops waiting when told', async () => {
  const world = new World(10, calmNetwork(10))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  const held = await settled(world, a.leases.acquire('lamp'))
  assert.ok(held.ok)
  const stop = new AbortController()
  const waiting = b.leases.acquireWhenFree('lamp', stop.signal)
  const other = b.leases.acquireWhenFree('door', AbortSignal.abort())
  assert.equal(await settled(world, other), null)
  await world.run(5_000)
  assert.equal(world.store.look('lamp')?.generation, 1)
  await settled(world, a.leases.release(held.value))
  assert.equal((await settled(world, waiting))?.generation, 2)
  const waitingToo = a.leases.acquireWhenFree('lamp', stop.signal)
  await world.run(2_000)
  stop.abort()
  assert.equal(await settled(world, waitingToo), null)
})

test('the snapshot shows members, silence, leases and failures as plain data', async () => {
  const world = new World(11, calmNetwork(10))
  const [a, b] = [await start(world, 'a'), await start(world, 'b')]
  await settled(world, a.leases.acquire('lamp'))
  b.process.isDead = true
  await world.run(4_500)
  const seen = a.snapshot()
  assert.deepEqual(JSON.parse(JSON.stringify(seen)), seen)
  assert.deepEqual(
    [seen.member_id, seen.incarnation, seen.state, seen.takeover_ms_max],
    ['a', 1, 'live', 11_000],
  )
  assert.deepEqual(seen.leases, [{ name: 'lamp', generation: 1 }])
  const silent = seen.sessions.find(({ member_id }) => member_id === 'b')
  assert.ok(silent !== undefined && silent.silent_ms > 2_000 && silent.silent_ms < 5_000)
})

test('times that do not keep the argument are refused', () => {
  checkTiming(timing)
  assert.throws(() => {
    checkTiming({ ...timing, silence_ms_min: 4_900 })
  }, /silence_ms_min/)
  assert.throws(() => {
    checkTiming({ ...timing, heartbeat_ms: 1_500 })
  }, /trust_ms_max/)
})
