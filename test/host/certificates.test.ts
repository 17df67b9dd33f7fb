/** What the zone of Nexus sees of the rack's keys, looked at from within. */
import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { attempt, repository, sh, TestRack } from '#test/kit/rack.ts'

const rack = new TestRack('linux')
let zone = 0

interface Status {
  readonly zones: ReadonlyArray<{ readonly name: string; readonly pid: number | null }>
}

before(async () => {
  await rack.up()
  const words = ['rack', 'status', '--json', '--state', rack.state]
  const status = JSON.parse(await sh(join(repository, 'tools/luge'), words)) as Status
  zone = status.zones.find(({ name }) => name === 'oxz_nexus')?.pid ?? 0
  assert.ok(zone > 0)
})
after(async () => {
  await rack.destroy()
})

/** Runs a program among the zone's mounts. */
const within = (...args: readonly string[]) =>
  attempt('nsenter', ['--target', String(zone), '--mount', ...args])

test('Nexus has its own key in its zone, with the certificate that is for it', () => {
  const config = within('cat', '/var/nexus/config.toml')
  const id = /^id = "(.+)"$/m.exec(config.stdout)?.[1]
  const certificate = within('openssl', 'x509', '-noout', '-text', '-in', '/var/nexus/tls/cert.pem')
  assert.equal(certificate.status, 0, certificate.stderr)
  assert.ok(certificate.stdout.includes(`URI:luge:host:${id}\n`), certificate.stdout)
  const list = within(
    'openssl',
    'crl',
    '-noout',
    '-in',
    '/var/nexus/tls/crl.pem',
    '-CAfile',
    '/var/nexus/tls/ca.pem',
  )
  assert.match(list.stderr, /verify OK/)
})

test('no other key of the rack is anywhere in the zone', () => {
  const key = readFileSync(join(rack.state, 'nexus/tls/key.pem'), 'utf8')
  assert.equal(within('cat', '/var/nexus/tls/key.pem').stdout, key)
  for (const path of ['authority/key.pem', 'sled1/tls/key.pem']) {
    const { ino } = statSync(join(rack.state, path))
    // By its inode: whatever name it might have been mounted under.
    const found = within(
      'find',
      '/var',
      '/opt',
      '/tmp',
      '/run',
      '-inum',
      String(ino),
      '-name',
      '*.pem',
    )
    assert.equal(found.stdout, '', `${path} is in the zone`)
    assert.notEqual(within('cat', join(rack.state, path)).status, 0)
  }
})

test('Nexus cannot change what it proves itself with', () => {
  const write = within('sh', '-c', 'echo x > /var/nexus/tls/key.pem')
  assert.notEqual(write.status, 0)
  assert.match(write.stderr, /Read-only file system/)
  const own = within('sh', '-c', 'touch /var/nexus/writable && rm /var/nexus/writable')
  assert.equal(own.status, 0, 'the rest of its directory is writable')
})

test('what the host replaces is what the zone sees', async () => {
  // The directory is mounted, not the files: a file that is replaced is a new one.
  const path = join(rack.state, 'nexus/tls/crl.pem')
  const replaced = await sh('sh', ['-c', 'cp "$1" "$1.next" && mv "$1.next" "$1"', 'sh', path])
  assert.equal(replaced, '')
  const seen = within('stat', '-c', '%i', '/var/nexus/tls/crl.pem').stdout.trim()
  assert.equal(seen, String(statSync(path).ino))
})
