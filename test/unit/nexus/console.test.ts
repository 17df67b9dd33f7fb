/** The console's files: a small build of it in a directory, with traps beside it. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import { makeServer } from '#actors/nexus/api/server.ts'
import { routes } from '#actors/nexus/routes.ts'
import { staticFiles } from '#runtime/static_files.ts'
import { privileged, TestNexus } from './kit.ts'

const top = mkdtempSync(join(tmpdir(), 'luge-console-'))
const root = join(top, 'static')
let nexus: TestNexus
let server: FastifyInstance

before(async () => {
  mkdirSync(join(root, 'assets/deep/er'), { recursive: true })
  for (const [name, text] of [
    ['static/index.html', '<html>the console</html>'],
    ['static/secret.txt', 'not an asset'],
    ['outside.js', 'outside'],
    ['static/assets/main.js', 'plain'],
    ['static/assets/only.css', 'body {}'],
    ['static/assets/deep/er/font.woff2', 'font'],
    ['static/assets/.hidden.js', 'hidden'],
    ['static/assets/program.sh', 'no asset'],
    ['static/assets/noending', 'no asset'],
  ] as const) {
    writeFileSync(join(top, name), text)
  }
  writeFileSync(join(root, 'assets/main.js.gz'), gzipSync('packed'))
  mkdirSync(join(root, 'assets/folder.js'))
  symlinkSync(join(top, 'outside.js'), join(root, 'assets/link.js'))
  symlinkSync('main.js', join(root, 'assets/inner.js'))
  symlinkSync(top, join(root, 'assets/up'))
  symlinkSync(join(top, 'outside.js'), join(root, 'assets/only.css.gz'))
  nexus = await TestNexus.start()
  server = makeServer({
    services: nexus.services,
    routes,
    console: { files: staticFiles(root), max_age_s: 600 },
  })
})
after(async () => {
  await server.close()
  await nexus.stop()
  rmSync(top, { recursive: true })
})

const get = async (url: string, headers: Record<string, string> = {}) =>
  await server.inject({ method: 'GET', url, headers })
const cookie = async () => {
  const answer = await nexus.call('POST', '/login', { username: 'unprivileged' }, null)
  return String(answer.headers['set-cookie']).split(';')[0] ?? ''
}
const pages = ['/', '/orgs', '/orgs/a/projects/b', '/settings/profile', '/sys/silos']

test('pages are index.html to who has logged in, and lead others to the login and back', async () => {
  const session = { cookie: await cookie() }
  for (const page of [...pages, '/device/verify?user_code=AB-C D', '/device/success']) {
    const seen = await get(page.replace(' ', '%20'), session)
    assert.equal(seen.statusCode, 200, page)
    assert.equal(seen.body, '<html>the console</html>')
    assert.equal(seen.headers['content-type'], 'text/html; charset=UTF-8')
    assert.equal(seen.headers['cache-control'], 'max-age=600')
    assert.match(String(seen.headers['x-request-id']), /^[0-9a-f-]{36}$/)
  }
  const token = { authorization: `Bearer ${privileged}` }
  assert.equal((await get('/', token)).statusCode, 200)
  for (const headers of [{}, { cookie: 'session=nonsense' }, { authorization: 'Bearer x' }]) {
    const seen = await get('/orgs/a?x=1&y=2', headers)
    assert.equal(seen.statusCode, 302)
    assert.equal(seen.headers['location'], '/spoof_login?state=%2Forgs%2Fa%3Fx%3D1%26y%3D2')
  }
  assert.equal((await get('/')).headers['location'], '/spoof_login?state=%2F')
})

test('the login page is there for everybody', async () => {
  assert.equal((await get('/spoof_login?state=%2F')).body, '<html>the console</html>')
  const login = await get('/login?state=%2Forgs%3Fa%3Db')
  assert.equal(login.statusCode, 302)
  assert.equal(login.headers['location'], '/spoof_login?state=%2Forgs%3Fa%3Db')
  assert.equal((await get('/login')).headers['location'], '/spoof_login')
  const split = await get('/login?state=%0d%0aset-cookie:%20x=y')
  assert.equal(split.headers['set-cookie'], undefined)
})

test('assets have their types, are cached, and are packed for who can unpack', async () => {
  const plain = await get('/assets/main.js')
  assert.equal(plain.body, 'plain')
  assert.equal(plain.headers['content-type'], 'application/javascript')
  assert.equal(plain.headers['cache-control'], 'max-age=600')
  assert.equal(plain.headers['content-encoding'], undefined)
  const packed = await get('/assets/main.js', { 'accept-encoding': 'br, gzip;q=0.8' })
  assert.equal(packed.headers['content-encoding'], 'gzip')
  assert.equal(gunzipSync(packed.rawPayload).toString(), 'packed')
  for (const no of ['br', 'gzip;q=0', 'gzip; q=0.00']) {
    assert.equal((await get('/assets/main.js', { 'accept-encoding': no })).body, 'plain')
  }
  assert.equal((await get('/assets/deep/er/font.woff2')).headers['content-type'], 'font/woff2')
  const only = await get('/assets/only.css', { 'accept-encoding': 'gzip' })
  assert.equal(only.body, 'body {}', 'a packed file that is a link is none')
})

test('nothing but the assets is an asset', async () => {
  for (const path of [
    'none.js',
    'program.sh',
    'noending',
    'main.js.gz',
    'main.JS',
    'folder.js',
    'deep/er',
    'deep/er/',
    'deep',
    'link.js',
    'inner.js',
    'up/outside.js',
    'up/static/assets/main.js',
    '..%2fsecret.txt',
    '..%2f..%2foutside.js',
    'deep%2f..%2fmain.js',
    '%2e%2e%2fsecret.txt',
    '..%5c..%5coutside.js',
    '%00main.js',
    'main.js%00.txt',
    '%2fetc%2fhostname.txt',
    'main.js%2f',
    '%252e%252e%252fsecret.txt',
  ]) {
    const seen = await get(`/assets/${path}`)
    assert.equal(seen.statusCode, 404, path)
    assert.equal(seen.json().message, 'Not Found')
  }
  await server.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.server.address() as AddressInfo
  for (const path of ['/assets/../secret.txt', '/assets/%2e%2E/secret.txt', '/assets/./main.js']) {
    // Client libraries tidy these away; curl does not when told so.
    const words = ['-s', '--path-as-is', `http://127.0.0.1:${port}${path}`]
    const { stdout } = await promisify(execFile)('curl', words)
    assert.equal(JSON.parse(stdout).message, 'dot-segments are not permitted', path)
  }
  for (const path of ['/secret.txt', '/index.html', '/assets', '/organisations']) {
    assert.equal((await get(path)).statusCode, 404, path)
  }
})

test('other methods on its paths are 405', async () => {
  for (const url of ['/', '/orgs/a', '/assets/main.js', '/spoof_login']) {
    assert.equal((await server.inject({ method: 'POST', url })).statusCode, 405, url)
  }
})

test('without a directory, or with an empty one, pages say so', async () => {
  const headers = { authorization: `Bearer ${privileged}` }
  const none = await nexus.raw({ method: 'GET', url: '/', headers })
  assert.equal(none.status, 404)
  assert.equal(none.json.message, 'there is no console: console.static_dir is not set')
  assert.equal((await nexus.raw({ method: 'GET', url: '/assets/main.js' })).status, 404)
  assert.equal((await nexus.raw({ method: 'GET', url: '/orgs' })).status, 302)
  rmSync(join(root, 'index.html'))
  const empty = await get('/', headers)
  assert.equal(empty.json().message, 'there is no console: console.static_dir has no index.html')
})
