/** Looking into what a server sent: anything may be anything until it has been asked. */

export type Fields = Readonly<Record<string, unknown>>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text field of an object; null when the value is no object or the field no text. */
export function textOf(value: unknown, field: string): string | null {
  if (!isFields(value)) return null
  const found = value[field]
  return typeof found === 'string' ? found : null
}

/** A number field of an object; null when the value is no object or the field no number. */
export function numberOf(value: unknown, field: string): number | null {
  if (!isFields(value)) return null
  const found = value[field]
  return typeof found === 'number' ? found : null
}

/** JSON text as a value; null when it is not JSON (which no caller needs to tell from `null`). */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
