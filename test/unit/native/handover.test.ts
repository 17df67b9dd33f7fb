/** What a sled answers that is asked for a guest: by whoever, for whatever. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { text } from 'node:stream/consumers'
import { Handover } from '#native/linux/handover.ts'

const directory = mkdtempSync(join(tmpdir(), 'luge-handover-'))
const handover = new Handover(join(directory, 'guests.sock'), async () => null)

before(async () => {
  await handover.offer('one', 'migration')
})
after(() => {
  handover.close()
  rmSync(directory, { recursive: true, force: true })
})

async function answer(said: string): Promise<unknown> {
  const socket = createConnection({ path: handover.path, allowHalfOpen: true })
  socket.end(said)
  return JSON.parse(await text(socket))
}

const request = {
  what: 'memory',
  instance_id: 'one',
  migration_id: 'migration',
  propolis_id: 'propolis',
}

for (const [what, said, why] of [
  ['no JSON', 'give me a guest', /not valid JSON/],
  ['nothing', '', /JSON/],
  ['another thing', JSON.stringify({ ...request, what: 'disk' }), /no request/],
  ['too little', JSON.stringify({ what: 'memory' }), /no request/],
  ['too much', 'x'.repeat(100_000), /a request without end/],
  [
    'a guest that is not offered',
    JSON.stringify({ ...request, instance_id: 'two' }),
    /not offered/,
  ],
  ['another migration', JSON.stringify({ ...request, migration_id: 'late' }), /not offered/],
  ['a guest that is gone', JSON.stringify(request), /not offered/],
] as const) {
  test(`who asks for ${what} is told why there is nothing`, async () => {
    const said_back = (await answer(said)) as { readonly why: string }
    assert.match(said_back.why, why)
  })
}

test('who hangs up in the middle is nobody any more, and the next is answered', async () => {
  const socket = createConnection(handover.path)
  socket.write('{"what":')
  socket.destroy()
  assert.match(((await answer('')) as { readonly why: string }).why, /JSON/)
})
