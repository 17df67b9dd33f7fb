/** What a caller can count on, whatever lies between it and the actor: limits, cancellation, refusals. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { limits } from '#config/limits.ts'
import type { Down } from '#runtime/actor/actor.ts'
import { err, ok } from '#runtime/result.ts'
import { far, joined, mid, near, runtime } from '#test/kit/joined.ts'
import { probeProtocol } from '#test/kit/probe.ts'
import { until } from '#test/kit/rack.ts'

const soon = { timeout_ms: 5_000 }
const long = { timeout_ms: 60_000 }
const unit = probeProtocol('unit')
const code = (answer: { readonly ok: boolean; readonly error?: string }) =>
  answer.ok ? 'ok' : answer.error
const alone = runtime({ host: 'here', thread: 'main', kind: 'unit' })

let chain: Awaited<ReturnType<typeof joined>>
before(async () => {
  chain = await joined()
})
after(() => {
  chain.close()
})

type Runtime = ReturnType<typeof runtime>
/** Every way there is from a caller to an actor. */
const ways: readonly (readonly [
  where: string,
  protocol: typeof unit,
  host: string | null,
  ends: () => readonly [from: Runtime, to: Runtime],
])[] = [
  ['in one thread', unit, null, () => [alone, alone]],
  ['across threads', near, null, () => [chain.main, chain.thread]],
  ['across hosts', far, 'rack-b', () => [chain.main, chain.host]],
  ['through main to another host', far, 'rack-b', () => [chain.thread, chain.host]],
  ['through main to a thread', near, 'rack-a', () => [chain.host, chain.thread]],
]

for (const [where, protocol, host, ends] of ways) {
  const at = (id: string) => {
    const [from, to] = ends()
    return { ref: from.system.ref(protocol, `${id}-${where}`, host), from, to, seen: to.seen }
  }
  const waits = async (seen: ReturnType<typeof at>['seen'], gate: string) => {
    await until(`${gate} waits`, 2_000, () => (seen.gates.has(gate) ? true : null))
  }

  test(`${where}, answers and failures are the actor's own`, async () => {
    const { ref } = at('plain')
    assert.deepEqual(await ref.call('add', 2, soon), ok(2))
    const refused = await ref.call('add', -1, soon)
    assert.deepEqual(refused, err('refused', '-1 is less than nothing'))
    const crashed = await ref.call('crash', 'as asked', soon)
    assert.ok(!crashed.ok && crashed.error === 'crashed' && /as asked/.test(crashed.detail))
  })

  test(`${where}, a call ends at its deadline, and a late answer is a dead letter`, async () => {
    const { ref, seen, from, to } = at('deadline')
    const gate = `deadline ${where}`
    const letters = from.system.deadLetters.count + to.system.deadLetters.count
    const answer = await ref.call('wait', gate, { timeout_ms: 30 })
    assert.equal(code(answer), 'deadline')
    await until('the handler hears of it', 2_000, () => (seen.aborted.includes(gate) ? true : null))
    seen.gate(gate).resolve()
    await until('the answer is counted', 2_000, () =>
      from.system.deadLetters.count + to.system.deadLetters.count > letters ? true : null,
    )
  })

  test(`${where}, the handler knows when its caller stops waiting`, async () => {
    const { ref, seen } = at('remaining')
    const gate = `remaining ${where}`
    seen.gate(gate).resolve()
    seen.deadlines.length = 0
    const now_ms = performance.now()
    assert.ok((await ref.call('wait', gate, { timeout_ms: 7_000 })).ok)
    const [deadline_ms = 0] = seen.deadlines
    assert.ok(deadline_ms >= now_ms + 6_000 && deadline_ms <= performance.now() + 7_001)
  })

  test(`${where}, a message that expires in the mailbox is never handled`, async () => {
    const { ref, seen } = at('expires')
    const gate = `expires ${where}`
    const held = ref.call('wait', gate, long)
    await waits(seen, gate)
    const expired = await ref.call('note', `expired ${where}`, { timeout_ms: 20 })
    assert.equal(code(expired), 'deadline')
    // That nobody waits any more is known there when the answer to a later call is here.
    assert.ok((await at('other').ref.call('add', 1, soon)).ok)
    seen.gate(gate).resolve()
    assert.ok((await held).ok)
    assert.ok((await ref.call('note', `after ${where}`, soon)).ok)
    assert.deepEqual(
      seen.notes.filter((note) => note.endsWith(where)),
      [`after ${where}`],
    )
  })

  test(`${where}, a call that has no time left is not made`, async () => {
    const { ref, seen } = at('no time')
    for (const timeout_ms of [0, -5, Number.NaN]) {
      assert.equal(code(await ref.call('note', `late ${where}`, { timeout_ms })), 'deadline')
    }
    assert.ok((await ref.call('add', 1, soon)).ok)
    assert.ok(!seen.notes.includes(`late ${where}`))
  })

  test(`${where}, whoever gives up is answered at once, and what was queued is not handled`, async () => {
    const { ref, seen } = at('cancel')
    const gate = `cancel ${where}`
    const running = new AbortController()
    const queued = new AbortController()
    const first = ref.call('wait', gate, { ...long, signal: running.signal })
    await waits(seen, gate)
    const second = ref.call('note', `queued ${where}`, { ...long, signal: queued.signal })
    queued.abort()
    assert.equal(code(await second), 'cancelled')
    running.abort()
    assert.equal(code(await first), 'cancelled')
    await until('the handler hears', 2_000, () => (seen.aborted.includes(gate) ? true : null))
    seen.gate(gate).resolve()
    assert.ok((await ref.call('note', `next ${where}`, soon)).ok)
    assert.ok(!seen.notes.includes(`queued ${where}`))
    const aborted = await ref.call('add', 1, { ...soon, signal: AbortSignal.abort() })
    assert.equal(code(aborted), 'cancelled')
  })

  test(`${where}, an urgent message aborts the running handler and is next`, async () => {
    const { ref, seen } = at('urgent')
    const gate = `urgent ${where}`
    const held = ref.call('wait', gate, soon)
    await waits(seen, gate)
    ref.cast('note', `waits ${where}`)
    const stop = ref.call('stop', null, soon)
    await until('it is aborted', 2_000, () => (seen.aborted.includes(gate) ? true : null))
    seen.gate(gate).resolve()
    seen.gate('open').resolve()
    await Promise.all([held, stop])
    const order = await ref.call('wait', 'open', soon)
    assert.deepEqual(order, ok([gate, 'stop', `waits ${where}`, 'open']))
  })

  test(`${where}, a full mailbox refuses the newest at once, and what it took is handled`, async () => {
    const { ref, seen } = at('busy')
    const gate = `busy ${where}`
    const held = ref.call('wait', gate, long)
    await waits(seen, gate)
    const calls = Array.from({ length: 12 }, (_, count) => ref.call('note', `${count}`, long))
    const refused = await Promise.all(calls.slice(8))
    assert.deepEqual(refused.map(code), ['busy', 'busy', 'busy', 'busy'])
    seen.gate(gate).resolve()
    const taken = await Promise.all(calls.slice(0, 8))
    assert.ok((await held).ok)
    assert.ok(taken.every((answer) => answer.ok))
  })

  test(`${where}, a cast is handled, and one that is refused is a dead letter`, async () => {
    const { ref, seen, from, to } = at('cast')
    const gate = `cast ${where}`
    ref.cast('note', `cast ${where}`)
    await until('it is handled', 2_000, () => (seen.notes.includes(`cast ${where}`) ? true : null))
    const held = ref.call('wait', gate, long)
    await waits(seen, gate)
    const letters = () => {
      const systems = new Set([from.system, to.system])
      return [...systems].reduce((sum, { deadLetters }) => sum + deadLetters.count, 0)
    }
    const counted = letters()
    // The last answer says that the ones before it have come.
    for (let count = 0; count < 10; count += 1) ref.cast('note', 'x')
    assert.equal(code(await ref.call('add', 1, soon)), 'busy')
    assert.equal(letters() - counted, 2, '8 of 10 had room')
    seen.gate(gate).resolve()
    assert.ok((await held).ok)
  })

  test(`${where}, an answer may come late while the actor goes on`, async () => {
    const { ref, seen } = at('late')
    const gate = `late ${where}`
    const late = ref.call('late', gate, soon)
    assert.deepEqual(await ref.call('add', 2, soon), ok(2))
    seen.gate(gate).resolve()
    assert.deepEqual(await late, ok(gate))
  })

  test(`${where}, what breaks its schema is refused where it is sent`, async () => {
    const { ref, seen } = at('invalid')
    const inits = seen.inits.length
    const invalid = await ref.call('add', 0.5, soon)
    assert.equal(code(invalid), 'invalid')
    const letters = ends()[0].system.deadLetters.count
    ref.cast('add', 0.5)
    assert.equal(ends()[0].system.deadLetters.count, letters + 1)
    assert.equal(seen.inits.length, inits)
  })

  if (host !== null || protocol === near) {
    test(`${where}, a name that no frame can carry is refused, and the channel goes on`, async () => {
      const [from] = ends()
      const endless = from.system.ref(protocol, 'x'.repeat(10_000), host)
      assert.equal(code(await endless.call('add', 1, soon)), 'invalid')
      endless.cast('note', 'x')
      let told: Down['reason'] | null = null
      from.system.monitor(endless, ({ reason }) => {
        told = reason
      })
      assert.equal(told, 'unreachable')
      assert.deepEqual(await at('after').ref.call('add', 1, soon), ok(1))
    })
  }
}

test('more calls than a channel has slots are refused with busy, and none of the others is lost', async () => {
  const refs = Array.from({ length: 2_500 }, (_, id) => chain.main.system.ref(near, `slot-${id}`))
  const calls = refs.flatMap((ref) =>
    Array.from({ length: 7 }, () => ref.call('late', 'slots', long)),
  )
  const over = calls.length - limits.link_inflight_max
  assert.ok(over > 0)
  const refused = await Promise.all(calls.slice(-over))
  assert.ok(refused.every((answer) => code(answer) === 'busy'))
  chain.thread.seen.gate('slots').resolve()
  const taken = await Promise.all(calls.slice(0, -over))
  assert.ok(taken.every((answer) => answer.ok))
})

test('a full ring refuses calls with busy while the other thread is held up, and serves again later', async () => {
  const blob = 'x'.repeat(20_000)
  // No turn of the loop comes between these calls: the other end takes nothing.
  const calls = Array.from({ length: 100 }, (_, id) =>
    chain.main.system.ref(near, `ring-${id}`).call('note', blob, soon),
  )
  const codes = (await Promise.all(calls)).map(code)
  assert.ok(codes.includes('ok') && codes.includes('busy'), codes.join(' '))
  assert.ok(codes.lastIndexOf('ok') < codes.indexOf('busy'), 'the newest are refused')
  assert.ok((await chain.main.system.ref(near, 'ring-0').call('add', 1, soon)).ok)
})

test('an outlet that is full refuses what is new, and passes on what it took', async () => {
  const blob = 'x'.repeat(1_000_000)
  const calls = Array.from({ length: 40 }, (_, id) =>
    chain.main.system.ref(far, `outlet-${id}`, 'rack-b').call('note', blob, long),
  )
  const codes = (await Promise.all(calls)).map(code)
  assert.ok(codes.includes('ok') && codes.includes('busy'), codes.join(' '))
  assert.ok((await chain.main.system.ref(far, 'outlet-0', 'rack-b').call('add', 1, soon)).ok)
})

test('a passed-on call whose link breaks is answered, and its number can be used again', async () => {
  for (let turn = 0; turn < 3; turn += 1) {
    const gate = `cut ${turn}`
    const ref = chain.thread.system.ref(far, gate, 'rack-b')
    const calls = Array.from({ length: 5 }, () => ref.call('wait', gate, long))
    await until('it waits', 2_000, () => (chain.host.seen.gates.has(gate) ? true : null))
    chain.cutLink()
    const answers = await Promise.all(calls)
    assert.deepEqual(
      answers.map(code),
      Array.from({ length: 5 }, () => 'unreachable'),
    )
    await chain.untilUp()
    chain.host.seen.gate(gate).resolve()
    assert.ok((await ref.call('add', 1, soon)).ok)
  }
  assert.deepEqual(chain.broken, [], 'no channel between threads broke')
})

test('a thread’s death answers all that waited for it, from near and from far', async () => {
  const calls = [
    chain.main.system.ref(near, 'dies').call('wait', 'never', long),
    chain.host.system.ref(near, 'dies', 'rack-a').call('wait', 'never', long),
  ]
  await until('they wait', 2_000, () => (chain.thread.seen.gates.has('never') ? true : null))
  chain.killThread()
  for (const answer of await Promise.all(calls)) {
    assert.ok(!answer.ok && answer.error === 'crashed' && /ended/.test(answer.detail))
  }
  const now = await chain.main.system.ref(near, 'dies').call('add', 1, soon)
  assert.ok(!now.ok && now.error === 'unreachable')
  chain.reviveThread()
  chain.thread.seen.gate('never').resolve()
  await until('it is back', 2_000, async () =>
    (await chain.main.system.ref(near, 'other').call('add', 1, soon)).ok ? true : null,
  )
})

test('a cast to nobody is counted and kept to be looked at', () => {
  const { system } = alone
  const counted = system.deadLetters.count
  system.ref(unit, 'a', 'nowhere').cast('note', 'x')
  system.ref(mid, 'a').cast('note', 'x')
  assert.equal(system.deadLetters.count, counted + 2)
  assert.match(system.deadLetters.last.at(-2) ?? '', /unit\/a note: no link to nowhere/)
  assert.match(system.deadLetters.last.at(-1) ?? '', /mid\/a note: no such kind/)
})

test('a cast to what may not be called is a dead letter where it was refused', async () => {
  // The other end has not exported this kind: this end knows, and does not even send.
  const counted = chain.main.system.deadLetters.count
  chain.main.system.ref(mid, 'a', 'rack-b').cast('note', 'x')
  assert.match(chain.main.system.deadLetters.last.at(-1) ?? '', /has no mid/)
  assert.equal(chain.main.system.deadLetters.count, counted + 1)
  // Main passes on for its thread what it does not know itself; there the other end refuses.
  const refused = chain.host.system.deadLetters.count
  chain.thread.system.ref(mid, 'a', 'rack-b').cast('note', 'x')
  await until('it is counted', 2_000, () =>
    chain.host.system.deadLetters.count > refused ? true : null,
  )
  assert.match(chain.host.system.deadLetters.last.at(-1) ?? '', /may not be called from outside/)
})
