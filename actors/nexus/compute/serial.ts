/** The serial console: its history as JSON, and a websocket that carries both directions. */
import type { RawData, WebSocket } from 'ws'
import { limits } from '#config/limits.ts'
import { implement } from '../api/route.ts'
import { powers } from '../access/authz.ts'
import type { Services } from '../context.ts'
import { badRequest, internal, invalidRequest, unavailable } from '#actors/http/errors.ts'
import { instanceOf } from './instances-api.ts'
import type { Instance } from './instances.ts'

const call_ms = 10_000
const follow_ms = 5_000
const chunk_bytes = 64 * 1024
/** What a viewer that reads slowly may leave unread before we wait for it. */
const unread_bytes_max = 1024 * 1024
const slow_look_ms = 50
const closing = { normal: 1000, going: 1011 } as const

export const serialRoutes = [
  implement('instance_serial_console', async (call) => {
    const { services, query } = call
    const row = await instanceOf(call, powers.viewer)
    const { from_start = null, most_recent = null } = query
    if ((from_start === null) === (most_recent === null)) {
      throw badRequest("Exactly one of 'from_start' or 'most_recent' must be specified.")
    }
    const max_bytes = Math.min(
      query.max_bytes ?? limits.serial_read_bytes_default,
      limits.serial_read_bytes_max,
    )
    const read = await services.sleds
      .instance(row.sled_id, row.id)
      .call('serial_read', { from_start, most_recent, max_bytes }, { timeout_ms: call_ms })
    if (read.ok) {
      return { data: [...read.value.data], last_byte_offset: read.value.last_byte_offset }
    }
    if (read.error === 'not_running') {
      throw invalidRequest(`instance ${row.name} has no serial console in state "${row.run_state}"`)
    }
    services.log.error('a console could not be read', { instance: row.id, detail: read.detail })
    throw read.error === 'os_failed' ? internal() : unavailable()
  }),

  implement('instance_serial_console_stream', async (call) => {
    const row = await instanceOf(call, powers.collaborator)
    return async (socket) => {
      await stream(call.services, socket, row)
    }
  }),
]

/** Carries output from now on and keys typed, until the viewer leaves or the guest ends. */
async function stream(services: Services, socket: WebSocket, row: Instance): Promise<void> {
  const left = new AbortController()
  socket.once('close', () => {
    left.abort(new Error('the viewer left'))
  })
  socket.on('error', () => {
    left.abort(new Error('the websocket broke'))
  })
  const guest = services.sleds.instance(row.sled_id, row.id)
  // Keys arrive in the order they were typed: each waits for the one before.
  let typed: Promise<unknown> = Promise.resolve()
  socket.on('message', (data, isBinary) => {
    if (!isBinary) return
    const bytes = bytesOf(data)
    typed = typed.then(
      async () => await guest.call('serial_write', { data: bytes }, { timeout_ms: call_ms }),
    )
  })
  const watcher = services.sleds.console(row.sled_id, row.id, services.random.uuid())
  let from_start: number | null = null
  while (!left.signal.aborted) {
    const read = await follow(watcher, from_start, left.signal)
    if (!read.ok) {
      if (!left.signal.aborted) socket.close(closing.going, `the console ended: ${read.error}`)
      break
    }
    from_start = read.value.last_byte_offset
    if (read.value.data.length > 0) socket.send(read.value.data, { binary: true })
    while (socket.bufferedAmount > unread_bytes_max && !left.signal.aborted) {
      await services.clock.sleep(slow_look_ms, left.signal)
    }
  }
  await watcher.call('close', null, { timeout_ms: call_ms })
}

async function follow(
  watcher: ReturnType<Services['sleds']['console']>,
  from_start: number | null,
  signal: AbortSignal,
) {
  const request = { from_start, max_bytes: chunk_bytes, wait_ms: follow_ms }
  return await watcher.call('follow', request, { timeout_ms: call_ms, signal })
}

function bytesOf(data: RawData): Uint8Array {
  if (Array.isArray(data)) return new Uint8Array(Buffer.concat(data))
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data)
}
