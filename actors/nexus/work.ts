/** Pieces of work of Nexus: what they ask of sleds is asked on their behalf, and traced under them. */
import { asPiece, type Piece } from '#actors/http/work.ts'
import type { Services } from './context.ts'
import { asApiError } from './errors.ts'

/** Does a piece of work, with services that know of it. */
export async function doPiece<T, S extends Services>(
  services: S,
  piece: Piece,
  work: (own: S) => Promise<T>,
): Promise<T> {
  return await asPiece(piece, asApiError, async () => {
    return await work({ ...services, work: piece, sleds: services.sleds.for(piece) })
  })
}
