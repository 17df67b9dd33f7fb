/** tools/create_self_signed_cert.sh: the guide's certificate for the external API. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, statSync, truncateSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect, createServer } from 'node:tls'
import { systemClock } from '#runtime/clock.ts'
import { readKeyPair } from '#runtime/tls/credentials.ts'
import { openssl, read, scratch } from '#test/kit/certificates.ts'
import { attempt, repository } from '#test/kit/rack.ts'

/** A copy of the script in a repository of its own, so that nobody's certificate is touched. */
function tool() {
  const root = scratch()
  mkdirSync(join(root, 'tools'))
  const script = join(root, 'tools/create_self_signed_cert.sh')
  copyFileSync(join(repository, 'tools/create_self_signed_cert.sh'), script)
  const files = {
    certificate: join(root, 'out/certs/cert.pem'),
    key: join(root, 'out/certs/key.pem'),
  }
  return { files, run: (...args: string[]) => attempt('sh', [script, ...args]) }
}

test('the certificate is what the guide says, and a server can use it', async () => {
  const { files, run } = tool()
  const made = run()
  assert.equal(made.status, 0, made.stderr)
  assert.equal(statSync(files.key).mode & 0o777, 0o600)
  const text = openssl('x509', '-in', files.certificate, '-noout', '-text').output
  assert.match(text, /Subject: CN ?= ?localhost\n/)
  assert.match(text, /Public-Key: \(4096 bit\)/)
  assert.match(text, /sha256WithRSAEncryption/)
  const pair = readKeyPair(files, systemClock.now())
  assert.ok(pair.ok, pair.ok ? '' : pair.detail)
  const days = (pair.value.leaf.validToDate.getTime() - systemClock.now()) / (24 * 3600 * 1000)
  assert.equal(Math.round(days), 3650)
  const server = createServer({ key: pair.value.key, cert: pair.value.certificate }, (socket) => {
    socket.end('served')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: 'localhost', port, ca: pair.value.certificate })
  const [said] = await once(socket, 'data')
  assert.equal(String(said), 'served')
  socket.destroy()
  server.close()
})

test('a second run keeps what holds, and replaces what does not', () => {
  const { files, run } = tool()
  assert.equal(run().status, 0)
  const first = read(files.certificate)
  const again = run()
  assert.equal(again.status, 0)
  assert.match(again.stdout, /is there and holds/)
  assert.equal(read(files.certificate), first)
  // A key that is not this certificate's: what a run that was killed in the middle leaves.
  assert.equal(openssl('genpkey', '-algorithm', 'ed25519', '-out', files.key).status, 0)
  assert.equal(run().status, 0)
  assert.notEqual(read(files.certificate), first)
  assert.ok(readKeyPair(files, systemClock.now()).ok)
  truncateSync(files.key, 100)
  assert.equal(run().status, 0)
  assert.ok(readKeyPair(files, systemClock.now()).ok)
})

test('an argument is refused', () => {
  const refused = tool().run('--help')
  assert.equal(refused.status, 2)
  assert.match(refused.stderr, /^Usage: tools\/create_self_signed_cert\.sh/)
})
