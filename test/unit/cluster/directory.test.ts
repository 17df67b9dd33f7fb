/** Where actors belong: homes by rendezvous hashing, and what becomes of them as members change. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinCluster, type Cluster } from '#runtime/cluster/cluster.ts'
import { actorName } from '#runtime/cluster/directory.ts'
import { homeOf } from '#runtime/cluster/rendezvous.ts'
import type { Timing } from '#runtime/cluster/timing.ts'
import { calmNetwork, Process, World } from '#test/kit/cluster_world.ts'
import { ok } from '#runtime/result.ts'

const timing: Timing = { heartbeat_ms: 1_000, trust_ms_max: 4_000, silence_ms_min: 6_000 }
const names = Array.from({ length: 10_000 }, (_, index) => `actor/disk/${index}`)
const members = ['nexus-1', 'nexus-2', 'nexus-3', 'nexus-4', 'nexus-5']

test('every member has its share of names', () => {
  const shares = new Map<string | null, number>()
  for (const name of names) {
    const home = homeOf(name, members)
    shares.set(home, (shares.get(home) ?? 0) + 1)
  }
  assert.equal(shares.size, members.length)
  // 2000 each, with a standard deviation of 40.
  for (const share of shares.values()) assert.ok(Math.abs(share - 2_000) < 200, `${share}`)
})

test('when a member goes only its names move, when one comes they move to it alone', () => {
  for (const gone of members) {
    const rest = members.filter((member) => member !== gone)
    const destinations = new Set<string | null>()
    for (const name of names) {
      const [before, after] = [homeOf(name, members), homeOf(name, rest)]
      if (before === gone) destinations.add(after)
      else assert.equal(after, before, 'this name had no reason to move')
    }
    assert.deepEqual([...destinations].toSorted(), rest, 'all others take their part')
  }
})

test('members agree whatever order they list each other in; nobody is no home', () => {
  for (const name of names.slice(0, 500)) {
    assert.equal(homeOf(name, members.toReversed()), homeOf(name, members))
  }
  assert.equal(homeOf('lamp', []), null)
})

test('homes are the same in every version of the program', () => {
  // A change here moves every actor, and members of two versions would disagree.
  assert.deepEqual(
    ['lamp', 'actor/disk/7', 'actor/vnic/ü', ''].map((name) => homeOf(name, members)),
    ['nexus-1', 'nexus-5', 'nexus-1', 'nexus-5'],
  )
})

interface Member extends Cluster {
  readonly process: Process
}

async function start(world: World, member_id: string): Promise<Member> {
  const process = new Process(world, 0)
  const { store, time } = process
  const address = `${member_id}.example`
  const options = { store, time, timing, member_id, address, supersede: false }
  const joined = await settled(world, joinCluster(options))
  assert.ok(joined.ok)
  return { ...joined.value, process }
}

async function settled<T>(world: World, work: Promise<T>): Promise<T> {
  let isDone = false
  void work.then(() => (isDone = true))
  assert.ok(await world.until(() => isDone, 60_000), 'it does not end')
  return await work
}

const ids = Array.from({ length: 40 }, (_, index) => `${index}`)

async function claimAll(world: World, cluster: Cluster): Promise<number> {
  let claimed = 0
  for (const id of ids) {
    const lease = await settled(world, cluster.directory.claim('disk', id))
    if (lease.ok) claimed += 1
    else assert.ok(['elsewhere', 'held'].includes(lease.error), lease.detail)
  }
  return claimed
}

test('all members name one home for an actor, and only its home can claim it', async () => {
  const world = new World(1, calmNetwork(10))
  const all = [await start(world, 'a'), await start(world, 'b'), await start(world, 'c')]
  await world.run(1_500)
  for (const id of ids) {
    const homes = new Set(all.map(({ directory }) => directory.home('disk', id)?.member_id))
    assert.equal(homes.size, 1)
    for (const { directory, membership } of all) {
      const claimed = await settled(world, directory.claim('disk', id))
      const isHome = homes.has(membership.session.member_id)
      assert.equal(claimed.ok, isHome)
      if (!claimed.ok) assert.equal(claimed.error, 'elsewhere')
    }
    for (const { directory } of all) {
      const located = await settled(world, directory.locate('disk', id))
      assert.ok(located.ok)
      assert.equal(located.value.generation, 1)
      assert.ok(homes.has(located.value.host.member_id))
      assert.equal(located.value.host.address, `${located.value.host.member_id}.example`)
    }
  }
})

test('a member that comes is given its share: what is misplaced ends here and begins there', async () => {
  const world = new World(2, calmNetwork(10))
  const a = await start(world, 'a')
  assert.equal(await claimAll(world, a), ids.length)
  assert.deepEqual(a.directory.misplaced(), [])
  const b = await start(world, 'b')
  await world.run(1_500)
  const moving = a.directory.misplaced()
  assert.ok(moving.length > 5 && moving.length < 35, `${moving.length} of 40 move`)
  assert.equal(a.snapshot().misplaced.length, moving.length)
  assert.equal(await claimAll(world, b), 0, 'a still has them')
  const [first] = moving
  assert.ok(first !== undefined)
  const id = first.name.slice(actorName('disk', '').length)
  const where = await settled(world, b.directory.locate('disk', id))
  assert.equal(where.ok ? where.value.host.member_id : '', 'a', 'until then b finds it at a')
  for (const lease of moving) await settled(world, a.leases.release(lease))
  const free = await settled(world, b.directory.locate('disk', id))
  assert.deepEqual(free, ok({ host: { member_id: 'b', address: 'b.example' }, generation: null }))
  assert.equal(await claimAll(world, b), moving.length)
  assert.deepEqual([a.directory.misplaced(), b.directory.misplaced()], [[], []])
  assert.ok(b.leases.held().every(({ generation }) => generation === 2))
})

test('the actors of a member that dies are claimed by those whose they become, and none else moves', async () => {
  const world = new World(3, calmNetwork(10))
  const [a, b, c] = [await start(world, 'a'), await start(world, 'b'), await start(world, 'c')]
  await world.run(1_500)
  const before = [await claimAll(world, a), await claimAll(world, b), await claimAll(world, c)]
  assert.equal(
    before.reduce((sum, share) => sum + share, 0),
    ids.length,
  )
  c.process.isDead = true
  const isGone = () => [a, b].every(({ membership }) => membership.members().length === 2)
  assert.ok(await world.until(isGone, 12_000))
  assert.deepEqual([a.directory.misplaced(), b.directory.misplaced()], [[], []])
  const claimed = (await claimAll(world, a)) + (await claimAll(world, b))
  assert.equal(claimed, before[2])
})

test('a kind with a slash is a bug, for two actors could share a lease', () => {
  assert.throws(() => actorName('disk/x', '1'), /no slash/)
})
