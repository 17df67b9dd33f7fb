/** One run of the command: its terminal, its settings, its way to the API. */
import { err, ok, type Result } from '#runtime/result.ts'
import type { Terminal } from '#runtime/terminal.ts'
import { createClient, type Client } from './client.ts'
import type { Failed, Input, Outcome } from './command.ts'
import { done } from './command.ts'
import {
  colours,
  formats,
  plain,
  toJson,
  toRotatedTable,
  toTable,
  toYaml,
  type Format,
  type Paint,
} from './render.ts'
import { readConfig, resolveAccess } from './settings.ts'
import { readTrust, type ConnectionFlags, type Trust } from './trust.ts'
import type { Fields } from './value.ts'

export interface Session {
  readonly terminal: Terminal
  /** Colours for stdout, or none. */
  readonly paint: Paint
  /** Whether a person is there to answer questions. */
  readonly prompts: boolean
  readonly version: string
  /** The API, chosen when it is first needed. */
  readonly client: () => Result<Client, Failed>
  /** How servers prove themselves, for clients of other hosts. */
  readonly trust: () => Result<Trust, Failed>
  readonly say: (line: string) => Promise<void>
  readonly close: () => Promise<void>
}

/** Opens a session; `version` is the product's, `connection` what was typed of how to connect. */
export function openSession(
  terminal: Terminal,
  version: string,
  connection: () => ConnectionFlags,
): Session {
  const clients: Client[] = []
  const prompt = readConfig(terminal, 'prompt')
  const isOn = !prompt.ok || prompt.value !== 'disabled'
  const trace = (line: string): void => {
    if (terminal.env('DEBUG') !== null) terminal.writeError(`${line}\n`)
  }
  return {
    terminal,
    paint: hasColour(terminal) ? colours : plain,
    prompts: terminal.stdin_is_terminal && isTerminal(terminal) && isOn,
    version,
    client: () => {
      const [open] = clients
      if (open !== undefined) return ok(open)
      const trust = readTrust(terminal, connection())
      if (!trust.ok) return trust
      const access = resolveAccess(terminal, trust.value)
      if (!access.ok) return access
      const client = createClient(access.value, trace)
      clients.push(client)
      return ok(client)
    },
    trust: () => readTrust(terminal, connection()),
    say: async (line) => await terminal.write(`${line}\n`),
    close: async () =>
      void (await Promise.all(clients.map(async (client) => await client.close()))),
  }
}

/** Whether stdout is, or is to be treated as, a terminal. */
export function isTerminal(terminal: Terminal): boolean {
  return terminal.stdout_is_terminal || terminal.env('OXIDE_FORCE_TTY') !== null
}

/** NO_COLOR and CLICOLOR=0 turn colours off, CLICOLOR_FORCE turns them on, else the terminal decides. */
export function hasColour(terminal: Terminal): boolean {
  if (terminal.env('NO_COLOR') !== null) return false
  if ((terminal.env('CLICOLOR_FORCE') ?? '0') !== '0') return true
  return terminal.env('CLICOLOR') !== '0' && isTerminal(terminal)
}

/** A text that must not be empty: as given, else asked for; without a person, `missing` is an error. */
export async function textOrAsk(
  session: Session,
  given: string | null,
  question: string,
  missing: string,
): Promise<Result<string, 'failed'>> {
  if (given !== null && given.trim() !== '') return ok(given)
  if (!session.prompts) return err('failed', `${missing} required in non-interactive mode`)
  for (;;) {
    const answer = await session.terminal.ask(`${question} `)
    if (answer === null) return err('failed', `✘ No answer to "${question}": nothing was done`)
    if (answer.trim() !== '') return ok(answer.trim())
  }
}

/** Goes on when --confirm was given or the user types `name`. */
export async function confirm(
  session: Session,
  input: Input,
  name: string,
  deed: string,
): Promise<Outcome> {
  if (input.has('confirm')) return done
  if (!session.prompts) return err('failed', '--confirm required when not running interactively')
  for (;;) {
    const answer = await session.terminal.ask(`Type ${name} to confirm ${deed}: `)
    if (answer === null) return err('failed', `✘ No confirmation: ${name} stays as it is`)
    if (answer.trim() === name) return done
    session.terminal.writeError('mismatched confirmation\n')
  }
}

const isFormat = (text: string): text is Format => formats.some((format) => format === text)

function chosenFormat(session: Session, input: Input): Result<Format, 'usage'> {
  const configured = readConfig(session.terminal, 'format')
  const text = input.text('format') ?? (configured.ok ? configured.value : 'table')
  return isFormat(text)
    ? ok(text)
    : err('usage', `format "${text}" in config.toml is none of ${formats.join(', ')}`)
}

/** Prints records in the chosen format. */
export async function printMany(
  session: Session,
  input: Input,
  columns: readonly string[],
  rows: readonly Fields[],
): Promise<Outcome> {
  return await print(session, input, rows, () => toTable(columns, rows))
}

/** Prints one record in the chosen format. */
export async function printOne(
  session: Session,
  input: Input,
  columns: readonly string[],
  row: Fields,
): Promise<Outcome> {
  return await print(session, input, row, () => toRotatedTable(columns, row))
}

async function print(
  session: Session,
  input: Input,
  value: unknown,
  table: () => string,
): Promise<Outcome> {
  const format = chosenFormat(session, input)
  if (!format.ok) return format
  switch (format.value) {
    case 'json':
      await session.say(toJson(value, session.paint))
      return done
    case 'yaml':
      await session.terminal.write(toYaml(value))
      return done
    case 'table':
      await session.say(table())
      return done
  }
}
