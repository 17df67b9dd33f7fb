/**
 * What the command knows before it asks anybody: config.toml (how it behaves), hosts.toml (where it
 * has logged in) and the OXIDE_* environment, which outranks both.
 */
import { parse, stringify } from 'smol-toml'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import type { Terminal } from '#runtime/terminal.ts'
import type { Trust } from './trust.ts'
import { isFields, textOf, type Fields } from './value.ts'

/** The keys of config.toml and what holds when they are not set. */
export const configDefaults = {
  editor: '',
  prompt: 'enabled',
  browser: '',
  format: 'table',
} as const
export type ConfigKey = keyof typeof configDefaults
export const isConfigKey = (key: string): key is ConfigKey => key in configDefaults

export interface Login {
  /** The API's origin, such as `http://192.168.1.20`. */
  readonly host: string
  readonly user: string
  readonly token: string
  readonly default: boolean
}

/**
 * The origin that a host setting means: https when no scheme is given; path, user and query do not
 * count.
 */
export function toOrigin(text: string): Result<string, 'usage'> {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`
  const url = URL.parse(full)
  if (url === null || url.host === '' || !/^https?:$/.test(url.protocol)) {
    return err('usage', `"${text}" is no API address: give one such as http://192.168.1.20`)
  }
  return ok(`${url.protocol}//${url.host}`)
}

/** The directory of config.toml and hosts.toml. */
export function configDir(terminal: Terminal): string {
  const own = terminal.env('OXIDE_CONFIG_DIR')
  if (own !== null) return own
  const shared = terminal.env('XDG_CONFIG_HOME')
  return shared === null ? `${terminal.home}/.config/oxide` : `${shared}/oxide`
}

/** A TOML file as an object; empty when there is none. */
function readToml(terminal: Terminal, path: string): Result<Fields, 'failed'> {
  const file = terminal.readFile(path)
  if (!file.ok) return file.error === 'absent' ? ok({}) : err('failed', file.detail)
  try {
    return ok(parse(new TextDecoder().decode(file.value)))
  } catch (error) {
    const reason = explain(error).split('\n')[0] ?? ''
    return err('failed', `cannot read ${path}: ${reason}; mend or remove the file`)
  }
}

function writeToml(terminal: Terminal, path: string, value: Fields): Result<null, 'failed'> {
  const written = terminal.writePrivateFile(path, `${stringify(value)}\n`)
  return written.ok ? ok(null) : err('failed', written.detail)
}

const configPath = (terminal: Terminal): string => `${configDir(terminal)}/config.toml`
export const hostsPath = (terminal: Terminal): string => `${configDir(terminal)}/hosts.toml`

/** The value of a key of config.toml, or its default. */
export function readConfig(terminal: Terminal, key: ConfigKey): Result<string, 'failed'> {
  const file = readToml(terminal, configPath(terminal))
  return file.ok ? ok(textOf(file.value, key) ?? configDefaults[key]) : file
}

/** Sets a key of config.toml; what else the file holds stays. */
export function writeConfig(
  terminal: Terminal,
  key: ConfigKey,
  value: string,
): Result<null, 'failed'> {
  const file = readToml(terminal, configPath(terminal))
  if (!file.ok) return file
  return writeToml(terminal, configPath(terminal), { ...file.value, [key]: value })
}

/** The logins of hosts.toml. An entry without a token is none. */
export function readLogins(terminal: Terminal): Result<readonly Login[], 'failed'> {
  const file = readToml(terminal, hostsPath(terminal))
  if (!file.ok) return file
  const logins = Object.entries(file.value).flatMap(([name, entry]) => {
    const origin = toOrigin(name)
    const token = textOf(entry, 'token')
    if (!origin.ok || token === null) return []
    const user = textOf(entry, 'user') ?? ''
    const chosen = isFields(entry) && entry['default'] === true
    return [{ host: origin.value, user, token, default: chosen }]
  })
  return ok(logins)
}

/** Replaces hosts.toml. */
export function writeLogins(terminal: Terminal, logins: readonly Login[]): Result<null, 'failed'> {
  const entries = logins.map(({ host, ...login }) => [host, login] as const)
  return writeToml(terminal, hostsPath(terminal), Object.fromEntries(entries))
}

export interface Access {
  readonly host: string
  /** Null when nobody has logged in; the server will say what it thinks of that. */
  readonly token: string | null
  readonly trust: Trust
}

/** Where to send requests and as whom: OXIDE_HOST, else the default login, else the only one. */
export function resolveAccess(
  terminal: Terminal,
  trust: Trust,
): Result<Access, 'usage' | 'failed'> {
  const logins = readLogins(terminal)
  if (!logins.ok) return logins
  const named = terminal.env('OXIDE_HOST')
  const preferred =
    logins.value.find((login) => login.default) ??
    (logins.value.length === 1 ? logins.value[0] : undefined)
  const host = named === null ? ok(preferred?.host ?? null) : toOrigin(named)
  if (!host.ok) return err('usage', `OXIDE_HOST: ${host.detail}`)
  if (host.value === null) {
    return err(
      'usage',
      'no API host is known: set OXIDE_HOST or run `oxide auth login --host ADDRESS`',
    )
  }
  const stored = logins.value.find((login) => login.host === host.value)
  const token = terminal.env('OXIDE_TOKEN') ?? stored?.token ?? null
  return ok({ host: host.value, token, trust })
}
