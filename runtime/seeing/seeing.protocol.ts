/** What a process lets be seen of it. Served on control sockets only. */
import { Type } from 'typebox'
import { call, protocol } from '../protocol.ts'
import { snapshot } from './snapshot.ts'

/** One actor a process, id `process`. */
export const seeingProtocol = protocol('seeing', 1, {
  snapshot: call(1, {
    /** How long, from now, messages are measured for the next look; 0 leaves it as it is. */
    request: Type.Object({ measure_ms: Type.Integer({ minimum: 0, maximum: 300_000 }) }),
    reply: snapshot,
    errors: [],
    idempotent: true,
  }),
})
