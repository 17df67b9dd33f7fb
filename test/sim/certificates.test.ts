/** Certificates of a rack that runs: revoked, renewed, and what its operator is told. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { attempt, repository, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('sim')
before(async () => {
  await rack.up()
})
after(async () => {
  await rack.destroy()
})
const luge = (...words: string[]) =>
  attempt(join(repository, 'tools/luge'), ['rack', ...words, '--state', rack.state])
const certificate = () => readFileSync(join(rack.state, 'sled1/tls/cert.pem'), 'utf8')
const logOf = (file: string) => readFileSync(join(rack.state, file), 'utf8')

test('a rack in order has no warnings, and who is refused by Nexus is one', async () => {
  const calm = luge('status')
  assert.equal(calm.status, 0, calm.stderr)
  assert.equal(calm.stderr, '')
  const stranger = createConnection({ path: join(rack.state, 'nexus/wire.sock') })
  stranger.on('error', () => undefined)
  stranger.resume()
  stranger.write('GET / HTTP/1.1\r\n\r\n')
  await once(stranger, 'close')
  const warned = luge('status')
  assert.equal(warned.status, 0, warned.stderr)
  assert.match(
    warned.stderr,
    /^luge: warning: \S+ refused a connection at 20\S+: the peer speaks HTTP without TLS$/m,
  )
  const { warnings } = JSON.parse(luge('status', '--json').stdout) as { warnings: string[] }
  assert.equal(warnings.length, 1)
})

test('a sled whose certificate is revoked is cut off, and linked again with its new one, without a restart', async () => {
  const [sled] = rack.ready?.sleds ?? []
  assert.ok(sled !== undefined)
  const [old, pid] = [certificate(), rack.supervisorPid]
  const revoked = luge('revoke', sled.id)
  assert.equal(revoked.stdout, `Revoked 1 certificate of ${sled.id}.\n`, revoked.stderr)
  assert.notEqual(certificate(), old)
  await until('Nexus has ended the old link', 30_000, () =>
    /a host is trusted no longer.*has been revoked|has been revoked.*a host is trusted no longer/.test(
      logOf('nexus/nexus.log'),
    )
      ? true
      : null,
  )
  await until('the sled is linked again', 30_000, async () =>
    (await rack.status()).nexus_connected ? true : null,
  )
  assert.equal(rack.supervisorPid, pid)
  assert.deepEqual(luge('status').stderr.match(/is not reached/), null)
})
