/** What the server said no with, as the sentence that the user reads. */
import { parseJson, textOf } from './value.ts'

const sentences: Readonly<Record<string, (message: string) => string>> = {
  ObjectNotFound: (message) => `✘ Object not found: ${message}`,
  ObjectAlreadyExists: (message) => `✘ Object already exists: ${message}`,
  InvalidRequest: (message) => `✘ Invalid request: ${message}`,
  InvalidValue: (message) => `✘ Invalid value: ${message}`,
  Unauthorized: (message) =>
    `✘ You are not authenticated: ${message}\nTry authenticating with: \`oxide auth login\``,
  Forbidden: () => '✘ You are not authorized to perform this action',
  Internal: (message) => `✘ Oxide API internal error: ${message}`,
  ServiceNotAvailable: (message) => `✘ Oxide API service unavailable: ${message}`,
}

/**
 * The sentence for a refused request. A refusal without a known code is the server's own text; one
 * without text is its status line, such as `400 Bad Request`.
 */
export function refusal(statusLine: string, body: string): string {
  const parsed = parseJson(body)
  const message = textOf(parsed, 'message')
  if (message === null) return body.trim() === '' ? statusLine : body.trim()
  const sentence = sentences[textOf(parsed, 'error_code') ?? '']
  return sentence === undefined ? message : sentence(message)
}
