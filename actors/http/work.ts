/** Pieces of work of a face: named for people, traced when their senders are. */
import { onBehalfOf } from '#runtime/behalf.ts'
import type { OpenSpan } from '#runtime/trace.ts'
import type { ApiError } from './errors.ts'

export interface Piece {
  /** For people: the operation, or the node of a saga. */
  readonly what: string
  /** Null while nobody traces it; ended here. */
  readonly span: OpenSpan | null
}

/** Does a piece of work and ends its span with how it went. */
export async function asPiece<T>(
  piece: Piece,
  asApiError: (error: unknown) => ApiError,
  work: () => Promise<T>,
): Promise<T> {
  try {
    const done = await onBehalfOf(piece, work)
    piece.span?.end(null)
    return done
  } catch (error) {
    const { error_code, status } = asApiError(error)
    piece.span?.end(error_code ?? String(status))
    throw error
  }
}
