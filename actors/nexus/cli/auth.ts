/** `oxide auth`: logging in with OAuth's device flow (RFC 8628), and what is logged in. */
import { limits } from '#config/limits.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { createClient, type Answer, type Client } from './client.ts'
import {
  done,
  type Failed,
  type Flag,
  type Input,
  type Noun,
  type Outcome,
  type Verb,
} from './command.ts'
import { refusal } from './failure.ts'
import { textOrAsk, type Session } from './session.ts'
import {
  hostsPath,
  readConfig,
  readLogins,
  toOrigin,
  writeLogins,
  type Access,
  type Login,
} from './settings.ts'
import { numberOf, parseJson, textOf } from './value.ts'

/** What this program is called at every server: any UUID will do. */
const clientId = 'e2b0a5f4-6a5f-4a6e-9d7b-3f1c0d8e4a21'
const grantType = 'urn:ietf:params:oauth:grant-type:device_code'
const form = [['content-type', 'application/x-www-form-urlencoded']] as const

const hostFlag: Flag = {
  flags: '-H, --host <address>',
  summary: 'the API, such as http://192.168.1.20',
  env: 'OXIDE_HOST',
}

const login: Verb = {
  name: 'login',
  summary: 'log in to an API',
  flags: [hostFlag, { flags: '--with-token', summary: 'read a token from stdin' }],
  run: async (session, input) => {
    const text = await textOrAsk(session, input.text('host'), 'API host:', '-H|--host')
    if (!text.ok) return text
    const host = toOrigin(text.value)
    if (!host.ok) return host
    const token = await tokenOf(session, input, host.value)
    if (!token.ok) return token
    return await remember(session, host.value, token.value)
  },
}

async function tokenOf(
  session: Session,
  input: Input,
  host: string,
): Promise<Result<string, Failed>> {
  if (input.has('with-token')) {
    const token = new TextDecoder().decode(await session.terminal.readAll()).trim()
    return token === '' ? err('failed', '✘ stdin held no token') : ok(token)
  }
  return await withClient(
    session,
    { host, token: null },
    async (client) => await deviceFlow(session, client),
  )
}

async function withClient<T>(
  session: Session,
  access: Pick<Access, 'host' | 'token'>,
  work: (client: Client) => Promise<Result<T, 'failed'>>,
): Promise<Result<T, Failed>> {
  const trust = session.trust()
  if (!trust.ok) return trust
  const client = createClient({ ...access, trust: trust.value }, () => {})
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}

const sendForm = async (
  client: Client,
  path: string,
  fields: Readonly<Record<string, string>>,
): Promise<Result<Answer, 'failed'>> =>
  await client.send({
    method: 'POST',
    path,
    headers: form,
    body: new URLSearchParams(fields).toString(),
  })

async function deviceFlow(session: Session, client: Client): Promise<Result<string, 'failed'>> {
  const asked = await sendForm(client, '/device/auth', { client_id: clientId })
  if (!asked.ok) return asked
  const { status, reason, body } = asked.value
  if (status >= 300) return err('failed', refusal(`${status} ${reason}`, body))
  const grant = parseJson(body)
  const [device_code, user_code] = [textOf(grant, 'device_code'), textOf(grant, 'user_code')]
  const uri = textOf(grant, 'verification_uri')
  if (device_code === null || user_code === null || uri === null) {
    return err('failed', `✘ ${client.access.host} does not speak the device login of the Oxide API`)
  }
  const complete = textOf(grant, 'verification_uri_complete') ?? uri
  if (await openBrowser(session, complete)) {
    await session.say(`Opening ${complete} in your browser.`)
    await session.say(`Please verify user code: ${user_code}`)
  } else {
    await session.say(`Open this URL in your browser:\n${uri}`)
    await session.say(`And enter the code: ${user_code}`)
  }
  const { clock } = session.terminal
  const interval_s = numberOf(grant, 'interval')
  return await pollToken(session, client, {
    device_code,
    pause_ms: interval_s === null ? limits.cli_device_poll_ms : interval_s * 1000,
    end_ms: clock.now() + (numberOf(grant, 'expires_in') ?? 300) * 1000,
  })
}

async function pollToken(
  session: Session,
  client: Client,
  wait: { readonly device_code: string; readonly pause_ms: number; readonly end_ms: number },
): Promise<Result<string, 'failed'>> {
  const { clock } = session.terminal
  const fields = { grant_type: grantType, device_code: wait.device_code, client_id: clientId }
  let pause_ms = wait.pause_ms
  while (clock.now() < wait.end_ms) {
    await clock.sleep(pause_ms)
    const answer = await sendForm(client, '/device/token', fields)
    if (!answer.ok) return answer
    const parsed = parseJson(answer.value.body)
    const token = textOf(parsed, 'access_token')
    if (answer.value.status === 200 && token !== null) return ok(token)
    const reason = textOf(parsed, 'error')
    // RFC 8628 §3.5: a server that is asked too often says so.
    if (reason === 'slow_down') pause_ms += limits.cli_device_poll_ms
    else if (reason !== 'authorization_pending') {
      const { status, reason: words, body } = answer.value
      return err('failed', `✘ Login refused: ${reason ?? refusal(`${status} ${words}`, body)}`)
    }
  }
  return err('failed', '✘ The code was not confirmed in time: run `oxide auth login` again')
}

/** Shows a page to the user, if there is a user and a browser. */
async function openBrowser(session: Session, url: string): Promise<boolean> {
  const { terminal } = session
  if (!session.prompts) return false
  const configured = readConfig(terminal, 'browser')
  const command =
    terminal.env('OXIDE_BROWSER') ??
    (configured.ok && configured.value !== '' ? configured.value : null) ??
    terminal.env('BROWSER') ??
    'xdg-open'
  const [program = '', ...args] = command.split(/\s+/).filter((word) => word !== '')
  return program !== '' && (await terminal.launch(program, [...args, url]))
}

/** Finds out whose token it is and keeps it for the next command. */
async function remember(session: Session, host: string, token: string): Promise<Outcome> {
  const me = await withClient(
    session,
    { host, token },
    async (client) => await client.call('GET', '/session/me'),
  )
  if (!me.ok) return me
  const user = textOf(me.value, 'id') ?? ''
  const logins = readLogins(session.terminal)
  if (!logins.ok) return logins
  const others = logins.value
    .filter((known) => known.host !== host)
    .map(({ host: other, user: who, token: key }) => ({
      host: other,
      user: who,
      token: key,
      default: false,
    }))
  const mine: Login = { host, user, token, default: true }
  const written = writeLogins(session.terminal, [...others, mine])
  if (!written.ok) return written
  await session.say(`${session.paint.green('✔')} Logged in as ${user}`)
  return done
}

const logout: Verb = {
  name: 'logout',
  summary: 'forget the login to an API',
  flags: [hostFlag],
  run: async (session, input) => {
    const logins = readLogins(session.terminal)
    if (!logins.ok) return logins
    const host = input.text('host')
    const origin = host === null ? null : toOrigin(host)
    if (origin !== null && !origin.ok) return origin
    const gone =
      origin === null
        ? (logins.value.find((known) => known.default) ?? logins.value[0])
        : logins.value.find((known) => known.host === origin.value)
    if (gone === undefined) {
      return err('failed', `✘ Not logged in to ${origin === null ? 'any host' : origin.value}`)
    }
    const left = logins.value.filter((known) => known !== gone)
    const written = writeLogins(session.terminal, left)
    if (!written.ok) return written
    await session.say(`${session.paint.green('✔')} Logged out of ${gone.host} as ${gone.user}`)
    return done
  },
}

const status: Verb = {
  name: 'status',
  summary: 'show the logins and whether they still hold',
  flags: [{ ...hostFlag, summary: 'only this one' }],
  run: async (session, input) => {
    const logins = readLogins(session.terminal)
    if (!logins.ok) return logins
    const text = input.text('host')
    const origin = text === null ? null : toOrigin(text)
    if (origin !== null && !origin.ok) return origin
    const shown = loginsInUse(session, logins.value, origin === null ? null : origin.value)
    if (shown.length === 0) {
      return err('failed', '✘ Not logged in: run `oxide auth login --host ADDRESS`')
    }
    const checks = await Promise.all(shown.map(async (each) => await check(session, each)))
    return checks.every((isGood) => isGood) ? done : err('failed', '')
  },
}

interface Held {
  readonly host: string
  readonly token: string
  /** Where the token comes from, for people. */
  readonly source: string
}

/** What hosts.toml holds, and before it OXIDE_TOKEN for the host that is asked about. */
function loginsInUse(
  session: Session,
  logins: readonly Login[],
  origin: string | null,
): readonly Held[] {
  const source = hostsPath(session.terminal)
  const stored = logins
    .filter(({ host }) => origin === null || host === origin)
    .map(({ host, token }) => ({ host, token, source }))
  const own = session.terminal.env('OXIDE_TOKEN')
  const isOwn = own !== null && origin !== null
  return isOwn ? [{ host: origin, token: own, source: 'OXIDE_TOKEN' }, ...stored] : stored
}

async function check(session: Session, { host, token, source }: Held): Promise<boolean> {
  const me = await withClient(
    session,
    { host, token },
    async (client) => await client.call('GET', '/session/me'),
  )
  const { paint } = session
  const line = me.ok
    ? `${paint.green('✔')} Logged in to ${host} as ${textOf(me.value, 'id') ?? ''} (${source})`
    : `${paint.red('✘')} Cannot use the login to ${host} (${source}): ${me.detail.replace(/^✘ /, '')}`
  await session.say(`${host}\n  ${line}`)
  return me.ok
}

export const auth: Noun = {
  name: 'auth',
  summary: 'log in and out',
  verbs: [login, logout, status],
}
