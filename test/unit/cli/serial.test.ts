import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { WebSocketServer, type WebSocket } from 'ws'
import { onTerminal, type Played, type Step } from '#test/kit/terminal.ts'
import { cleanEnv, fakeApi, oxide, oxideEntry, refused, type Routes } from './kit.ts'

const consolePath = '/organizations/myorg/projects/myproj/instances/myinst/serial-console'
const serial = ['instance', 'serial', '-o', 'myorg', '-p', 'myproj', 'myinst']
const reset = '\u001b[0m\n'

const output = Buffer.from('boot\r\nlogin: \u00ff', 'latin1')
const chunk = (from: number) => ({
  status: 200,
  body: { data: [...output.subarray(from)], last_byte_offset: output.length },
})

test('serial prints the most recent bytes and puts the colours back', async (t) => {
  const api = await fakeApi(t, { [`GET ${consolePath}`]: () => chunk(0) })
  const ran = await oxide(serial, { OXIDE_HOST: api.host })
  assert.equal(ran.code, 0)
  assert.equal(ran.stdout, output.toString() + reset)
  assert.equal(api.asked[0]?.url, `${consolePath}?most_recent=16384`)
})

test('serial asks from an offset, back from the end, and for so many bytes', async (t) => {
  const api = await fakeApi(t, { [`GET ${consolePath}`]: () => chunk(0) })
  const env = { OXIDE_HOST: api.host }
  await oxide([...serial, '--byte-offset=0'], env)
  await oxide([...serial, '-b', '-5', '-m', '10'], env)
  assert.deepEqual(
    api.asked.map(({ url }) => url),
    [`${consolePath}?from_start=0`, `${consolePath}?most_recent=5&max_bytes=10`],
  )
  assert.equal((await oxide([...serial, '-b', 'x'], env)).code, 2)
})

test('serial says what the server says', async (t) => {
  const api = await fakeApi(t, {
    [`GET ${consolePath}`]: () =>
      refused(404, 'ObjectNotFound', 'not found: instance with name "myinst"'),
  })
  const ran = await oxide(serial, { OXIDE_HOST: api.host })
  assert.deepEqual(ran, {
    code: 1,
    stdout: '',
    stderr: '✘ Object not found: not found: instance with name "myinst"\n',
  })
})

test('serial --continuous goes on from where it was', async (t) => {
  const api = await fakeApi(t, {
    [`GET ${consolePath}`]: ({ query }) => chunk(Number(query.get('from_start') ?? 6)),
  })
  const child = spawn(process.execPath, [oxideEntry, ...serial, '-c'], {
    env: cleanEnv({ OXIDE_HOST: api.host }),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [first] = await once(child.stdout, 'data')
  assert.equal(String(first), output.subarray(6).toString())
  while (api.asked.length < 3) await once(api.server, 'request')
  assert.equal(api.asked[1]?.url, `${consolePath}?from_start=${output.length}`)
  assert.equal(api.asked[2]?.url, `${consolePath}?from_start=${output.length}`)
  child.kill('SIGTERM')
  await once(child, 'exit')
})

interface Guest {
  /** What the guest was sent, and how the socket ended. */
  readonly got: () => string
  readonly play: (steps: readonly Step[]) => Promise<Played>
}

/** A console whose guest echoes upper case; `talk` may do more on every connection. */
async function guest(
  context: TestContext,
  talk: (socket: WebSocket) => void = () => {},
  routes: Routes = {},
): Promise<Guest> {
  const api = await fakeApi(context, routes)
  const sockets = new WebSocketServer({ noServer: true })
  context.after(() => {
    for (const socket of sockets.clients) socket.terminate()
  })
  const got: Buffer[] = []
  api.server.on('upgrade', (request, socket, head) => {
    assert.equal(request.url, `${consolePath}/stream`)
    assert.equal(request.headers.authorization, 'Bearer oxide-token-1')
    sockets.handleUpgrade(request, socket, head, (stream) => {
      stream.on('message', (data: Buffer, isBinary) => {
        assert.ok(isBinary)
        got.push(data)
        stream.send(Buffer.from(`<${data.toString('latin1').toUpperCase()}>`, 'latin1'))
      })
      stream.send('text frames are not output')
      stream.send(Buffer.from('hello\r\n'))
      talk(stream)
    })
  })
  const env = cleanEnv({ OXIDE_HOST: api.host, OXIDE_TOKEN: 'oxide-token-1' })
  const program = [process.execPath, oxideEntry, ...serial, '--interactive']
  return {
    got: () => Buffer.concat(got).toString('latin1'),
    play: async (steps) => await onTerminal(program, steps, env),
  }
}

test('an interactive console is raw while it lasts; Ctrl-C sends what was typed and ends it', async (t) => {
  const { got, play } = await guest(t)
  const played = await play([
    { expect: 'hello' },
    { mode: 'raw' },
    { send: 'root\r' },
    { expect: '<ROOT\r>' },
    { send: 'last\u0003' },
  ])
  assert.equal(got(), 'root\rlast')
  assert.equal(played.code, 0)
  assert.ok(played.restored)
  assert.doesNotMatch(played.output, /text frames|\^C/)
})

test('Ctrl-A hands the next key to the guest, also when it comes in a read of its own', async (t) => {
  const { got, play } = await guest(t)
  const played = await play([
    { mode: 'raw' },
    { send: 'a\u0001' },
    { expect: '<A>' },
    { send: '\u0003' },
    { expect: '<\u0003>' },
    { send: '\u0001\u0001' },
    { expect: '<\u0001>' },
    { send: '\u0003' },
  ])
  assert.equal(got(), 'a\u0003\u0001')
  assert.equal(played.code, 0)
})

test('the command ends when the server closes the console', async (t) => {
  const { play } = await guest(t, (socket) => socket.close(1000))
  const played = await play([])
  // Node's raw mode leaves the terminal's own carriage return before newlines on.
  assert.deepEqual([played.code, played.output, played.restored], [0, 'hello\r\r\n', true])
})

test('a console that breaks is named, and the terminal is restored', async (t) => {
  const { play } = await guest(t, (socket) => socket.close(1011, 'propolis is gone'))
  const played = await play([])
  assert.deepEqual([played.code, played.restored], [1, true])
  assert.match(played.output, /✘ The console closed: propolis is gone/)
})

test('a signal restores the terminal', async (t) => {
  for (const signal of [15, 1]) {
    const { play } = await guest(t)
    const played = await play([{ expect: 'hello' }, { mode: 'raw' }, { signal }])
    assert.deepEqual([played.code, played.restored], [128 + signal, true])
  }
})

test('a refused console says why and never makes the terminal raw', async (t) => {
  const api = await fakeApi(t, {})
  api.server.on('upgrade', (_request, socket) => {
    const body = '{"error_code":"InvalidRequest","message":"instance is not running"}'
    socket.end(`HTTP/1.1 400 Bad Request\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  })
  const program = [process.execPath, oxideEntry, ...serial, '-i']
  const played = await onTerminal(program, [], cleanEnv({ OXIDE_HOST: api.host }))
  assert.deepEqual([played.code, played.restored], [1, true])
  assert.equal(played.output, '✘ Invalid request: instance is not running\r\n')
})

test('--interactive without a terminal is refused', async () => {
  const ran = await oxide([...serial, '--interactive'], { OXIDE_HOST: 'http://127.0.0.1:1' })
  assert.deepEqual(ran, {
    code: 1,
    stdout: '',
    stderr: 'Stdout must be a TTY to use interactive mode.\n',
  })
})
