/** Ways in, and how they close: the device flow, what has expired, spellings of ids, and secrets. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { sweepSessions } from '#actors/nexus/access/sweep.ts'
import { limits } from '#config/limits.ts'
import { diskBody, instanceBody, privileged, project, TestNexus, unprivileged } from './kit.ts'

let nexus: TestNexus
let image_id = ''
before(async () => {
  nexus = await TestNexus.start()
  image_id = (await nexus.guide()).image_id
})
after(async () => {
  await nexus.stop()
})

const client_id = 'abcdef77-7777-4777-8777-777777777777'
const form = async (url: string, fields: Record<string, string>) =>
  await nexus.raw({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded', host: 'nexus' },
    payload: new URLSearchParams(fields).toString(),
  })
const ask = async (device_code: string, client = client_id) =>
  await form('/device/token', {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: client,
    device_code,
  })
const begin = async () => (await form('/device/auth', { client_id })).json
const confirm = async (user_code: string, token = privileged) =>
  await nexus.call('POST', '/device/confirm', { user_code }, token)
const rowsOf = async (
  table: 'console_session' | 'device_auth_request' | 'saml_login_request' | 'saml_assertion_used',
) => (await nexus.store.selectFrom(table).selectAll().execute()).length

test('a device gets the token of whoever confirmed first, and gets it once', async () => {
  const { device_code, user_code } = await begin()
  assert.equal((await confirm(user_code, unprivileged)).status, 204)
  const second = await confirm(user_code)
  assert.equal(second.status, 404)
  assert.equal(second.json.message, `not found: device-auth-request with name "${user_code}"`)
  const other = '11111111-1111-4111-8111-111111111111'
  assert.deepEqual((await ask(device_code, other)).json, { error: 'authorization_pending' })
  const all = await Promise.all([ask(device_code), ask(device_code), ask(device_code)])
  const given = all.filter(({ status }) => status === 200)
  assert.equal(given.length, 1)
  assert.equal(given[0]?.headers['cache-control'], 'no-store')
  assert.match(given[0]?.json.access_token, /^oxide-token-[0-9a-f]{40}$/)
  const me = await nexus.call('GET', '/session/me', undefined, given[0]?.json.access_token)
  assert.ok(unprivileged.endsWith(me.json.id))
})

test('a device that is late, or asks for something else, is told so', async () => {
  const { device_code, user_code } = await begin()
  await nexus.store.updateTable('device_auth_request').set({ time_expires_ms: 1 }).execute()
  const late = await confirm(user_code)
  assert.equal(late.status, 400)
  assert.equal(late.json.message, 'device authorization request expired')
  const answer = await ask(device_code)
  assert.equal(answer.status, 400)
  assert.equal(answer.text, '{"error":"expired_token"}')
  const odd = await form('/device/token', { grant_type: 'password', client_id, device_code })
  assert.equal(odd.text, '{"error":"unsupported_grant_type"}')
  assert.equal((await ask('unknown')).text, '{"error":"authorization_pending"}')
})

test('what has expired is swept, a bounded number at a time, and nothing else', async () => {
  for (const table of ['console_session', 'device_auth_request'] as const) {
    await nexus.store.deleteFrom(table).execute()
  }
  const now_ms = systemClock.now()
  const minutes = (count: number) => now_ms - count * 60_000
  const silo_user_id = privileged.replace('oxide-spoof-', '')
  const more = 3
  const sessions = [
    { created: 5, used: 1, count: 2 },
    { created: 100, used: 61, count: limits.sweep_rows_max + more },
    { created: 481, used: 1, count: 1 },
  ].flatMap(({ created, used, count: many }, kind) =>
    Array.from({ length: many }, (_, at) => ({
      token_hash: `${kind}-${at}`,
      silo_user_id,
      time_created_ms: minutes(created),
      time_last_used_ms: minutes(used),
    })),
  )
  await nexus.store.insertInto('console_session').values(sessions).execute()
  const identity_provider_id = client_id
  for (const [name, minute] of [
    ['live', -5],
    ['over', 30],
  ] as const) {
    const time_expires_ms = minutes(minute)
    await nexus.store
      .insertInto('device_auth_request')
      .values({
        ...{ user_code: name, device_code: name, client_id, time_created_ms: 0, time_expires_ms },
        silo_user_id: null,
      })
      .execute()
    await nexus.store
      .insertInto('saml_login_request')
      .values({ id: name, identity_provider_id, time_expires_ms })
      .execute()
    await nexus.store
      .insertInto('saml_assertion_used')
      .values({ identity_provider_id, assertion_hash: name, time_expires_ms })
      .execute()
  }
  assert.equal(await sweepSessions(nexus.services), limits.sweep_rows_max + 1 + 3)
  assert.equal(await sweepSessions(nexus.services), more)
  assert.equal(await sweepSessions(nexus.services), 0)
  assert.equal(await rowsOf('console_session'), 2)
  for (const table of [
    'device_auth_request',
    'saml_login_request',
    'saml_assertion_used',
  ] as const) {
    assert.equal(await rowsOf(table), 1, table)
  }
})

test('an id in capitals is the same id: in paths, bodies, forms and tokens', async () => {
  const disk = diskBody(image_id.toUpperCase())
  const made = await nexus.ok('POST', `${project}/disks`, disk)
  assert.equal(made.image_id, image_id)
  const seen = await nexus.ok('GET', `/by-id/disks/${made.id.toUpperCase()}`)
  assert.equal(seen.id, made.id)
  const { id: user_id } = await nexus.ok('GET', '/session/me')
  const policy = await nexus.call('PUT', `${project}/policy`, {
    role_assignments: [
      { identity_type: 'silo_user', identity_id: user_id.toUpperCase(), role_name: 'viewer' },
    ],
  })
  assert.equal(policy.json.role_assignments[0].identity_id, user_id)
  const token = `oxide-spoof-${user_id.toUpperCase()}`
  assert.equal((await nexus.call('GET', '/session/me', undefined, token)).status, 200)
  const { device_code, user_code } = await begin()
  await confirm(user_code)
  assert.equal((await ask(device_code, client_id.toUpperCase())).status, 200)
  const missing = await nexus.call('GET', '/by-id/disks/ABCDEF00-0000-4000-8000-000000000000')
  assert.match(missing.json.message, /"abcdef00-0000-4000-8000-000000000000"/)
})

test('no password, token, code or cookie is in a log, an error, a saga or the store', async () => {
  const secrets = ['pass-word-of-zoe', 'not-her-pass-word', 'wrong-old-token']
  const password = { user_password_value: 'password', details: secrets[0] }
  const silo = { description: '', discoverable: false, identity_mode: 'local_only' }
  await nexus.ok('POST', '/system/silos', { name: 'zoes', ...silo })
  const users = '/system/silos/zoes/identity-providers/local/users'
  await nexus.ok('POST', users, { external_id: 'zoe', password })
  const answers: string[] = []
  const note = <T extends { readonly text: string; readonly status: number }>(answer: T): T => {
    if (answer.status >= 400) answers.push(answer.text)
    return answer
  }
  const log = async (pass: string, user = 'zoe') =>
    note(await nexus.call('POST', '/login/zoes/local', { username: user, password: pass }, null))
  const cookie = String((await log('pass-word-of-zoe')).headers['set-cookie']).split(';')[0] ?? ''
  secrets.push(cookie.replace('session=', ''))
  await log('not-her-pass-word')
  await log('not-her-pass-word', 'A bad name')
  note(await nexus.call('POST', users, { external_id: 'zoe', password }))
  note(await nexus.call('POST', users, { external_id: 7, password }))
  note(await nexus.call('GET', '/session/me', undefined, 'oxide-token-wrong-old-token'))
  const { device_code, user_code } = await begin()
  note(await ask(device_code))
  await confirm(user_code)
  const { access_token } = (await ask(device_code)).json
  note(await ask(device_code))
  secrets.push(device_code, access_token.replace('oxide-token-', ''))
  await nexus.ok('POST', `${project}/instances`, instanceBody())
  note(await nexus.call('POST', `${project}/instances`, instanceBody()))
  note(await nexus.raw({ method: 'GET', url: '/organizations/nobody', headers: { cookie } }))
  note(await nexus.call('GET', '/organizations/nobody', undefined, access_token))
  // A fault of ours is logged in full: it too says nothing of who asked.
  await nexus.store.schema.alterTable('ssh_key').renameTo('ssh_key_gone').execute()
  const fault = note(await nexus.call('GET', '/session/me/sshkeys', undefined, access_token))
  await nexus.store.schema.alterTable('ssh_key_gone').renameTo('ssh_key').execute()
  assert.equal(fault.status, 500)
  assert.match(JSON.stringify(nexus.world.lines), /request failed/)
  const kept: string[] = []
  for (const table of [
    'saga',
    'saga_node',
    'console_session',
    'device_access_token',
    'device_auth_request',
    'silo_user_password',
  ] as const) {
    kept.push(JSON.stringify(await nexus.store.selectFrom(table).selectAll().execute()))
  }
  assert.ok(answers.length >= 9, `${answers.length} errors were seen`)
  for (const secret of secrets) {
    assert.ok(!JSON.stringify(nexus.world.lines).includes(secret), `${secret} is logged`)
    assert.ok(!answers.join('').includes(secret), `${secret} is in an error`)
    assert.ok(!kept.join('').includes(secret), `${secret} is kept`)
  }
})
