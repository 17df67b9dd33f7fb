/** The QMP client against peers that behave, misbehave, and vanish. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Qmp, type QmpEvent } from '#native/linux/qmp.ts'
import { until } from '#test/kit/rack.ts'

const directory = mkdtempSync(join(tmpdir(), 'luge-qmp-'))
const servers: Server[] = []
after(() => {
  for (const server of servers) server.close()
  rmSync(directory, { recursive: true, force: true })
})

let count = 0
/** A peer on a socket of its own; `serve` is given each connection. */
async function peer(serve: (socket: Socket) => void): Promise<string> {
  count += 1
  const path = join(directory, `${count}.sock`)
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    serve(socket)
  })
  servers.push(server)
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(path, () => {
    resolve()
  })
  await promise
  return path
}
const greeting = '{"QMP": {"version": {}, "capabilities": []}}\r\n'

/** Answers like QEMU: every command with an empty object, but those in `special`. */
const polite =
  (special: Readonly<Record<string, string>> = {}) =>
  (socket: Socket) => {
    socket.write(greeting)
    socket.on('data', (data: Buffer) => {
      for (const line of data.toString().split('\n').filter(Boolean)) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number }
        const answer = special[execute] ?? `"return": {}`
        socket.write(`{${answer}, "id": ${id}}\r\n`)
      }
    })
  }
const quiet = { event: () => undefined, close: () => undefined }

test('commands get their own answers, and QEMU’s refusals in its own words', async () => {
  const path = await peer(
    polite({
      'query-status': '"return": {"status": "running"}',
      stop: '"error": {"class": "GenericError", "desc": "not now"}',
    }),
  )
  const qmp = await Qmp.connect(path, quiet)
  const [status, refused] = await Promise.allSettled([
    qmp.execute('query-status'),
    qmp.execute('stop'),
  ])
  assert.deepEqual(status, { status: 'fulfilled', value: { status: 'running' } })
  assert.ok(
    refused.status === 'rejected' && /not now \(GenericError\)/.test(String(refused.reason)),
  )
  qmp.close()
})

test('events arrive, also those that come between commands in pieces', async () => {
  const events: QmpEvent[] = []
  let connection: Socket | null = null
  const path = await peer((socket) => {
    connection = socket
    polite()(socket)
  })
  const qmp = await Qmp.connect(path, { ...quiet, event: (event) => events.push(event) })
  const sending: Socket | null = connection
  assert.ok(sending !== null)
  const write = (text: string) => (sending as Socket).write(text)
  write('{"event": "RESET", "data": {"gu')
  write('est": true}}\r\n{"event": "SHUTDOWN"}\r\n')
  await until('both events', 2_000, () => (events.length === 2 ? true : null))
  assert.deepEqual(events, [
    { name: 'RESET', data: { guest: true } },
    { name: 'SHUTDOWN', data: {} },
  ])
  qmp.close()
})

for (const [what, says] of [
  ['no JSON', 'SSH-2.0-OpenSSH\n'],
  ['JSON of another shape', '[1, 2]\n'],
  ['a line without end', 'x'.repeat(5 * 1024 * 1024)],
] as const) {
  test(`a peer that speaks ${what} is an error, not a crash`, async () => {
    const path = await peer((socket) => socket.write(says))
    await assert.rejects(Qmp.connect(path, quiet), /QMP/)
  })
}

test('a QEMU that ends fails the waiting command and says so once', async () => {
  let closed = 0
  const path = await peer((socket) => {
    socket.write(greeting)
    socket.on('data', (data: Buffer) => {
      const { execute, id } = JSON.parse(data.toString()) as { execute: string; id: number }
      if (execute === 'quit') socket.destroy()
      else socket.write(`{"return": {}, "id": ${id}}\n`)
    })
  })
  const qmp = await Qmp.connect(path, {
    ...quiet,
    close: () => {
      closed += 1
    },
  })
  await assert.rejects(qmp.execute('quit'), /QEMU closed QMP|QMP broke/)
  await assert.rejects(qmp.execute('query-status'), /QEMU closed QMP|QMP broke/)
  assert.equal(closed, 1)
})
