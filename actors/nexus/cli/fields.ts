/** `key=value` arguments of `oxide api`, before any file is read. */
import { err, ok, type Result } from '#runtime/result.ts'

/** A typed field's value, or where it is to be read from. */
export type FieldValue =
  | { readonly kind: 'value'; readonly value: string | number | boolean | null }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'stdin' }

export interface Field {
  readonly key: string
  readonly value: FieldValue
}

/** `key=value` with the value as it is written. */
export function rawField(argument: string): Result<Field, 'malformed'> {
  const at = argument.indexOf('=')
  if (at < 1) return err('malformed', `field "${argument}" must have the form key=value`)
  return ok({
    key: argument.slice(0, at),
    value: { kind: 'value', value: argument.slice(at + 1) },
  })
}

/**
 * `key=value` with the value read as what it looks like: integers, decimals, true, false and null;
 * `@file` for a file's text; `-` or `@-` for stdin; any other text as it is.
 */
export function typedField(argument: string): Result<Field, 'malformed'> {
  const raw = rawField(argument)
  if (!raw.ok) return raw
  const { key } = raw.value
  return ok({ key, value: typedValue(argument.slice(key.length + 1)) })
}

function typedValue(text: string): FieldValue {
  if (text === '-' || text === '@-') return { kind: 'stdin' }
  if (text.startsWith('@')) return { kind: 'file', path: text.slice(1) }
  if (text === 'true' || text === 'false') return { kind: 'value', value: text === 'true' }
  if (text === 'null') return { kind: 'value', value: null }
  return { kind: 'value', value: numberLike(text) ?? text }
}

/** The number that a text spells; null when it is none, or one that would come out rounded. */
function numberLike(text: string): number | null {
  if (!/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) return null
  const value = Number(text)
  if (!Number.isFinite(value)) return null
  return /^-?[0-9]+$/.test(text) && !Number.isSafeInteger(value) ? null : value
}

/** `Name: value` of `-H`. */
export function header(argument: string): Result<readonly [string, string], 'malformed'> {
  const at = argument.indexOf(':')
  if (at < 1) return err('malformed', `header "${argument}" must have the form Name:value`)
  return ok([argument.slice(0, at).trim(), argument.slice(at + 1).trim()])
}
