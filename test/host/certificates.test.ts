/** What the zone of Nexus sees of the rack's keys, looked at from within. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { dnsZone, sledAddress, sledAddressIndex } from '#config/addressing.ts'
import { ports } from '#config/ports.ts'
import { scratch } from '#test/kit/certificates.ts'
import { attempt, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const rack = new TestRack('linux')
let zone = 0

interface Plan {
  readonly sleds: ReadonlyArray<{ readonly id: string }>
  readonly nexus: ReadonlyArray<{ readonly id: string }>
}
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
  assert.ok(certificate.stdout.includes(`URI:luge:host:${id}, DNS:${id}.host.`), certificate.stdout)
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

test('what passes between sled and Nexus is TLS, from the first greeting on', async () => {
  const dump = join(scratch(), 'wire.pcap')
  const netns = `ox${rack.tag}_gz`
  const filter = `tcp port ${ports.nexus_wire}`
  const words = ['tcpdump', '-i', 'any', '-U', '-s', '0', '-w', dump, filter]
  const child = spawn('ip', ['netns', 'exec', netns, ...words], { stdio: 'ignore' })
  try {
    await until('tcpdump listens', 20_000, () => (existsSync(dump) ? true : null))
    process.kill(rack.supervisorPid, 'SIGKILL')
    await rack.up()
    const project = await rack.prepare()
    await rack.api(`${project}/disks`, 'POST', {
      name: 'disk-of-the-dump',
      description: 'x',
      size: 1024 ** 3,
      block_size: 512,
      disk_source: { type: 'blank', block_size: 512 },
    })
  } finally {
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
  }
  const seen = readFileSync(dump, 'latin1')
  // The handshake names the language that is spoken inside; what is said in it does not show.
  assert.ok(seen.includes('luge/1'), 'a handshake was seen')
  const plan = JSON.parse(readFileSync(join(rack.state, 'rack.json'), 'utf8')) as Plan
  for (const { id } of [...plan.sleds, ...plan.nexus]) {
    assert.ok(!seen.includes(id), `${id} passes in plain text`)
  }
  for (const word of ['protocols', 'sled_up', 'disk-of-the-dump', 'instance']) {
    assert.ok(!seen.includes(word), `${word} passes in plain text`)
  }
})

test('Nexus lets in nobody without a certificate, and who asks for its own sees who it is', () => {
  const netns = `ox${rack.tag}_gz`
  const plan = JSON.parse(readFileSync(join(rack.state, 'rack.json'), 'utf8')) as Plan
  const listening = attempt('ip', ['netns', 'exec', netns, 'ss', '-tn', 'state', 'established'])
  const where = new RegExp(`\\[(fd00:[0-9a-f:]+)\\]:${ports.nexus_wire}`).exec(
    listening.stdout,
  )?.[1]
  assert.ok(where !== undefined, listening.stdout)
  const client = (...args: string[]) =>
    attempt('ip', [
      ...[
        'netns',
        'exec',
        netns,
        'openssl',
        's_client',
        '-ign_eof',
        '-alpn',
        'luge/1',
        '-showcerts',
      ],
      ...[
        '-CAfile',
        join(rack.state, 'sled1/tls/ca.pem'),
        '-connect',
        `[${where}]:${ports.nexus_wire}`,
      ],
      ...args,
    ])
  const nobody = client()
  assert.match(nobody.stderr, /alert certificate required/)
  const directory = join(rack.state, 'sled1/tls')
  const sled = client('-cert', join(directory, 'cert.pem'), '-key', join(directory, 'key.pem'))
  assert.match(sled.stdout, /TLSv1\.3/)
  assert.match(sled.stdout, /Verify return code: 0 \(ok\)/)
  const [pem = ''] = /-----BEGIN CERT[^]*?END CERTIFICATE-----/.exec(sled.stdout) ?? []
  const { subjectAltName } = new X509Certificate(pem)
  assert.match(subjectAltName ?? '', new RegExp(`^URI:luge:host:${plan.nexus[0]?.id}, DNS:`))
})

test('the internal APIs are on the underlay, for who has a certificate of the rack', async () => {
  const plan = JSON.parse(readFileSync(join(rack.state, 'rack.json'), 'utf8')) as Plan
  const [sled = '', nexus = ''] = [plan.sleds[0]?.id, plan.nexus[0]?.id]
  const tls = (host: string) => join(rack.state, host, 'tls')
  const curl = (name: string, address: string, port: number, ...certificate: string[]) =>
    attempt('ip', [
      ...['netns', 'exec', `ox${rack.tag}_gz`, 'curl', '-sS', '-g', '--max-time', '10'],
      ...['--cacert', join(tls('sled1'), 'ca.pem'), ...certificate],
      ...['--resolve', `${name}:${port}:[${address}]`, `https://${name}:${port}/openapi.json`],
    ])
  for (const [name, index, port, as, title] of [
    [`${sled}.sled.${dnsZone}`, 'sled_agent', ports.sled_agent, 'nexus', 'Oxide Sled Agent API'],
    [`${nexus}.host.${dnsZone}`, 'nexus', ports.nexus_internal, 'sled1', 'Nexus internal API'],
  ] as const) {
    const address = sledAddress(1, sledAddressIndex[index])
    const shown = ['--cert', join(tls(as), 'cert.pem'), '--key', join(tls(as), 'key.pem')]
    const document = await until('it is served', 15_000, () => {
      const { status, stdout } = curl(name, address, port, ...shown)
      return status === 0 ? (JSON.parse(stdout) as { info: { title: string } }) : null
    })
    assert.equal(document.info.title, title)
    assert.notEqual(curl(name, address, port).status, 0)
  }
})
