/** Calls that main passes on between its threads and other hosts, and ways that end under them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ok } from '#runtime/result.ts'
import { far, joined, mid, near } from '#test/kit/joined.ts'
import { until } from '#test/kit/rack.ts'

const soon = { timeout_ms: 5_000 }

test('calls that were passed on and end with the link leave their numbers free', async () => {
  const chain = await joined()
  try {
    const { system } = chain.thread
    const names = ['a', 'b', 'c']
    const hanging = names.map((id) => system.ref(far, id, 'rack-b').call('wait', 'never', soon))
    await until('all wait', 2_000, () => (chain.host.seen.running === 3 ? true : null))
    chain.cutLink()
    for (const answer of await Promise.all(hanging)) {
      assert.ok(!answer.ok && answer.error === 'unreachable')
    }
    // The next calls have the numbers of those.
    const next = await Promise.all(names.map((id) => system.ref(mid, id).call('add', 1, soon)))
    assert.deepEqual(next, [ok(1), ok(1), ok(1)])
    assert.deepEqual(chain.broken, [])
  } finally {
    chain.close()
  }
})

test('a handler that ends the way its own call came by hears that nobody waits', async () => {
  const chain = await joined()
  try {
    const asked = chain.main.system.ref(near, 'a')
    assert.deepEqual(await asked.call('add', 1, soon), ok(1))
    const { seen } = chain.thread
    const gate = seen.gate.bind(seen)
    seen.gate = (name) => {
      chain.killThread()
      return gate(name)
    }
    const answer = await asked.call('wait', 'cut', soon)
    assert.ok(!answer.ok && answer.error === 'crashed')
    await until('the handler hears', 2_000, () => (seen.aborted.includes('cut') ? true : null))
  } finally {
    chain.close()
  }
})
