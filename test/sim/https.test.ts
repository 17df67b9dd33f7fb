/** The API over TLS, as openssl, curl and the command see it, with certificates that openssl makes. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { attempt, freePort, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('sim')
const files = {
  certificate: join(rack.state, 'given/cert.pem'),
  key: join(rack.state, 'given/key.pem'),
}
let port = 0
let secure = ''
const luge = join(repository, 'tools/luge')

async function makeCertificate(name: string): Promise<void> {
  await sh('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:api.test,IP:127.0.0.1'],
    ...['-keyout', files.key, '-out', files.certificate],
  ])
}

before(async () => {
  mkdirSync(join(rack.state, 'given'))
  await makeCertificate('first')
  port = await freePort()
  secure = `https://127.0.0.1:${port}`
  await rack.up({ https: { address: '127.0.0.1', port, ...files } })
})
after(async () => {
  await rack.destroy()
})

/** What openssl finds out; its input ends at once. */
const client = (...words: string[]) =>
  attempt('sh', [
    '-c',
    'openssl s_client "$@" </dev/null',
    'sh',
    '-connect',
    `127.0.0.1:${port}`,
    ...words,
  ])
const curl = (...words: string[]) =>
  attempt('curl', ['-sS', '--cacert', files.certificate, ...words])
const bearer = () => `authorization: Bearer ${rack.ready?.token ?? ''}`

test('the whole API is there over TLS as it is without', () => {
  const { stdout, stderr } = curl('-i', '-H', bearer(), `${secure}/session/me`)
  assert.match(stdout, /^HTTP\/1\.1 200 OK/, stderr)
  const document = curl(`${secure}/openapi.json`).stdout
  assert.equal(document, curl(`${rack.ready?.external}/openapi.json`).stdout)
  assert.notEqual(attempt('curl', ['-sS', `${secure}/openapi.json`]).status, 0)
})

test('TLS 1.2 and 1.3 are spoken, nothing older, and HTTP/1.1 is what is agreed on', () => {
  const now = client('-alpn', 'h2,http/1.1')
  assert.match(now.stdout, /Protocol version: TLSv1\.3|New, TLSv1\.3/)
  assert.match(now.stdout, /ALPN protocol: http\/1\.1/)
  assert.match(client('-tls1_2').stdout, /New, TLSv1\.2|Protocol\s*: TLSv1\.2/)
  for (const old of ['-tls1_1', '-tls1']) {
    assert.match(client(old, '-cipher', 'ALL:@SECLEVEL=0').stdout, /Cipher is \(NONE\)/)
  }
})

test('a session over TLS is for TLS only', () => {
  const body = ['-H', 'content-type: application/json', '-d', '{"username":"privileged"}']
  const [inside, plain] = [secure, rack.ready?.external ?? ''].map(
    (origin) => curl('-i', ...body, `${origin}/login`).stdout,
  )
  assert.match(inside ?? '', /^set-cookie: session=[0-9a-f]{40}; .*; Secure\r$/im)
  assert.doesNotMatch(plain ?? '', /Secure/)
  assert.match(curl('-i', '-X', 'POST', `${secure}/logout`).stdout, /Max-Age=0; Secure/i)
})

test('the device flow over TLS sends its user to TLS', () => {
  const client_id = '11111111-1111-4111-8111-111111111111'
  const { stdout } = curl('-d', `client_id=${client_id}`, `${secure}/device/auth`)
  assert.equal(JSON.parse(stdout).verification_uri, `${secure}/device/verify`)
})

test('whoever speaks something else to the port hurts nobody', () => {
  assert.notEqual(attempt('curl', ['-sS', `http://127.0.0.1:${port}/`]).status, 0)
  for (const junk of ['\\026\\003\\001\\377\\377', 'GET / HTTP/1.0\\r\\n\\r\\n', '']) {
    attempt('bash', ['-c', `printf '${junk}' >/dev/tcp/127.0.0.1/${port}`])
  }
  assert.equal(
    curl('-o', '/dev/null', '-w', '%{http_code}', `${secure}/openapi.json`).stdout,
    '200',
  )
})

const oxide = (words: string[], env = {}) =>
  attempt(join(repository, 'tools/oxide'), words, {
    OXIDE_TOKEN: rack.ready?.token ?? '',
    OXIDE_HOST: secure,
    ...env,
  })

test('the command trusts what it is told to, and says what to do when it is told nothing', () => {
  const ask = ['api', '/session/me']
  const told = oxide(['--cacert', files.certificate, ...ask])
  assert.equal(told.status, 0, told.stderr)
  assert.equal(oxide(ask, { SSL_CERT_FILE: files.certificate }).status, 0)
  assert.equal(oxide(['--insecure', ...ask]).status, 0)
  const alone = oxide(ask)
  assert.equal(alone.status, 1)
  assert.match(
    alone.stderr,
    /^✘ Cannot reach .*: name its certificate with --cacert FILE, or use an/,
  )
  const named = { OXIDE_HOST: `https://api.test:${port}` }
  const resolved = ['--cacert', files.certificate, '--resolve', `api.test:${port}:127.0.0.1`]
  assert.equal(oxide([...resolved, ...ask], named).status, 0)
  const missing = oxide(['--cacert', '/nowhere.pem', ...ask])
  assert.match(missing.stderr, /^✘ --cacert \/nowhere\.pem cannot be read/)
  assert.match(
    oxide(['--resolve', 'x', ...ask]).stderr,
    /^✘ --resolve x: expected HOST:PORT:ADDRESS/,
  )
})

test('the serial console is a websocket over TLS too', async () => {
  const project = await rack.prepare()
  const image = await rack.api<{ id: string }>('/system/images/alpine')
  await rack.api(`${project}/disks`, 'POST', {
    ...{ name: 'alpine', description: '', block_size: 512, size: 1_073_741_824 },
    disk_source: { type: 'global_image', image_id: image.id },
  })
  await rack.api(`${project}/instances`, 'POST', {
    ...{ name: 'myinst', description: '', hostname: 'myinst', memory: 1_073_741_824, ncpus: 2 },
    disks: [{ type: 'attach', name: 'alpine' }],
  })
  const where = `${project}/instances/myinst`
  await until('the guest runs', 15_000, async () =>
    (await rack.api<{ run_state: string }>(where)).run_state === 'running' ? true : null,
  )
  const socket = new WebSocket(`wss://127.0.0.1:${port}${where}/serial-console/stream`, {
    ca: readFileSync(files.certificate),
    headers: { authorization: `Bearer ${rack.ready?.token ?? ''}` },
  })
  let said = ''
  socket.on('message', (data: Buffer) => {
    said += data.toString()
  })
  socket.on('close', (code, reason) => {
    said += `closed: ${code} ${reason.toString()}`
  })
  await once(socket, 'open')
  socket.send(Buffer.from('who goes there'))
  await until('the guest echoes', 15_000, () => (said.includes('who goes there') ? true : null))
  socket.terminate()
})

/** Whose certificate is shown. */
const shown = () => /subject=CN ?= ?(\w+)/.exec(client().stdout)?.[1] ?? ''

test('a certificate that is renewed counts without a restart, a broken one changes nothing', async () => {
  const pid = rack.zonePid('oxz_nexus')
  assert.equal(shown(), 'first')
  await makeCertificate('second')
  const words = ['rack', 'up', '--detach', '--state', rack.state]
  await sh(luge, words)
  await until('the new one is shown', 15_000, () => (shown() === 'second' ? true : null))
  writeFileSync(join(rack.state, 'nexus/certs/cert.pem'), 'no certificate')
  const log = join(rack.state, 'nexus/nexus.log')
  await until('the log says what is wrong', 15_000, () =>
    /certs\/cert\.pem is not a certificate in PEM/.test(readFileSync(log, 'utf8')) ? true : null,
  )
  assert.equal(shown(), 'second')
  assert.equal(rack.zonePid('oxz_nexus'), pid)
})

test('without its files nothing starts, and the sentence names them', () => {
  const broken = join(rack.state, 'broken')
  mkdirSync(broken)
  const config = readFileSync(join(rack.state, 'nexus/config.toml'), 'utf8')
  const start = (text: string) => {
    writeFileSync(join(broken, 'config.toml'), text)
    const entry = join(repository, 'runtime/bin/nexus.ts')
    return attempt(process.execPath, [entry, join(broken, 'config.toml')])
  }
  const other = config.replaceAll(join(rack.state, 'nexus/certs'), broken)
  const missing = start(other)
  assert.equal(missing.status, 1)
  assert.match(missing.stderr, /the API's certificate: [^"]*broken\/cert\.pem cannot be read/)
  copyFileSync(files.certificate, join(broken, 'cert.pem'))
  writeFileSync(join(broken, 'key.pem'), 'no key', { mode: 0o600 })
  assert.match(start(other).stderr, /broken\/key\.pem is not a private key in PEM/)
  rmSync(join(broken, 'key.pem'))
  writeFileSync(join(broken, 'key.pem'), attempt('openssl', ['genrsa', '2048']).stdout, {
    mode: 0o600,
  })
  assert.match(start(other).stderr, /broken\/key\.pem is not the key of the certificate/)
})

test('sockets that are handed over are served, plain and with TLS, in their order', async () => {
  const own = join(rack.state, 'second')
  mkdirSync(own)
  for (const folder of ['tls', 'certs']) {
    cpSync(join(rack.state, 'nexus', folder), join(own, folder), { recursive: true })
  }
  for (const [from, to] of [
    [files.certificate, 'cert.pem'],
    [files.key, 'key.pem'],
  ] as const) {
    cpSync(from, join(own, 'certs', to))
  }
  const config = readFileSync(join(rack.state, 'nexus/config.toml'), 'utf8')
  writeFileSync(join(own, 'config.toml'), config.replaceAll(join(rack.state, 'nexus'), own))
  const ports = [await freePort(), await freePort()]
  const program = `
import os, socket, sys
made = [socket.socket() for _ in range(2)]
for one, port in zip(made, sys.argv[1:3]):
    one.bind(('127.0.0.1', int(port)))
    one.listen()
kept = [os.dup2(one.fileno(), 100 + at) for at, one in enumerate(made)]
for at, fd in enumerate(kept):
    os.dup2(fd, 3 + at, inheritable=True)
os.environ['LISTEN_FDS'] = sys.argv[3]
os.execv(sys.argv[4], sys.argv[4:])`
  const run = (sockets: string) => [
    ...['-c', program, ...ports.map(String), sockets],
    ...[process.execPath, join(repository, 'runtime/bin/nexus.ts'), join(own, 'config.toml')],
  ]
  const refused = attempt('python3', run('1'))
  assert.equal(refused.status, 1)
  assert.match(refused.stderr, /LISTEN_FDS is 1, and the config's external has 2 listeners/)
  const nexus = spawn('python3', run('2'), { stdio: 'ignore' })
  try {
    for (const [at, scheme] of ['http', 'https'].entries()) {
      const url = `${scheme}://127.0.0.1:${ports[at]}/openapi.json`
      await until(`${url} answers`, 20_000, () => (curl('-f', url).status === 0 ? true : null))
    }
  } finally {
    nexus.kill()
  }
  await once(nexus, 'exit')
})

test('options that do not fit together are refused by name', () => {
  const up = (...words: string[]) =>
    attempt(luge, [
      'rack',
      'up',
      '--platform',
      'sim',
      '--state',
      join(rack.state, 'other'),
      ...words,
    ])
  const given = ['--certificate', files.certificate, '--key', files.key]
  assert.match(
    up('--certificate', files.certificate).stderr,
    /--certificate and --key belong together/,
  )
  assert.match(up(...given).stderr, /--certificate is for HTTPS: say where with --https/)
  assert.match(up('--https', 'nowhere', ...given).stderr, /--https nowhere: expected ADDRESS:PORT/)
  const absent = ['--certificate', '/no/cert.pem', '--key', '/no/key.pem']
  const up2 = up('--https', '127.0.0.1:1', ...absent)
  assert.match(up2.stderr, /\/no\/cert\.pem cannot be read/)
  const moved = attempt(luge, ['rack', 'up', '--state', rack.state, '--https', '127.0.0.1:1'])
  assert.match(
    moved.stderr,
    /the rack in .* has HTTPS https:\/\/127\.0\.0\.1:\d+: take it down first/,
  )
})
