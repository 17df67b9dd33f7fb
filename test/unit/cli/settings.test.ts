import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { toOrigin } from '#actors/nexus/cli/settings.ts'
import { fakeApi, oxide, refused, scratch, type Asked } from './kit.ts'
import { ok } from '#runtime/result.ts'

test('a host is an origin: https without a scheme, and nothing behind it', () => {
  const origins: readonly (readonly [string, string])[] = [
    ['http://192.168.1.20', 'http://192.168.1.20'],
    ['192.168.1.20', 'https://192.168.1.20'],
    ['rack.example:8443', 'https://rack.example:8443'],
    ['http://user:secret@rack.example/path?query', 'http://rack.example'],
    ['HTTP://Rack.Example', 'http://rack.example'],
    ['http://[fd00::1]:80', 'http://[fd00::1]'],
  ]
  for (const [text, origin] of origins) {
    assert.deepEqual(toOrigin(text), ok(origin))
  }
  for (const text of ['', 'ftp://x', 'http://', 'a b']) assert.equal(toOrigin(text).ok, false, text)
})

test('config get, set and list work on config.toml and keep what else it holds', async (t) => {
  const config = join(scratch(t), 'deep', 'oxide')
  const env = { OXIDE_CONFIG_DIR: config }
  assert.equal((await oxide(['config', 'get', 'format'], env)).stdout, 'table\n')
  assert.deepEqual(await oxide(['config', 'set', 'format', 'json'], env), {
    code: 0,
    stdout: '',
    stderr: '',
  })
  writeFileSync(join(config, 'config.toml'), 'format = "json"\nother = 1\n')
  await oxide(['config', 'set', 'editor', 'vi'], env)
  assert.equal(
    (await oxide(['config', 'list'], env)).stdout,
    'editor=vi\nprompt=enabled\nbrowser=\nformat=json\n',
  )
  assert.match(readFileSync(join(config, 'config.toml'), 'utf8'), /other = 1/)
  const bad = await oxide(['config', 'set', 'format', 'xml'], env)
  assert.deepEqual(bad, {
    code: 2,
    stdout: '',
    stderr: 'format must be one of table, json, yaml, not "xml"\n',
  })
  assert.equal((await oxide(['config', 'get', 'nothing'], env)).code, 2)
})

test('a broken settings file is one sentence', async (t) => {
  const config = scratch(t)
  writeFileSync(join(config, 'hosts.toml'), 'this is = = no toml')
  const ran = await oxide(['org', 'list'], { OXIDE_CONFIG_DIR: config })
  assert.equal(ran.code, 1)
  assert.match(ran.stderr, /^cannot read .*hosts\.toml: .*; mend or remove the file\n$/)
})

const user = '001de000-05e4-4000-8000-000000004007'
const me = { id: user, display_name: 'privileged', silo_id: 's' }
const whoAmI = ({ headers }: Asked) =>
  headers.authorization === 'Bearer oxide-token-1'
    ? { status: 200, body: me }
    : refused(401, 'Unauthorized', 'credentials missing or invalid')

test('auth login runs the device flow and keeps the token for the next command', async (t) => {
  let polls = 0
  const api = await fakeApi(t, {
    'POST /device/auth': ({ headers }) => ({
      status: 200,
      body: {
        device_code: 'dc',
        user_code: 'BCDF-GHJK',
        verification_uri: `http://${headers.host}/device/verify`,
        verification_uri_complete: `http://${headers.host}/device/verify?user_code=BCDF-GHJK`,
        expires_in: 300,
        interval: 0.01,
      },
    }),
    'POST /device/token': () => {
      polls += 1
      return polls < 3
        ? { status: 400, body: { error: 'authorization_pending' } }
        : { status: 200, body: { access_token: 'oxide-token-1', token_type: 'bearer' } }
    },
    'GET /session/me': whoAmI,
    'GET /organizations': (asked) => {
      const answer = whoAmI(asked)
      return answer.status === 200 ? { status: 200, body: { items: [], next_page: null } } : answer
    },
  })
  const config = scratch(t)
  const env = { OXIDE_CONFIG_DIR: config }
  const login = await oxide(['auth', 'login', '--host', `${api.host}/some/path`], env)
  assert.deepEqual(login, {
    code: 0,
    stdout: [
      'Open this URL in your browser:',
      `${api.host}/device/verify`,
      'And enter the code: BCDF-GHJK',
      `✔ Logged in as ${user}`,
      '',
    ].join('\n'),
    stderr: '',
  })
  const form = new URLSearchParams(api.asked[1]?.body)
  assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:device_code')
  assert.equal(form.get('device_code'), 'dc')
  assert.equal(form.get('client_id'), new URLSearchParams(api.asked[0]?.body).get('client_id'))
  assert.equal(api.asked[1]?.headers['content-type'], 'application/x-www-form-urlencoded')
  assert.equal(statSync(join(config, 'hosts.toml')).mode & 0o777, 0o600)

  // The stored host and token are used, unless the environment says otherwise.
  assert.equal((await oxide(['org', 'list'], env)).code, 0)
  const other = await oxide(['org', 'list'], { ...env, OXIDE_TOKEN: 'other' })
  assert.match(other.stderr, /^✘ You are not authenticated: credentials missing or invalid\n/)

  const status = await oxide(['auth', 'status'], env)
  const file = join(config, 'hosts.toml')
  assert.equal(status.stdout, `${api.host}\n  ✔ Logged in to ${api.host} as ${user} (${file})\n`)

  const logout = await oxide(['auth', 'logout'], env)
  assert.equal(logout.stdout, `✔ Logged out of ${api.host} as ${user}\n`)
  assert.deepEqual(await oxide(['auth', 'status'], env), {
    code: 1,
    stdout: '',
    stderr: '✘ Not logged in: run `oxide auth login --host ADDRESS`\n',
  })
})

test('auth login --with-token reads a token and refuses a bad one', async (t) => {
  const api = await fakeApi(t, { 'GET /session/me': whoAmI })
  const env = { OXIDE_CONFIG_DIR: scratch(t), OXIDE_HOST: api.host }
  const good = await oxide(['auth', 'login', '--with-token'], env, 'oxide-token-1\n')
  assert.equal(good.stdout, `✔ Logged in as ${user}\n`)
  const bad = await oxide(['auth', 'login', '--with-token'], env, 'oxide-token-2\n')
  assert.equal(bad.code, 1)
  assert.match(bad.stderr, /^✘ You are not authenticated/)
  assert.equal((await oxide(['auth', 'login', '--with-token'], env, '')).code, 1)
})

test('a code that nobody confirms, and a login that is refused, end with a sentence', async (t) => {
  const grant = { device_code: 'dc', user_code: 'X', verification_uri: 'http://x/' }
  const timing = { expires_in: 0.05, interval: 0.01 }
  const late = await fakeApi(t, {
    'POST /device/auth': () => ({ status: 200, body: { ...grant, ...timing } }),
    'POST /device/token': () => ({ status: 400, body: { error: 'authorization_pending' } }),
  })
  const env = { OXIDE_CONFIG_DIR: scratch(t) }
  const ran = await oxide(['auth', 'login', '-H', late.host], env)
  assert.equal(ran.code, 1)
  assert.equal(ran.stderr, '✘ The code was not confirmed in time: run `oxide auth login` again\n')
  const denied = await fakeApi(t, {
    'POST /device/auth': () => ({ status: 200, body: { ...grant, expires_in: 5, interval: 0.01 } }),
    'POST /device/token': () => ({ status: 400, body: { error: 'access_denied' } }),
  })
  const refusedRun = await oxide(['auth', 'login', '-H', denied.host], env)
  assert.equal(refusedRun.stderr, '✘ Login refused: access_denied\n')
  assert.equal(
    (await oxide(['auth', 'login'], env)).stderr,
    '-H|--host required in non-interactive mode\n',
  )
})
