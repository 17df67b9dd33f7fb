/** What every lease store must do, whatever it is made of. Each test gets an empty store. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  isCurrent,
  type Lease,
  type LeaseStore,
  type MemberRow,
  type Session,
} from '#runtime/cluster/store.ts'

const leaseOf = (session: Session, name: string, generation: number): Lease => ({
  name,
  generation,
  member_id: session.member_id,
  incarnation: session.incarnation,
})
const sessionOf = ({ member_id, incarnation }: Session): Session => ({ member_id, incarnation })

const holderOf = (session: Session) => ({ ...session, address: `at ${session.member_id}` })

async function join(store: LeaseStore, member_id: string, supersede = false): Promise<Session> {
  return await store.join({ member_id, address: `at ${member_id}`, supersede })
}
async function rowOf(store: LeaseStore, session: Session): Promise<MemberRow> {
  const rows = await store.members()
  const row = rows.find(
    (other) => other.member_id === session.member_id && other.incarnation === session.incarnation,
  )
  assert.ok(row, 'the session is not among the members')
  return row
}
/** A value that names all there is of a promise's outcome. */
async function count(outcomes: readonly Promise<boolean>[]): Promise<number> {
  return (await Promise.all(outcomes)).filter(Boolean).length
}

/** Declares the tests; `open` gives a new empty store for each. */
export function leaseStoreSuite(kind: string, open: () => Promise<LeaseStore>): void {
  const it = (sentence: string, body: (store: LeaseStore) => Promise<void>): void => {
    test(`${kind}: ${sentence}`, async () => {
      await body(await open())
    })
  }
  sessionTests(it)
  leaseTests(it)
  raceTests(it)
}

type It = (sentence: string, body: (store: LeaseStore) => Promise<void>) => void

function sessionTests(it: It): void {
  it('a member that joins again has a higher incarnation, whatever became of the last', async (store) => {
    const first = await join(store, 'a')
    const second = await join(store, 'a')
    await store.leave(second)
    const third = await join(store, 'a')
    assert.ok(first.incarnation < second.incarnation && second.incarnation < third.incarnation)
    assert.deepEqual((await store.members()).map(sessionOf), [first, third])
  })

  it('members are shown with address and heartbeat, ordered', async (store) => {
    const b = await join(store, 'b')
    const a = await join(store, 'a')
    assert.equal(await store.renew(b), true)
    assert.equal(await store.renew(b), true)
    assert.deepEqual(await store.members(), [
      { ...a, address: 'at a', heartbeat: 0 },
      { ...b, address: 'at b', heartbeat: 2 },
    ])
  })

  it('a session that left is over forever', async (store) => {
    const a = await join(store, 'a')
    await store.leave(a)
    await store.leave(a)
    assert.equal(await store.renew(a), false)
    assert.deepEqual(await store.members(), [])
  })

  it('only the heartbeat that was seen can be fenced', async (store) => {
    const a = await join(store, 'a')
    const seen = await rowOf(store, a)
    await store.renew(a)
    assert.equal(await store.fence(seen), false, 'it made progress since')
    assert.equal(await store.fence(await rowOf(store, a)), true)
    assert.equal(await store.fence(seen), false, 'it is over already')
    assert.equal(await store.renew(a), false)
  })

  it('who supersedes ends the earlier sessions of the same member, and no others', async (store) => {
    const [first, other] = [await join(store, 'a'), await join(store, 'b')]
    await store.take(leaseOf(first, 'lamp', 1))
    const second = await join(store, 'a', true)
    assert.deepEqual((await store.members()).map(sessionOf), [second, other])
    assert.equal(await store.renew(first), false)
    assert.equal(await store.take(leaseOf(other, 'lamp', 2)), true)
  })
}

function leaseTests(it: It): void {
  it('a lease is one member’s until it is released, and its generation grows on', async (store) => {
    const [a, b] = [await join(store, 'a'), await join(store, 'b')]
    assert.equal(await store.lease('lamp'), null)
    assert.equal(await store.take(leaseOf(a, 'lamp', 1)), true)
    assert.deepEqual(await store.lease('lamp'), {
      name: 'lamp',
      generation: 1,
      holder: holderOf(a),
    })
    assert.equal(await store.take(leaseOf(b, 'lamp', 2)), false)
    assert.equal(await store.release(leaseOf(b, 'lamp', 1)), false, 'it is not b’s')
    assert.equal(await store.release(leaseOf(a, 'lamp', 1)), true)
    assert.equal(await store.release(leaseOf(a, 'lamp', 1)), false)
    assert.deepEqual(await store.lease('lamp'), { name: 'lamp', generation: 1, holder: null })
    assert.equal(await store.take(leaseOf(b, 'lamp', 1)), false, 'a generation is never used again')
    assert.equal(await store.take(leaseOf(b, 'lamp', 2)), true)
  })

  it('a generation that leaves one out, or is nobody’s next, is refused', async (store) => {
    const a = await join(store, 'a')
    assert.equal(await store.take(leaseOf(a, 'lamp', 2)), false)
    assert.equal(await store.lease('lamp'), null)
    await store.take(leaseOf(a, 'lamp', 1))
    assert.equal(await store.take(leaseOf(a, 'lamp', 3)), false)
    assert.equal(await store.take(leaseOf(a, 'lamp', 1)), false)
  })

  it('a holder may take its own lease anew, which makes the old one stale', async (store) => {
    const a = await join(store, 'a')
    const [old, next] = [leaseOf(a, 'lamp', 1), leaseOf(a, 'lamp', 2)]
    await store.take(old)
    assert.equal(await store.take(next), true)
    assert.equal(await store.release(old), false)
    const row = await store.lease('lamp')
    assert.deepEqual([isCurrent(old, row), isCurrent(next, row)], [false, true])
  })

  it('the end of a session frees its leases, and a session that is over takes none', async (store) => {
    const [a, b, c] = [await join(store, 'a'), await join(store, 'b'), await join(store, 'c')]
    await store.take(leaseOf(a, 'lamp', 1))
    await store.take(leaseOf(b, 'door', 1))
    await store.leave(a)
    assert.equal(await store.fence(await rowOf(store, b)), true)
    assert.deepEqual(await store.lease('door'), { name: 'door', generation: 1, holder: null })
    assert.equal(await store.take(leaseOf(a, 'lamp', 2)), false)
    assert.equal(await store.take(leaseOf(b, 'bell', 1)), false)
    assert.equal(await store.take(leaseOf(c, 'lamp', 2)), true)
    assert.equal(await store.take(leaseOf(c, 'door', 2)), true)
    assert.equal(isCurrent(leaseOf(a, 'lamp', 1), await store.lease('lamp')), false)
  })

  it('a lease outlives the member’s next session, but not its own', async (store) => {
    const [old, b] = [await join(store, 'a'), await join(store, 'b')]
    await store.take(leaseOf(old, 'lamp', 1))
    const young = await join(store, 'a')
    assert.equal(await store.take(leaseOf(young, 'lamp', 2)), false, 'the old one may still act')
    await store.fence(await rowOf(store, old))
    await store.leave(young)
    const third = await join(store, 'a')
    assert.equal((await store.lease('lamp'))?.holder, null)
    assert.equal(await store.take(leaseOf(third, 'lamp', 2)), true)
    assert.equal(await store.take(leaseOf(b, 'lamp', 3)), false)
  })

  it('held leases come in pages, of all members or of one', async (store) => {
    const [a, b] = [await join(store, 'a'), await join(store, 'b')]
    for (const name of ['n1', 'n2', 'n3', 'n4']) await store.take(leaseOf(a, name, 1))
    await store.take(leaseOf(b, 'n0', 1))
    await store.release(leaseOf(a, 'n2', 1))
    const names = async (holder: Session | null, after: string | null, limit: number) =>
      (await store.leases({ holder, after, limit })).map(({ name }) => name)
    assert.deepEqual(await names(null, null, 10), ['n0', 'n1', 'n3', 'n4'])
    assert.deepEqual(await names(a, null, 2), ['n1', 'n3'])
    assert.deepEqual(await names(a, 'n3', 2), ['n4'])
    await store.leave(a)
    assert.deepEqual(await names(a, null, 10), [])
  })

  it('names are text of any kind', async (store) => {
    const a = await join(store, 'it\'s "a" \\ ü 🔑')
    const name = 'actor/lämp/’; DROP TABLE cluster_lease; -- 🔑'
    assert.equal(await store.take(leaseOf(a, name, 1)), true)
    assert.deepEqual(await store.lease(name), { name, generation: 1, holder: holderOf(a) })
  })
}

function raceTests(it: It): void {
  it('of many who join as the same member at once, no two have the same incarnation', async (store) => {
    const sessions = await Promise.all(
      Array.from({ length: 12 }, async () => await join(store, 'a')),
    )
    assert.equal(new Set(sessions.map(({ incarnation }) => incarnation)).size, 12)
    assert.equal((await store.members()).length, 12)
  })

  it('of many who take a name at once, exactly one gets it, round after round', async (store) => {
    const members = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => await join(store, `m${index}`)),
    )
    for (let generation = 1; generation <= 15; generation += 1) {
      const leases = members.map((member) => leaseOf(member, 'lamp', generation))
      assert.equal(await count(leases.map(async (lease) => await store.take(lease))), 1)
      assert.equal(await count(leases.map(async (lease) => await store.release(lease))), 1)
    }
  })

  it('of many who fence a silent member at once, one does; its own renewal beats them or fails', async (store) => {
    for (let round = 0; round < 15; round += 1) {
      const a = await join(store, `a${round}`)
      const seen = await rowOf(store, a)
      const renewal = store.renew(a)
      const fenced = await count(Array.from({ length: 5 }, async () => await store.fence(seen)))
      assert.equal(fenced + Number(await renewal), 1, 'either it is renewed or it is fenced')
    }
  })

  it('a dead member’s lease goes to exactly one of those who take it while others fence it', async (store) => {
    const members = await Promise.all(
      Array.from({ length: 6 }, async (_, index) => await join(store, `m${index}`)),
    )
    for (let round = 0; round < 10; round += 1) {
      const [dead, name] = [await join(store, 'dead'), `lamp${round}`]
      await store.take(leaseOf(dead, name, 1))
      const seen = await rowOf(store, dead)
      const outcomes = members.map(async (member) => {
        await store.fence(seen)
        return await store.take(leaseOf(member, name, 2))
      })
      assert.equal(await count(outcomes), 1)
    }
  })
}
