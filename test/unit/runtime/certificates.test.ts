/** The rack's authority: what it signs, what it keeps, and what is said about files that are wrong. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import type { TlsFiles } from '#config/tls.ts'
import { systemClock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import { makeKey, makeSerial, signAuthority, signRevocations } from '#runtime/tls/authority.ts'
import { readCredentials, readKeyPair, serialOf } from '#runtime/tls/credentials.ts'
import { hostOf } from '#runtime/tls/name.ts'
import { AuthorityStore, lives } from '#runtime/tls/store.ts'
import { day_ms, openssl, read, scratch, TestAuthority } from '#test/kit/certificates.ts'

const now = (): number => systemClock.now()

/** The code and the sentence of credentials that must be refused. */
async function refusal(
  files: TlsFiles,
  host: string,
  at_ms = now(),
): Promise<{ code: string; text: string }> {
  const found = await readCredentials(files, host, at_ms)
  assert.ok(!found.ok, 'credentials that are wrong were accepted')
  return { code: found.error, text: found.detail }
}

test('OpenSSL accepts the authority, the certificates that it issues and its list', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const check = openssl(
    ...['verify', '-x509_strict', '-check_ss_sig', '-crl_check'],
    ...['-CAfile', files.authority, '-CRLfile', files.revocations, files.certificate],
  )
  assert.equal(check.status, 0, check.output)
  for (const purpose of ['sslclient', 'sslserver']) {
    const fit = openssl(
      'verify',
      '-purpose',
      purpose,
      '-CAfile',
      files.authority,
      files.certificate,
    )
    assert.equal(fit.status, 0, fit.output)
  }
  const list = openssl(
    'crl',
    '-verify',
    '-in',
    files.revocations,
    '-CAfile',
    files.authority,
    '-noout',
    '-crlnumber',
    '-nextupdate',
  )
  assert.equal(list.status, 0, list.output)
  assert.match(list.output, /verify OK/)
  assert.match(list.output, /crlNumber=0x0*1\b/i)
  assert.match(list.output, /nextUpdate=/)
})

test('certificates say what they are for, and no more', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const authority = openssl('x509', '-in', files.authority, '-noout', '-text').output
  assert.match(authority, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/)
  assert.match(authority, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/)
  const host = openssl('x509', '-in', files.certificate, '-noout', '-text').output
  assert.match(host, /CA:FALSE/)
  assert.match(host, /Key Usage: critical\s+Digital Signature\n/)
  assert.match(host, /TLS Web Server Authentication, TLS Web Client Authentication/)
  const zone = 'control-plane.oxide.internal'
  assert.ok(
    host.includes(`URI:luge:host:sled-1, DNS:sled-1.host.${zone}, DNS:sled-1.sled.${zone}\n`),
  )
  assert.match(host, /prime256v1/)
})

test('a certificate of a host cannot sign another', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const directory = scratch()
  const [key, request, forged] = ['key', 'csr', 'cert'].map((name) => join(directory, name))
  assert.ok(key !== undefined && request !== undefined && forged !== undefined)
  writeFileSync(key, makeKey())
  assert.equal(openssl('req', '-new', '-key', key, '-subj', '/CN=x', '-out', request).status, 0)
  const signed = openssl(
    ...['x509', '-req', '-in', request, '-CA', files.certificate, '-CAkey', files.key],
    ...['-days', '1', '-out', forged],
  )
  assert.equal(signed.status, 0, signed.output)
  const check = openssl(
    'verify',
    '-CAfile',
    files.authority,
    '-untrusted',
    files.certificate,
    forged,
  )
  assert.notEqual(check.status, 0)
})

test('serial numbers are 127 bits of chance and never repeat', () => {
  const serials = Array.from({ length: 1000 }, () => makeSerial(systemRandom))
  assert.equal(new Set(serials).size, 1000)
  for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{31}$/)
})

test('a second run changes nothing', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const before = Object.values(files).map(read)
  await rack.host('sled-1')
  assert.deepEqual(Object.values(files).map(read), before)
  assert.equal((await rack.store()).issued.length, 1)
})

test("keys are their owner's alone, in directories that nobody else enters", async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const authority = join(rack.directory, 'authority')
  for (const path of [files.key, join(authority, 'key.pem'), join(authority, 'register.json')]) {
    assert.equal(statSync(path).mode & 0o777, 0o600, path)
  }
  for (const path of [authority, dirname(files.key)]) {
    assert.equal(statSync(path).mode & 0o777, 0o700, path)
  }
  for (const path of [files.certificate, files.authority, files.revocations]) {
    assert.doesNotMatch(read(path), /PRIVATE/, path)
  }
  assert.deepEqual(readdirSync(dirname(files.key)).toSorted(), [
    'ca.pem',
    'cert.pem',
    'crl.pem',
    'key.pem',
  ])
})

test('a certificate is renewed with a new key when half of its life is over, and the old one holds on', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const old = new X509Certificate(read(files.certificate))
  const oldKey = read(files.key)
  await rack.host('sled-1', lives.host_ms / 2 - day_ms)
  assert.equal(read(files.key), oldKey, 'not yet')
  await rack.host('sled-1', lives.host_ms / 2 + day_ms)
  const renewed = new X509Certificate(read(files.certificate))
  assert.notEqual(renewed.serialNumber, old.serialNumber)
  assert.notEqual(read(files.key), oldKey)
  const later_ms = now() + lives.host_ms / 2 + day_ms
  const found = await readCredentials(files, 'sled-1', later_ms)
  assert.ok(found.ok && !found.value.revoked.has(serialOf(old)))
  assert.ok(old.validToDate.getTime() > later_ms)
})

test('an authority is renewed with its own key, so that what it issued holds on', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const certificate = read(files.certificate)
  const before = new X509Certificate(read(files.authority))
  const store = await rack.store(lives.authority_ms / 2 + day_ms)
  const renewed = new X509Certificate(read(join(rack.directory, 'authority/cert.pem')))
  assert.notEqual(renewed.serialNumber, before.serialNumber)
  assert.ok(new X509Certificate(certificate).verify(renewed.publicKey))
  assert.ok(new X509Certificate(certificate).checkIssued(renewed))
  assert.ok((await store.provide('sled-1', rack.hostDirectory('sled-1'))).ok)
})

test("a host's certificate does not outlive its authority", async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const authority = new X509Certificate(read(files.authority))
  assert.ok(new X509Certificate(read(files.certificate)).validToDate <= authority.validToDate)
})

/** The number of a list, as OpenSSL reads it. */
const numberOf = (list: string) => {
  const said = openssl('crl', '-in', list, '-noout', '-crlnumber').output
  return Number(/crlNumber=(0x[0-9A-F]+)/.exec(said)?.[1])
}

test('revoking a host revokes every certificate of it, with a new list that OpenSSL knows', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const first = join(scratch(), 'first.pem')
  copyFileSync(files.certificate, first)
  await rack.host('sled-1', lives.host_ms / 2 + day_ms)
  const others = await rack.host('sled-2')
  const before = numberOf(others.revocations)
  assert.equal(await rack.revoke('sled-1', ['sled-2']), 2)
  assert.equal(await rack.revoke('sled-1', []), 0, 'there is nothing left to revoke')
  assert.equal(numberOf(others.revocations), before + 1)
  for (const certificate of [first, files.certificate]) {
    const check = openssl(
      ...['verify', '-crl_check', '-CAfile', others.authority],
      ...['-CRLfile', others.revocations, certificate],
    )
    assert.notEqual(check.status, 0)
    assert.match(check.output, /certificate revoked/)
  }
})

test('a revoked host that is still part of the rack gets a new key and a new certificate', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const [key, certificate] = [read(files.key), read(files.certificate)]
  await rack.revoke('sled-1', ['sled-1'])
  assert.notEqual(read(files.key), key)
  assert.notEqual(read(files.certificate), certificate)
  const found = await readCredentials(files, 'sled-1', now())
  assert.ok(found.ok)
  assert.ok(found.value.revoked.has(serialOf(new X509Certificate(certificate))))
})

test('a rack whose making was cut off after any file is completed by the next run', async () => {
  const whole = new TestAuthority()
  const hosts = ['sled-1', 'nexus-1']
  for (const host of hosts) await whole.host(host)
  // The order in which files appear; a run that was killed had written some first part of them.
  const order = [
    ...['key.pem', 'register.json', 'cert.pem', 'crl.pem'].map((name) => `authority/${name}`),
    ...hosts.flatMap((host) =>
      ['ca.pem', 'crl.pem', 'key.pem', 'cert.pem'].map((name) => `${host}/${name}`),
    ),
  ]
  for (let written = 0; written <= order.length; written += 1) {
    const cut = new TestAuthority()
    for (const path of order.slice(0, written)) {
      mkdirSync(dirname(join(cut.directory, path)), { recursive: true })
      copyFileSync(join(whole.directory, path), join(cut.directory, path))
    }
    if (written < order.length) {
      // What the interrupted write of the next file may have left.
      const next = join(cut.directory, order[written] ?? '')
      mkdirSync(dirname(next), { recursive: true })
      writeFileSync(`${next}.next`, '-----BEGIN')
    }
    for (const host of hosts) {
      const files = await cut.host(host)
      assert.ok((await readCredentials(files, host, now())).ok, `cut off after ${written} files`)
    }
    if (written > 0) {
      const key = join('authority', 'key.pem')
      assert.equal(read(join(cut.directory, key)), read(join(whole.directory, key)))
    }
  }
})

test('an authority that lost a file that cannot be made again says which, and what to do', async () => {
  for (const name of ['key.pem', 'register.json']) {
    const rack = new TestAuthority()
    await rack.host('sled-1')
    const directory = join(rack.directory, 'authority')
    rmSync(join(directory, name))
    const opened = await AuthorityStore.open({
      directory,
      name: 'x',
      now_ms: now(),
      random: systemRandom,
    })
    assert.ok(!opened.ok)
    assert.ok(opened.detail.includes(join(directory, name)), opened.detail)
    assert.match(opened.detail, /is missing: put it back, or remove/)
    assert.ok(!existsSync(join(directory, name)), 'nothing was made in its place')
  }
})

test('a register that is torn is named and left as it is', async () => {
  const rack = new TestAuthority()
  await rack.host('sled-1')
  const directory = join(rack.directory, 'authority')
  writeFileSync(join(directory, 'register.json'), '{"version":1,')
  const opened = await AuthorityStore.open({
    directory,
    name: 'x',
    now_ms: now(),
    random: systemRandom,
  })
  assert.ok(!opened.ok && opened.error === 'malformed')
  assert.ok(opened.detail.includes('register.json'))
  assert.equal(read(join(directory, 'register.json')), '{"version":1,')
})

test('credentials out of their time are refused with the date', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const late = await refusal(files, 'sled-1', now() + lives.host_ms + day_ms)
  assert.equal(late.code, 'expired')
  assert.match(late.text, /cert\.pem expired on \d{4}-\d\d-\d\dT.*: renew it/)
  const early = await refusal(files, 'sled-1', now() - day_ms)
  assert.equal(early.code, 'not_yet_valid')
  assert.match(early.text, /cert\.pem is not valid before .*check this machine's clock/)
})

test('a clock that is a little behind accepts what was issued just now', async () => {
  const files = await new TestAuthority().host('sled-1')
  assert.ok((await readCredentials(files, 'sled-1', now() - lives.skew_ms + 1000)).ok)
})

test('files of two racks do not go together', async () => {
  const [one, two] = [new TestAuthority(), new TestAuthority()]
  const [mine, other] = [await one.host('sled-1'), await two.host('sled-1')]
  const authority = await refusal({ ...mine, authority: other.authority }, 'sled-1')
  assert.equal(authority.code, 'wrong_authority')
  const key = await refusal({ ...mine, key: other.key }, 'sled-1')
  assert.equal(key.code, 'wrong_key')
  assert.equal(key.text, `${other.key} is not the key of the certificate ${mine.certificate}`)
  const list = await refusal({ ...mine, revocations: other.revocations }, 'sled-1')
  assert.equal(list.code, 'wrong_authority')
  assert.ok(list.text.startsWith(other.revocations))
  const self = await refusal({ ...mine, authority: mine.certificate }, 'sled-1')
  assert.equal(self.code, 'wrong_authority')
})

test('a certificate for another host is refused by both names', async () => {
  const files = await new TestAuthority().host('sled-1')
  const wrong = await refusal(files, 'sled-2')
  assert.equal(wrong.code, 'wrong_host')
  assert.equal(wrong.text, `${files.certificate} is for host sled-1, not for sled-2`)
})

test('an own certificate that was revoked is refused when it is read', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  await rack.host('sled-2')
  await rack.revoke('sled-1', ['sled-2'])
  const list = join(rack.hostDirectory('sled-2'), 'crl.pem')
  const gone = await refusal({ ...files, revocations: list }, 'sled-1')
  assert.equal(gone.code, 'revoked')
  assert.match(gone.text, /cert\.pem \(serial [0-9a-f]+\) has been revoked/)
})

test('a list that has gone stale, or that was forged, is refused', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  const directory = scratch()
  const authority = {
    key: read(join(rack.directory, 'authority/key.pem')),
    certificate: read(files.authority),
  }
  const sign = async (by: typeof authority, life_ms: number) => {
    const validity = { now_ms: now(), life_ms, skew_ms: lives.skew_ms }
    const path = join(directory, `${life_ms}.pem`)
    writeFileSync(path, await signRevocations(by, { number: 200, revoked: [] }, validity))
    return path
  }
  const stale = await refusal({ ...files, revocations: await sign(authority, -1000) }, 'sled-1')
  assert.equal(stale.code, 'expired')
  // Same name, another key.
  const key = makeKey()
  const validity = { now_ms: now(), life_ms: day_ms, skew_ms: 0 }
  const certificate = await signAuthority(key, { name: 'rack of a test', serial: '7f' }, validity)
  const forged = await refusal(
    { ...files, revocations: await sign({ key, certificate }, day_ms) },
    'sled-1',
  )
  assert.equal(forged.code, 'wrong_authority')
})

test('what is not readable, not a file, too large or garbage is refused by its name', async () => {
  const rack = new TestAuthority()
  const good = await rack.host('sled-1')
  const directory = scratch()
  const put = (name: string, bytes: string | Uint8Array): string => {
    const path = join(directory, name)
    writeFileSync(path, bytes, { mode: 0o600 })
    return path
  }
  symlinkSync('/dev/zero', join(directory, 'zero'))
  const passphrase = join(directory, 'locked.pem')
  openssl('ec', '-aes256', '-in', good.key, '-passout', 'pass:secret', '-out', passphrase)
  const bad: readonly (readonly [keyof TlsFiles | 'any', string, string])[] = [
    ['any', join(directory, 'absent'), 'unreadable'],
    ['any', directory, 'unreadable'],
    ['any', join(directory, 'zero'), 'unreadable'],
    ['any', put('large', Buffer.alloc(300 * 1024, 65)), 'unreadable'],
    ['any', put('empty', ''), 'malformed'],
    ['any', put('noise', systemRandom.bytes(2000)), 'malformed'],
    ['any', put('torn', read(good.certificate).slice(0, 200)), 'malformed'],
    [
      'any',
      put('swapped', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
      'malformed',
    ],
    ['certificate', good.key, 'malformed'],
    ['key', put('cert', read(good.certificate)), 'malformed'],
    ['revocations', good.certificate, 'malformed'],
    ['key', passphrase, 'malformed'],
  ]
  for (const [which, path, code] of bad) {
    const places = which === 'any' ? (Object.keys(good) as (keyof TlsFiles)[]) : [which]
    for (const place of places) {
      const refused = await refusal({ ...good, [place]: path }, 'sled-1')
      assert.equal(refused.code, code, `${place} ${path}: ${refused.text}`)
      assert.ok(refused.text.includes(path), refused.text)
      assert.doesNotMatch(refused.text, /undefined|\n/)
    }
  }
})

test('a list with one bit changed anywhere is never accepted as another list', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  await rack.host('sled-2')
  await rack.revoke('sled-2', ['sled-1'])
  const found = await readCredentials(files, 'sled-1', now())
  assert.ok(found.ok)
  const der = Buffer.from(
    read(files.revocations).replaceAll(/-----[A-Z0-9 ]+-----|\s/g, ''),
    'base64',
  )
  const path = join(scratch(), 'crl.pem')
  for (let bit = 0; bit < der.length * 8; bit += 13) {
    const changed = Buffer.from(der)
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const body = changed.toString('base64')
    writeFileSync(path, `-----BEGIN X509 CRL-----\n${body}\n-----END X509 CRL-----\n`)
    const list = await readCredentials({ ...files, revocations: path }, 'sled-1', now())
    if (list.ok) assert.deepEqual(list.value.revoked, found.value.revoked, `bit ${bit}`)
  }
})

test('a key that others may read is refused with what to do', async () => {
  const rack = new TestAuthority()
  const files = await rack.host('sled-1')
  for (const mode of [0o644, 0o640, 0o604, 0o660]) {
    chmodSync(files.key, mode)
    const refused = await refusal(files, 'sled-1')
    assert.equal(refused.code, 'unsafe_permissions')
    assert.match(refused.text, /key\.pem has mode \d+, so that others can use the key: make it 600/)
  }
  const provided = await (await rack.store()).provide('sled-1', rack.hostDirectory('sled-1'))
  assert.ok(!provided.ok && provided.error === 'unsafe_permissions')
})

/** The host that a certificate with these names is for. */
const of = (subjectAltName: string | undefined) =>
  hostOf({ subjectAltName } as unknown as X509Certificate)

test('a host is what exactly one name of its certificate says, whatever others pretend', () => {
  assert.equal(of('URI:luge:host:a-1, DNS:a.example'), 'a-1')
  assert.equal(of(undefined), null)
  assert.equal(of('DNS:a'), null)
  assert.equal(of('DNS:luge:host:a'), null)
  assert.equal(of('URI:luge:host:a, URI:luge:host:b'), null)
  assert.equal(of('DNS:"x, URI:luge:host:a, y"'), null)
  assert.equal(of('URI:luge:host:'), null)
  assert.equal(of('URI:luge:host:a b'), null)
  assert.equal(of(`URI:luge:host:${'a'.repeat(64)}`), null)
})

test("a key pair of any kind is read for a server of one's own", () => {
  const directory = scratch()
  const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const made = openssl(
    ...['req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-subj', '/CN=localhost', '-days', '1'],
    ...['-keyout', key, '-out', certificate],
  )
  assert.equal(made.status, 0, made.output)
  const pair = readKeyPair({ certificate, key }, now())
  assert.ok(pair.ok && pair.value.leaf.subject === 'CN=localhost')
  const late = readKeyPair({ certificate, key }, now() + 2 * day_ms)
  assert.ok(!late.ok && late.error === 'expired')
})
