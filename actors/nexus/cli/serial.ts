/** `oxide instance serial`: the guest's console, as it was or as it happens. */
import { WebSocket, type RawData } from 'ws'
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { serialChunk, unreachable, withQuery, type Client } from './client.ts'
import { done, integer, type Failed, type Input, type Outcome, type Verb } from './command.ts'
import { begin, objectPath, scopeFlags } from './crud.ts'
import { noKeys, type } from './escape.ts'
import { refusal } from './failure.ts'
import { instances } from './kinds.ts'
import type { Session } from './session.ts'
import { connectOptions } from './trust.ts'

const resetStyle = '\u001b[0m\n'

export const serialVerb: Verb = {
  name: 'serial',
  summary: "read an instance's serial console, or use it",
  args: [{ name: 'name', summary: 'its name' }],
  flags: [
    ...scopeFlags(instances),
    {
      flags: '-b, --byte-offset <bytes>',
      summary: 'where to begin: from the start, or with a minus that far back from the end',
    },
    { flags: '-m, --max-bytes <bytes>', summary: 'how much to read at most' },
    { flags: '-c, --continuous', summary: 'go on reading until interrupted' },
    {
      flags: '-i, --interactive',
      summary: 'type into it: Ctrl-C ends, Ctrl-A sends the next key as it is',
    },
  ],
  run: async (session, input) => {
    const started = begin(session, instances, input)
    if (!started.ok) return started
    const { client, scope } = started.value
    const where = objectPath({ ...instances, byId: null }, scope, input.text('name') ?? '')
    const console = `${where}/serial-console`
    if (input.has('interactive')) return await converse(session, client, `${console}/stream`)
    const query = queryOf(input)
    if (!query.ok) return query
    const read = await readConsole(session, client, console, query.value)
    return read.ok && input.has('continuous')
      ? await follow(session, client, {
          console,
          from: read.value,
          max_bytes: query.value.max_bytes,
        })
      : await finish(session, read)
  },
}

interface Query {
  readonly from_start: string | null
  readonly most_recent: string | null
  readonly max_bytes: string | null
}

function queryOf(input: Input): Result<Query, 'usage'> {
  const max = Number.MAX_SAFE_INTEGER
  const maxBytes = input.text('max-bytes')
  const wanted = maxBytes === null ? ok(0) : integer('max-bytes', maxBytes, { min: 0, max })
  if (!wanted.ok) return wanted
  const max_bytes = maxBytes
  const offset = input.text('byte-offset')
  if (offset === null) {
    return ok({
      from_start: null,
      most_recent: String(limits.serial_read_bytes_default),
      max_bytes,
    })
  }
  const parsed = integer('byte-offset', offset, { min: -max, max })
  if (!parsed.ok) return parsed
  return parsed.value < 0
    ? ok({ from_start: null, most_recent: String(-parsed.value), max_bytes })
    : ok({ from_start: String(parsed.value), most_recent: null, max_bytes })
}

/** Prints what one request gives; the value is the offset behind it. */
async function readConsole(
  session: Session,
  client: Client,
  console: string,
  query: Query,
): Promise<Result<number, 'failed'>> {
  const answer = await client.call('GET', withQuery(console, { ...query }))
  if (!answer.ok) return answer
  const chunk = serialChunk(answer.value)
  if (chunk === null) return err('failed', '✘ The server answered, but not with console output')
  await session.terminal.write(chunk.data)
  return ok(chunk.last_byte_offset)
}

async function finish(session: Session, read: Result<number, 'failed'>): Promise<Outcome> {
  if (!read.ok) return read
  // The guest may have left colours on.
  await session.terminal.write(resetStyle)
  return done
}

/** Reads on from an offset until the command is interrupted or the console is gone. */
async function follow(
  session: Session,
  client: Client,
  at: { readonly console: string; readonly from: number; readonly max_bytes: string | null },
): Promise<Outcome> {
  for (let from = at.from; ;) {
    const query = { from_start: String(from), most_recent: null, max_bytes: at.max_bytes }
    const read = await readConsole(session, client, at.console, query)
    if (!read.ok) return read
    if (read.value === from) await session.terminal.clock.sleep(limits.cli_serial_idle_ms)
    from = read.value
  }
}

/** Joins the terminal and the console until either ends. */
async function converse(session: Session, client: Client, stream: string): Promise<Outcome> {
  const { terminal } = session
  if (!terminal.stdout_is_terminal) {
    return err('failed', 'Stdout must be a TTY to use interactive mode.')
  }
  const opened = await open(client, stream)
  if (!opened.ok) return opened
  const socket = opened.value
  terminal.rawMode(true)
  try {
    return await relay(session, socket)
  } finally {
    socket.terminate()
    terminal.rawMode(false)
  }
}

async function open(client: Client, stream: string): Promise<Result<WebSocket, Failed>> {
  const { host, token, trust } = client.access
  const socket = new WebSocket(host.replace(/^http/, 'ws') + stream, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    ...connectOptions(host, trust),
    handshakeTimeout: limits.cli_connect_ms_max,
    maxPayload: limits.serial_read_bytes_max,
    perMessageDeflate: false,
  })
  return await new Promise((resolve) => {
    socket.once('open', () => {
      // What the guest says at once must wait for its listener.
      socket.pause()
      resolve(ok(socket))
    })
    socket.once('error', (error) => resolve(err('failed', unreachable(host, error))))
    socket.once('unexpected-response', (_request, response) => {
      const chunks: Uint8Array[] = []
      response.on('data', (chunk: Uint8Array) => void chunks.push(chunk))
      response.once('close', () => {
        const status = `${response.statusCode ?? 0} ${response.statusMessage ?? ''}`
        resolve(err('failed', refusal(status, Buffer.concat(chunks).toString())))
      })
    })
  })
}

async function relay(session: Session, socket: WebSocket): Promise<Outcome> {
  const { terminal } = session
  return await new Promise((resolve) => {
    let keys = noKeys
    let quits = false
    const hangUp = (): void => {
      quits = true
      socket.close(1000)
      // A server that does not answer the close must not hold the terminal.
      terminal.clock.after(limits.cli_serial_close_ms_max, () => socket.terminate())
    }
    const stop = terminal.listen((chunk) => {
      if (quits) return
      if (chunk === null) return hangUp()
      const typed = type(keys, chunk)
      keys = typed.keys
      if (typed.send.length > 0) socket.send(typed.send)
      if (typed.quit) hangUp()
    })
    const end = (outcome: Outcome): void => {
      stop()
      resolve(outcome)
    }
    socket.on('message', (data, isBinary) => {
      if (isBinary && !quits) void show(session, socket, data)
    })
    socket.once('error', (error) => end(err('failed', unreachable(hostOf(socket), error))))
    socket.once('close', (code, reason) => {
      const isOver = quits || code === 1000 || code === 1001 || code === 1005
      end(isOver ? done : err('failed', `✘ The console closed: ${closeReason(code, reason)}`))
    })
    socket.resume()
  })
}

/** Writes the guest's output, reading no more of it until the terminal has taken it. */
async function show(session: Session, socket: WebSocket, data: RawData): Promise<void> {
  socket.pause()
  const chunks = Array.isArray(data) ? data : [data]
  for (const chunk of chunks) await session.terminal.write(new Uint8Array(chunk))
  socket.resume()
}

const hostOf = (socket: WebSocket): string => new URL(socket.url).host
const closeReason = (code: number, reason: Buffer): string =>
  reason.length > 0 ? reason.toString() : `the connection was lost (${code})`
