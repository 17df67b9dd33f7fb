/** However busy a thread's actors are, its timers and sockets have their turn. */
import assert from 'node:assert/strict'
import { createServer, connect } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { System } from '#runtime/actor/system.ts'
import { far, joined, mid, near, runtime } from '#test/kit/joined.ts'
import { probeProtocol, type ProbeProtocol } from '#test/kit/probe.ts'

const unit = probeProtocol('unit')
const long = { timeout_ms: 60_000 }
let chain: Awaited<ReturnType<typeof joined>>
const directory = mkdtempSync(join(tmpdir(), 'luge-fair-'))
before(async () => {
  chain = await joined()
})
after(() => {
  chain.close()
  rmSync(directory, { recursive: true, force: true })
})

/**
 * Callers that ask on and on until `isOver`; gives back how many answers they had. Each has its own actor,
 * so that no mailbox is the limit.
 */
function saturate(system: System, to: { protocol: ProbeProtocol; host: string | null }) {
  let isOver = false
  let answers = 0
  const callers = Array.from({ length: 64 }, async (_, id) => {
    const ref = system.ref(to.protocol, `busy-${id}`, to.host)
    while (!isOver) {
      const answer = await ref.call('add', 0, long)
      assert.ok(answer.ok)
      answers += 1
    }
  })
  return {
    answers: () => answers,
    end: async () => {
      isOver = true
      await Promise.all(callers)
    },
  }
}

/** Timers that set each other off, and bytes that go there and back over a socket: `rounds` of each. */
async function others(rounds: number): Promise<void> {
  const path = join(directory, `${rounds}-${Math.random()}.sock`)
  const server = createServer((socket) => {
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => {
    server.listen(path, resolve)
  })
  const timers = (async () => {
    for (let round = 0; round < rounds; round += 1) {
      await new Promise<void>((resolve) => {
        setTimeout(resolve, 0)
      })
    }
  })()
  const client = connect({ path })
  const sockets = (async () => {
    for (let round = 0; round < rounds; round += 1) {
      const echoed = new Promise<void>((resolve) => {
        client.once('data', () => {
          resolve()
        })
      })
      client.write('x')
      await echoed
    }
  })()
  await Promise.all([timers, sockets])
  client.destroy()
  server.close()
}

const loads: readonly (readonly [
  what: string,
  make: () => readonly [System, ProbeProtocol, string | null],
])[] = [
  [
    'actors of its own',
    () => [runtime({ host: 'h', thread: 'main', kind: 'unit' }).system, unit, null],
  ],
  ['a ring to another thread', () => [chain.main.system, near, null]],
  ['a ring from another thread', () => [chain.thread.system, mid, null]],
  ['a link to another host', () => [chain.main.system, far, 'rack-b']],
  ['calls that it passes on', () => [chain.thread.system, far, 'rack-b']],
]

for (const [what, make] of loads) {
  test(`saturated by ${what}, the loop serves timers and sockets, and both go on`, async () => {
    const [system, protocol, host] = make()
    const load = saturate(system, { protocol, host })
    await others(20)
    const answered = load.answers()
    await others(20)
    assert.ok(load.answers() > answered, 'the load went on meanwhile')
    await load.end()
  })
}

test('an actor with a long queue does not keep another waiting until it is through', async () => {
  const { system, seen } = runtime(
    { host: 'h', thread: 'main', kind: 'unit' },
    {},
    { child: { mailbox_max: 100_000 } },
  )
  const long_queue = Array.from({ length: 10_000 }, () =>
    system.ref(unit, 'queue').call('note', 'x', long),
  )
  assert.ok((await system.ref(unit, 'other').call('add', 1, long)).ok)
  assert.ok(seen.notes.length < 10_000, `${seen.notes.length} of 10000 were before it`)
  await Promise.all(long_queue)
})
