/** What a caller, or a saga's record, is told of errors that are not the API's own. */
import {
  ApiError,
  internal,
  invalidRequest,
  unavailable,
  asApiError as asPlainError,
} from '#actors/http/errors.ts'
import { LeaseLost } from '#runtime/cluster/sql.ts'
import { StoreError } from './store/failure.ts'

/** What a caller is told of any error: of the store only that it is unavailable, of bugs nothing. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof LeaseLost) return unavailable()
  if (!(error instanceof StoreError)) return asPlainError(error)
  switch (error.failure) {
    case 'away':
    case 'retry':
      return unavailable()
    case 'unstorable':
      return invalidRequest('text may not contain NUL characters')
    case 'conflict':
      return internal()
  }
}

/** An error as a saga node records it, and back. */
export interface RecordedError {
  readonly status: number
  readonly error_code: string | null
  readonly message: string
}
export function recordError(error: unknown): RecordedError {
  const { status, error_code, message } = asApiError(error)
  return { status, error_code, message }
}
export const restoreError = (recorded: RecordedError): ApiError =>
  new ApiError(recorded.status, recorded.error_code, recorded.message)
