/** Users that a silo keeps itself: their passwords, sessions, and what goes when they go. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Passwords, standardCost } from '#actors/nexus/access/passwords.ts'
import { systemRandom } from '#runtime/random.ts'
import { TestNexus } from './kit.ts'

let nexus: TestNexus
const users = '/system/silos/here/identity-providers/local/users'
const passwordOf = (details: string) => ({ user_password_value: 'password', details })
before(async () => {
  nexus = await TestNexus.start()
  for (const [name, identity_mode] of [
    ['here', 'local_only'],
    ['abroad', 'saml_jit'],
  ]) {
    await nexus.ok('POST', '/system/silos', {
      name,
      description: '',
      discoverable: false,
      identity_mode,
    })
  }
})
after(async () => {
  await nexus.stop()
})

const login = async (username: string, password: string, silo = 'here') =>
  await nexus.call('POST', `/login/${silo}/local`, { username, password }, null)
const withCookie = async (url: string, cookie: string) =>
  await nexus.raw({ method: 'GET', url, headers: { cookie } })
const cookieOf = (answer: Awaited<ReturnType<typeof login>>) =>
  String(answer.headers['set-cookie']).split(';')[0] ?? ''

test('a user logs in with the password, is somebody, and nothing else opens', async () => {
  const made = await nexus.ok('POST', users, {
    external_id: 'ada',
    password: passwordOf('Löve lace'),
  })
  assert.equal(made.display_name, 'ada')
  const answer = await login('ada', 'Löve lace')
  assert.equal(answer.status, 303)
  assert.equal(answer.headers['location'], '/')
  assert.match(
    String(answer.headers['set-cookie']),
    /^session=[0-9a-f]{40}; Path=\/; HttpOnly; SameSite=Lax; Max-Age=3600$/,
  )
  const me = await withCookie('/session/me', cookieOf(answer))
  assert.equal(me.json.id, made.id)
  const wrong = await login('ada', 'Love lace')
  const unknown = await login('nobody', 'Löve lace')
  assert.equal(wrong.status, 401)
  assert.equal(unknown.status, 401)
  assert.equal(wrong.json.message, unknown.json.message)
})

test('a hash is Argon2id of the strength that is specified, whoever reads it', async () => {
  const strong = new Passwords(standardCost)
  const hash = await strong.hash(systemRandom, 'Löve lace')
  assert.match(hash, /^\$argon2id\$v=19\$m=98304,t=13,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  const { passwords } = nexus.services
  assert.ok(await passwords.matches(hash, 'Löve lace'))
  assert.ok(!(await passwords.matches(hash, 'Löve lace ')))
})

test('what the store keeps of a password or a session opens nothing', async () => {
  const rows = await nexus.store.selectFrom('silo_user_password').selectAll().execute()
  assert.equal(rows.length, 1)
  for (const { hash } of rows) assert.equal((await login('ada', hash)).status, 401)
  const sessions = await nexus.store.selectFrom('console_session').selectAll().execute()
  const cookie = cookieOf(await login('ada', 'Löve lace')).slice('session='.length)
  assert.ok(!sessions.some(({ token_hash }) => token_hash === cookie))
})

test('neither passwords nor tokens reach the log or an error', async () => {
  await login('ada', 'secret-nobody-knows')
  const odd = await nexus.call('POST', users, {
    external_id: 'x',
    password: passwordOf('p'.repeat(513)),
  })
  assert.match(odd.json.message, /password may contain at most 512 bytes/)
  const said = JSON.stringify(nexus.world.lines) + odd.text
  assert.doesNotMatch(said, /secret-nobody-knows|pppp|Löve/)
})

test('a password that is set anew replaces the old one, and may be one that nobody has', async () => {
  const made = await nexus.ok('POST', users, { external_id: 'bob', password: passwordOf('one') })
  const set = `${users}/${made.id}/set-password`
  assert.equal((await nexus.call('POST', set, passwordOf('two'))).status, 204)
  assert.equal((await login('bob', 'one')).status, 401)
  assert.equal((await login('bob', 'two')).status, 303)
  await nexus.ok('POST', set, { user_password_value: 'invalid_password' })
  assert.equal((await login('bob', 'two')).status, 401)
})

test('a name is taken once, and free again when its user is gone with all sessions', async () => {
  const made = await nexus.ok('POST', users, { external_id: 'eve', password: passwordOf('x') })
  const again = await nexus.call('POST', users, { external_id: 'eve', password: passwordOf('y') })
  assert.equal(again.json.message, 'already exists: silo-user "eve"')
  const cookie = cookieOf(await login('eve', 'x'))
  assert.equal((await withCookie('/session/me', cookie)).status, 200)
  await nexus.ok('DELETE', `${users}/${made.id}`)
  assert.equal((await withCookie('/session/me', cookie)).status, 401)
  assert.equal((await login('eve', 'x')).status, 401)
  await nexus.ok('POST', users, { external_id: 'eve', password: passwordOf('z') })
})

test('a silo that has its users from elsewhere has no local provider', async () => {
  const answer = await login('ada', 'Löve lace', 'abroad')
  assert.equal(answer.status, 404)
  assert.equal(answer.json.message, 'not found: identity-provider with name "local"')
  const made = await nexus.call('POST', '/system/silos/abroad/identity-providers/local/users', {
    external_id: 'ada',
    password: passwordOf('x'),
  })
  assert.equal(made.status, 404)
})

const countSessions = async () =>
  (await nexus.store.selectFrom('console_session').select('token_hash').execute()).length
/** Makes all sessions look that old. */
const ageSessions = async (column: 'time_created_ms' | 'time_last_used_ms', minutes: number) => {
  await nexus.store
    .updateTable('console_session')
    .set({ [column]: nexus.services.clock.now() - minutes * 60_000 })
    .execute()
}

test('a session ends when it is not used, and in any case when its time is over', async () => {
  const others = await countSessions()
  const cookie = cookieOf(await login('ada', 'Löve lace'))
  await ageSessions('time_last_used_ms', 59)
  assert.equal((await withCookie('/session/me', cookie)).status, 200)
  await ageSessions('time_created_ms', 481)
  assert.equal((await withCookie('/session/me', cookie)).status, 401)
  const other = cookieOf(await login('ada', 'Löve lace'))
  await ageSessions('time_last_used_ms', 61)
  assert.equal((await withCookie('/session/me', other)).status, 401)
  assert.equal(await countSessions(), others)
})

test('a silo goes with its users when no organization is in it', async () => {
  const cookie = cookieOf(await login('ada', 'Löve lace'))
  const { id } = await nexus.ok('GET', '/system/silos/here')
  await nexus.store
    .insertInto('organization')
    .values({
      id: nexus.services.random.uuid(),
      name: 'last',
      description: '',
      silo_id: id,
      time_created_ms: 0,
      time_modified_ms: 0,
      time_deleted_ms: null,
    })
    .execute()
  const refused = await nexus.call('DELETE', '/system/silos/here')
  assert.equal(refused.json.message, 'silo to be deleted contains an organization')
  await nexus.store.updateTable('organization').set({ time_deleted_ms: 1 }).execute()
  await nexus.ok('DELETE', '/system/silos/here')
  assert.equal((await withCookie('/session/me', cookie)).status, 401)
  assert.equal((await nexus.call('GET', '/system/silos/here')).status, 404)
  await nexus.ok('POST', '/system/silos', {
    name: 'here',
    description: '',
    discoverable: true,
    identity_mode: 'local_only',
  })
})
