/** The serial console: its history as JSON, and a websocket that carries both directions. */
import type { RawData, WebSocket } from 'ws'
import { limits } from '#config/limits.ts'
import { explain, type Result } from '#runtime/result.ts'
import { implement } from '../api/route.ts'
import { powers } from '../access/authz.ts'
import type { Services } from '../context.ts'
import { badRequest, internal, invalidRequest, unavailable } from '#actors/http/errors.ts'
import { instanceOf } from './instances-api.ts'
import { instanceById, type Instance } from './instances.ts'

const call_ms = 10_000
const follow_ms = 5_000
const chunk_bytes = 64 * 1024
/** What a viewer that reads slowly may leave unread before we wait for it. */
const unread_bytes_max = 1024 * 1024
const slow_look_ms = 50
/** RFC 6455 §7.4.1: the server cannot go on. */
const closing = 1011

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

/**
 * Carries output from now on and keys typed, until the viewer leaves or the guest ends. A guest that
 * migrates takes its console along: what it says goes on at the same offset on the other sled.
 */
async function stream(services: Services, socket: WebSocket, row: Instance): Promise<void> {
  const left = new AbortController()
  socket.once('close', () => {
    left.abort(new Error('the viewer left'))
  })
  socket.on('error', () => {
    left.abort(new Error('the websocket broke'))
  })
  const console = new Console(services, row, left.signal)
  // Keys arrive in the order they were typed: each waits for the one before.
  let typed: Promise<unknown> = Promise.resolve()
  socket.on('message', (data, isBinary) => {
    if (!isBinary) return
    typed = typed
      .then(async () => await console.type(bytesOf(data)))
      .catch((error: unknown) => {
        services.log.warn('keys did not reach a console', { instance: row.id, why: explain(error) })
        socket.close(closing, 'keys do not reach the console')
      })
  })
  let from_start: number | null = null
  while (!left.signal.aborted) {
    const read = await console.follow(from_start)
    if (!read.ok) {
      if (!left.signal.aborted) socket.close(closing, `the console ended: ${read.error}`)
      break
    }
    from_start = read.value.last_byte_offset
    if (read.value.data.length > 0) socket.send(read.value.data, { binary: true })
    while (socket.bufferedAmount > unread_bytes_max && !left.signal.aborted) {
      await services.clock.sleep(slow_look_ms, left.signal)
    }
  }
  await console.close()
}

/** The console of a guest, on whatever sled it is. */
class Console {
  readonly #services: Services
  readonly #id: string
  readonly #stream_id: string
  readonly #left: AbortSignal
  #sled_id: string

  constructor(services: Services, { id, sled_id }: Instance, left: AbortSignal) {
    this.#services = services
    this.#id = id
    this.#sled_id = sled_id
    this.#left = left
    this.#stream_id = services.random.uuid()
  }

  async type(data: Uint8Array) {
    return await this.#where(
      async (sled_id) =>
        await this.#services.sleds
          .instance(sled_id, this.#id)
          .call('serial_write', { data }, { timeout_ms: call_ms }),
    )
  }

  /** Output from an offset on, or from now on. */
  async follow(from_start: number | null) {
    const request = { from_start, max_bytes: chunk_bytes, wait_ms: follow_ms }
    const options = { timeout_ms: call_ms, signal: this.#left }
    return await this.#where(
      async (sled_id) => await this.#watcher(sled_id).call('follow', request, options),
    )
  }

  async close(): Promise<void> {
    await this.#watcher(this.#sled_id).call('close', null, { timeout_ms: call_ms })
  }

  #watcher(sled_id: string) {
    return this.#services.sleds.console(sled_id, this.#id, this.#stream_id)
  }

  /** Asks the sled that has the guest; again while the guest is on its way to another one. */
  async #where<T, E extends string>(
    asking: (sled_id: string) => Promise<Result<T, E>>,
  ): Promise<Result<T, E>> {
    for (;;) {
      const answer = await asking(this.#sled_id)
      if (answer.ok || this.#left.aborted) return answer
      const { sled_id, run_state, migration_id } = await instanceById(this.#services, this.#id)
      const isMoving = migration_id !== null || run_state === 'migrating'
      if (sled_id === this.#sled_id && !isMoving) return answer
      if (sled_id === this.#sled_id) {
        await this.#services.clock.sleep(slow_look_ms, this.#left)
      } else {
        const former = this.#watcher(this.#sled_id)
        this.#sled_id = sled_id
        void former.call('close', null, { timeout_ms: call_ms })
      }
    }
  }
}

function bytesOf(data: RawData): Uint8Array {
  if (Array.isArray(data)) return new Uint8Array(Buffer.concat(data))
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data)
}
