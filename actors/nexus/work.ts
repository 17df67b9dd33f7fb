/** Pieces of work of Nexus: what they ask of sleds is asked on their behalf, and traced under them. */
import type { OpenSpan } from '#runtime/trace.ts'
import type { Services } from './context.ts'
import { asApiError } from './errors.ts'

export interface Piece {
  /** For people: the operation, or the node of a saga. */
  readonly what: string
  /** Null while nobody traces it; ended here. */
  readonly span: OpenSpan | null
}

/** Does a piece of work, with services that know of it. */
export async function doPiece<T, S extends Services>(
  services: S,
  piece: Piece,
  work: (own: S) => Promise<T>,
): Promise<T> {
  return await asPiece(piece, async () => {
    return await work({ ...services, work: piece, sleds: services.sleds.for(piece) })
  })
}

/** Does a piece of work and ends its span with how it went. */
export async function asPiece<T>(piece: Piece, work: () => Promise<T>): Promise<T> {
  try {
    const done = await work()
    piece.span?.end(null)
    return done
  } catch (error) {
    const { error_code, status } = asApiError(error)
    piece.span?.end(error_code ?? String(status))
    throw error
  }
}
