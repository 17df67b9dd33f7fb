/** Everything an API's caller can be told went wrong, with Omicron's statuses, codes and wording. */
/** Ends a request. Thrown where it is found, turned into a response in one place, the server. */
export class ApiError extends Error {
  readonly status: number
  /** Absent for errors of HTTP itself (bad path, query, body). */
  readonly error_code: string | null

  constructor(status: number, error_code: string | null, message: string) {
    super(message)
    this.status = status
    this.error_code = error_code
  }
}

/** What a caller is told of an error: of what is not the API's own, nothing. */
export const asApiError = (error: unknown): ApiError =>
  error instanceof ApiError ? error : internal()

export const notFound = (type: string, name: string): ApiError =>
  new ApiError(404, 'ObjectNotFound', `not found: ${type} with name "${name}"`)
export const notFoundById = (type: string, id: string): ApiError =>
  new ApiError(404, 'ObjectNotFound', `not found: ${type} with id "${id}"`)
export const alreadyExists = (type: string, name: string): ApiError =>
  new ApiError(400, 'ObjectAlreadyExists', `already exists: ${type} "${name}"`)
export const invalidRequest = (text: string): ApiError => new ApiError(400, 'InvalidRequest', text)
export const invalidValue = (label: string, text: string): ApiError =>
  new ApiError(400, 'InvalidValue', `unsupported value for "${label}": ${text}`)
export const unauthenticated = (): ApiError =>
  new ApiError(401, 'Unauthorized', 'credentials missing or invalid')
export const forbidden = (): ApiError => new ApiError(403, 'Forbidden', 'Forbidden')
export const notAllowed = (text: string): ApiError => new ApiError(405, 'MethodNotAllowed', text)
export const unavailable = (): ApiError =>
  new ApiError(503, 'ServiceNotAvailable', 'Service Unavailable')
export const internal = (): ApiError => new ApiError(500, 'Internal', 'Internal Server Error')
export const notImplemented = (text: string): ApiError => new ApiError(501, 'NotImplemented', text)
export const badRequest = (text: string): ApiError => new ApiError(400, null, text)
