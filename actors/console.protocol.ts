/** Messages of a console watcher: one per open serial stream, so that waiting blocks nobody else. */
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { call, nothing, protocol } from '#runtime/actor/protocol.ts'
import { binary, bytes } from '#actors/schema.ts'

/** An actor's id is `<instance id>.<stream id>`, both UUIDs; made by its first message. */
export const consoleProtocol = protocol('console', 1, {
  /**
   * Output from `from_start` on; when there is none yet, waits up to `wait_ms` and may answer with
   * nothing. `from_start` null begins at the end of what there is.
   */
  follow: call(1, {
    request: Type.Object({
      from_start: Type.Union([bytes, Type.Null()]),
      max_bytes: Type.Integer({ minimum: 1, maximum: limits.serial_read_bytes_max }),
      wait_ms: Type.Integer({ minimum: 0, maximum: limits.serial_follow_ms_max }),
    }),
    reply: Type.Object({ data: binary, last_byte_offset: bytes }),
    errors: ['not_running', 'os_failed'],
    idempotent: true,
  }),
  /** Ends the watcher. */
  close: call(2, {
    request: nothing,
    reply: nothing,
    errors: [],
    lane: 'urgent',
    idempotent: true,
  }),
})
