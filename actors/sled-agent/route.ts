/** What the sled agent's handlers are given, and how an operation gets its handler. */
import type { HttpServices } from '#actors/http/face.ts'
import { implementer } from '#actors/http/route.ts'
import {
  asApiError,
  internal,
  invalidRequest,
  unavailable,
  type ApiError,
} from '#actors/http/errors.ts'
import { asPiece, type Piece } from '#actors/http/work.ts'
import type { RefMaker } from '#runtime/actor/actor.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Work } from '#runtime/trace.ts'
import { sledAgentOperations } from './contract.ts'

export interface SledAgentServices extends HttpServices {
  readonly sled_id: string
  readonly clock: Clock
  /** The sled's own actors: what is asked for over HTTP goes the way of the messages. */
  readonly ref: RefMaker
  /** The same, on behalf of a piece of work. */
  readonly refFor: (work: Work) => RefMaker
  /** Names of the service zones that the sled keeps up. */
  readonly zones: readonly string[]
}

export const implementSled = implementer<typeof sledAgentOperations, SledAgentServices>(
  sledAgentOperations,
)

/** Does a piece of work, with services that know of it. */
export async function doSledPiece<T>(
  services: SledAgentServices,
  piece: Piece,
  work: (own: SledAgentServices) => Promise<T>,
): Promise<T> {
  return await asPiece(
    piece,
    asApiError,
    async () => await work({ ...services, ref: services.refFor(piece) }),
  )
}

/** What a caller is told when an actor did not do what it was asked. */
export function refusal(
  { log }: SledAgentServices,
  failed: { readonly error: string; readonly detail: string },
): ApiError {
  switch (failed.error) {
    case 'invalid_transition':
    case 'attached':
    case 'address_taken':
    case 'invalid':
      return invalidRequest(failed.detail)
    case 'attached_elsewhere':
      return invalidRequest('disk is already attached')
    case 'os_failed':
    case 'no_space':
      log.error('the sled could not do what it was asked', failed)
      return internal()
    default:
      return unavailable()
  }
}
