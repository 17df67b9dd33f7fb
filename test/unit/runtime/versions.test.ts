/** Peers of different versions, over real links: what both have works, what one has not is `unsupported`. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Type } from 'typebox'
import { behaviour } from '#runtime/actor/actor.ts'
import { systemClock } from '#runtime/clock.ts'
import { memoryLog, type LogLine } from '#runtime/log.ts'
import { call, nothing, protocol, type Protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { ok } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { until } from '#test/kit/rack.ts'

const get = call(1, { request: nothing, reply: Type.Integer(), errors: [] })
/** Version 2 brought `put`; version 3 retired it for `store`, which takes more. */
const put = call(2, { request: Type.Integer(), reply: nothing, errors: [], since: 2 })
const store = call(3, { request: Type.Number(), reply: nothing, errors: [], since: 3 })
const one = protocol('box', 1, { get })
const two = protocol('box', 2, { get, put })
const three = protocol('box', 3, { get, store }, [2])
/** Claims to be version 2, and its `put` is another. */
const forged = protocol('box', 2, {
  get,
  put: call(2, { request: Type.String(), reply: nothing, errors: [], since: 2 }),
})
/** What the other end may know and this one never exports. */
const other = protocol('other', 1, { get })

const directory = mkdtempSync(join(tmpdir(), 'luge-versions-'))
const opened: Links[] = []
after(() => {
  for (const links of opened) links.close()
  rmSync(directory, { recursive: true, force: true })
})
const soon = { timeout_ms: 5_000 }
const code = (answer: { readonly ok: boolean; readonly error?: string }) =>
  answer.ok ? 'ok' : answer.error

/** A host that speaks one version of the protocol. */
function host(name: string, spoken: Protocol, exports: readonly Protocol[]) {
  const lines: LogLine[] = []
  const links: Links = new Links({
    host: name,
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(lines),
    exports,
    serve: () => system,
    security: null,
  })
  const handled: string[] = []
  const system: System = new System({
    host: name,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log: memoryLog(lines),
    routes: {},
    toThread: () => null,
    toHost: (peer) => links.to(peer),
  })
  const handlers = Object.fromEntries(
    Object.keys(spoken.messages).map((message) => [
      message,
      (_context: unknown, state: null) => {
        handled.push(message)
        return { state, result: ok(message === 'get' ? 7 : null) }
      },
    ]),
  )
  system.add(
    behaviour<Protocol, null, null>({
      protocol: spoken,
      child: {
        restart: 'permanent',
        restarts_max: 1,
        restarts_period_ms: 1_000,
        shutdown_ms: 50,
        mailbox_max: 16,
        thread: 'main',
        activation: 'by_id',
      },
      init: () => null,
      invariant: () => undefined,
      handlers,
    }),
    null,
  )
  opened.push(links)
  return { name, links, system, lines, handled }
}

let count = 0
async function linked(
  left: { readonly speaks: Protocol; readonly exports?: readonly Protocol[] },
  right: { readonly speaks: Protocol; readonly exports?: readonly Protocol[] },
) {
  count += 1
  const path = join(directory, `${count}.sock`)
  const a = host('left', left.speaks, left.exports ?? [left.speaks])
  const b = host('right', right.speaks, right.exports ?? [right.speaks])
  await b.links.listen({ path })
  a.links.dial('right', connector({ path }))
  const untilUp = async () => {
    await until('both ends know', 5_000, () =>
      a.links.to('right') !== null && b.links.to('left') !== null ? true : null,
    )
  }
  return { a, b, untilUp }
}
type Host = ReturnType<typeof host>
const ask = async (
  from: Host,
  to: Host,
  spoken: Protocol,
  [message, request]: readonly [string, unknown],
) => {
  const ref = from.system.ref(spoken, 'x', to.name)
  const answer = await ref.call(message, request, soon)
  return answer.ok ? 'ok' : `${answer.error}: ${answer.detail}`
}

test('what both versions have works in both directions', async () => {
  const { a, b, untilUp } = await linked({ speaks: one }, { speaks: two })
  await untilUp()
  assert.equal(await ask(a, b, one, ['get', null]), 'ok')
  assert.equal(await ask(b, a, two, ['get', null]), 'ok')
})

test('a new message to an old peer is refused without being sent', async () => {
  const { a, b, untilUp } = await linked({ speaks: one }, { speaks: two })
  await untilUp()
  const load = b.links.to('left')?.inflight
  const answer = await ask(b, a, two, ['put', 1])
  assert.match(answer, /^unsupported: box\/x put: the other end has version 1 of box$/)
  assert.equal(b.links.to('left')?.inflight, load)
  assert.deepEqual(a.handled, [])
})

test('a message that the newer peer has retired is refused by it', async () => {
  const { a, b, untilUp } = await linked({ speaks: two }, { speaks: three })
  await untilUp()
  assert.match(await ask(a, b, two, ['put', 1]), /^unsupported: .*no message with op 2$/)
  assert.equal(await ask(a, b, two, ['get', null]), 'ok', 'and the link goes on')
  assert.match(await ask(b, a, three, ['store', 1.5]), /^unsupported: .*has version 2 of box$/)
  assert.deepEqual(b.handled, ['get'])
})

test('a peer that does not have a protocol at all is known not to', async () => {
  const { a, b, untilUp } = await linked({ speaks: one }, { speaks: two, exports: [] })
  await untilUp()
  assert.match(await ask(a, b, one, ['get', null]), /^unsupported: .*the other end has no box$/)
  assert.match(await ask(a, b, other, ['get', null]), /^unsupported: .*the other end has no other$/)
})

test('peers that call different tables the same version do not link, and say so', async () => {
  const { a, b } = await linked({ speaks: two }, { speaks: forged })
  const said = /both ends have version 2 of box, and its tables differ/
  await until('it is refused', 5_000, () =>
    [...a.lines, ...b.lines].some(({ fields }) => said.test(JSON.stringify(fields))) ? true : null,
  )
  assert.equal(a.links.to('right'), null)
  assert.equal(b.links.to('left'), null)
})

test('where only one end exports it, the call says that the tables differ', async () => {
  const { a, b, untilUp } = await linked({ speaks: two, exports: [] }, { speaks: forged })
  await untilUp()
  const answer = await ask(a, b, two, ['put', 1])
  assert.match(answer, /^unsupported: .*both ends have version 2 of box, and its tables differ/)
  assert.deepEqual(b.handled, [])
  assert.equal(code(await b.system.ref(forged, 'x').call('get', null, soon)), 'ok')
})
