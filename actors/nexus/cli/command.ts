/** Commands as data: what they are called, what they take, what they do. */
import { err, ok, type Result } from '#runtime/result.ts'
import type { Session } from './session.ts'

/** `usage`: asked wrongly (exit 2). `failed`: asked rightly, refused (exit 1). Detail is printed. */
export type Failed = 'usage' | 'failed'
export type Outcome = Result<null, Failed>
export const done: Outcome = ok(null)

export interface Argument {
  readonly name: string
  readonly summary: string
  /** A missing one is asked for by the command itself. */
  readonly optional?: boolean
}

export interface Flag {
  /** As in help: `-o, --organization <name>`; without `<…>` it is a switch. */
  readonly flags: string
  readonly summary: string
  /** A variable that stands for it when it is not given. */
  readonly env?: string
  readonly choices?: readonly string[]
  /** May be given many times. */
  readonly many?: boolean
}

/** What was typed, by the long names of flags and the names of arguments. */
export interface Input {
  readonly text: (name: string) => string | null
  readonly has: (name: string) => boolean
  readonly all: (name: string) => readonly string[]
}

export interface Verb {
  readonly name: string
  readonly summary: string
  readonly args?: readonly Argument[]
  readonly flags?: readonly Flag[]
  readonly run: (session: Session, input: Input) => Promise<Outcome>
}

export interface Noun {
  readonly name: string
  readonly aliases?: readonly string[]
  readonly summary: string
  readonly verbs: readonly Verb[]
}

export const organizationFlag: Flag = {
  flags: '-o, --organization <name>',
  summary: 'the organization',
  env: 'OXIDE_ORG',
}
export const projectFlag: Flag = { flags: '-p, --project <name>', summary: 'the project' }
export const formatFlag: Flag = {
  flags: '-f, --format <format>',
  summary: 'how to print it',
  choices: ['table', 'json', 'yaml'],
}
export const confirmFlag: Flag = { flags: '--confirm', summary: 'do not ask for confirmation' }
export const descriptionFlag: Flag = {
  flags: '-D, --description <text>',
  summary: 'what it is for',
}

/** A whole number within bounds. `name` is the flag it was given by. */
export function integer(
  name: string,
  text: string,
  bounds: { readonly min: number; readonly max: number },
): Result<number, 'usage'> {
  const value = Number(text)
  if (!/^-?[0-9]+$/.test(text) || value < bounds.min || value > bounds.max) {
    const range = `from ${bounds.min} to ${bounds.max}`
    return err('usage', `--${name} must be a whole number ${range}, not "${text}"`)
  }
  return ok(value)
}

const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
}

/** A size in bytes, from `1073741824`, `1g`, `1GiB` or `1 GiB`. `name` is the flag it was given by. */
export function byteCount(name: string, text: string): Result<number, 'usage'> {
  const match = /^([0-9]+) ?(?:([kmgt])(?:i?b)?)?$/i.exec(text.trim())
  const value = Number(match?.[1]) * (units[(match?.[2] ?? '').toLowerCase()] ?? Number.NaN)
  if (!Number.isSafeInteger(value)) {
    return err('usage', `--${name} must be a size such as 1073741824 or 1GiB, not "${text}"`)
  }
  return ok(value)
}
