/** What `luge rack up` makes of certificates, and who gets to see which. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  globSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { parse } from 'smol-toml'
import { nexusConfig } from '#actors/nexus/config.ts'
import { rackProfile } from '#config/rack.ts'
import { ensureCertificates } from '#runtime/bin/rack/certificates.ts'
import { nexusConfigText, sledConfigOf } from '#runtime/bin/rack/configs.ts'
import { makePlan, readJson, type RackPlan } from '#runtime/bin/rack/plan.ts'
import { systemClock } from '#runtime/clock.ts'
import { fits } from '#runtime/schema.ts'
import { readCredentials } from '#runtime/tls/credentials.ts'
import { openssl, read, scratch } from '#test/kit/certificates.ts'
import { attempt, repository } from '#test/kit/rack.ts'

async function plan(state: string, platform: RackPlan['platform']): Promise<RackPlan> {
  const profile = readJson(join(repository, 'config/profiles/dev.json'), rackProfile)
  assert.ok(profile.ok)
  const made = await makePlan(state, { platform, profile: profile.value, members: 1, sleds: 1 })
  assert.ok(made.ok)
  return made.value
}

async function ensure(state: string, rack: RackPlan): Promise<void> {
  const made = await ensureCertificates(state, rack, systemClock.now())
  assert.ok(made.ok, made.ok ? '' : made.detail)
}

const filesOf = (state: string): string[] =>
  globSync('**/*', { cwd: state }).filter((path) => statSync(join(state, path)).isFile())

const only = <T>(list: readonly T[]): T => {
  const [first] = list
  assert.ok(list.length === 1 && first !== undefined)
  return first
}

for (const platform of ['sim', 'linux'] as const) {
  test(`on ${platform} the configurations name files that hold, for the host they are for`, async () => {
    const state = scratch()
    const rack = await plan(state, platform)
    await ensure(state, rack)
    const sled = sledConfigOf(state, rack, 1)
    assert.ok((await readCredentials(sled.tls, sled.sled_id, systemClock.now())).ok)
    const nexus: unknown = parse(nexusConfigText(state, rack, 1))
    assert.ok(fits(nexusConfig, nexus))
    // In its zone Nexus finds them where its mounts put them.
    const { mounts } = only(sled.zones)
    const outside = (path: string): string => {
      const mount = mounts.findLast(({ destination }) => path.startsWith(`${destination}/`))
      return mount === undefined ? path : join(mount.source, relative(mount.destination, path))
    }
    const tls = {
      certificate: outside(nexus.tls.certificate),
      key: outside(nexus.tls.key),
      authority: outside(nexus.tls.authority),
      revocations: outside(nexus.tls.revocations),
    }
    assert.ok((await readCredentials(tls, nexus.id, systemClock.now())).ok)
    const wrong = await readCredentials(tls, sled.sled_id, systemClock.now())
    assert.ok(!wrong.ok && wrong.error === 'wrong_host')
    const check = openssl(
      'verify',
      '-crl_check',
      '-CAfile',
      sled.tls.authority,
      '-CRLfile',
      sled.tls.revocations,
      tls.certificate,
    )
    assert.equal(check.status, 0, check.output)
  })
}

test('the zone of Nexus sees no key but its own, and cannot change that', async () => {
  const state = scratch()
  const rack = await plan(state, 'linux')
  await ensure(state, rack)
  const { mounts } = only(sledConfigOf(state, rack, 1).zones)
  const keys = filesOf(state).filter((path) => read(join(state, path)).includes('PRIVATE KEY'))
  assert.deepEqual(keys.toSorted(), ['authority/key.pem', 'nexus/tls/key.pem', 'sled1/tls/key.pem'])
  for (const key of keys) {
    const path = join(state, key)
    assert.equal(statSync(path).mode & 0o777, 0o600, key)
    assert.equal(statSync(dirname(path)).mode & 0o777, 0o700, key)
    const mount = mounts.findLast(({ source }) => path.startsWith(`${source}/`))
    assert.equal(mount !== undefined, key === 'nexus/tls/key.pem', `${key} is mounted`)
    assert.notEqual(mount?.read_only, false, key)
  }
})

test('bringing a rack up again changes no certificate, and one that was cut off is completed', async () => {
  const state = scratch()
  const rack = await plan(state, 'sim')
  await ensure(state, rack)
  const before = new Map(filesOf(state).map((path) => [path, read(join(state, path))]))
  await ensure(state, rack)
  assert.deepEqual(new Map(filesOf(state).map((path) => [path, read(join(state, path))])), before)
  // One file gone at a time: those that only the authority could give back are not made anew.
  for (const path of before.keys()) {
    const copy = scratch()
    for (const other of before.keys()) {
      mkdirSync(dirname(join(copy, other)), { recursive: true, mode: 0o700 })
      copyFileSync(join(state, other), join(copy, other))
    }
    rmSync(join(copy, path))
    const made = await ensureCertificates(copy, rack, systemClock.now())
    const isLost = path === 'authority/key.pem' || path === 'authority/register.json'
    assert.equal(made.ok, !isLost, path)
    if (made.ok) {
      const { tls, sled_id } = sledConfigOf(copy, rack, 1)
      assert.ok((await readCredentials(tls, sled_id, systemClock.now())).ok, path)
    }
  }
  assert.ok(readdirSync(join(state, 'authority')).every((name) => !name.endsWith('.next')))
})

test('an operator sees who has a certificate, and takes one away', async () => {
  const state = scratch()
  const luge = (...words: string[]) =>
    attempt(join(repository, 'tools/luge'), ['rack', ...words, '--state', state])
  const none = luge('certificates')
  assert.equal(none.status, 1)
  assert.equal(none.stderr, `luge: there is no rack in ${state}\n`)
  const rack = await plan(state, 'sim')
  await ensure(state, rack)
  const { tls, sled_id } = sledConfigOf(state, rack, 1)
  const old = join(scratch(), 'old.pem')
  copyFileSync(tls.certificate, old)
  const list = luge('certificates')
  assert.equal(list.stdout.split('\n').filter((line) => line.endsWith('holds')).length, 2)
  assert.equal(luge('revoke', sled_id).stdout, `Revoked 1 certificate of ${sled_id}.\n`)
  const issued = JSON.parse(luge('certificates', '--json').stdout) as {
    host: string
    revoked_ms: number | null
  }[]
  assert.equal(issued.filter(({ revoked_ms }) => revoked_ms !== null).length, 1)
  assert.equal(issued.filter(({ host }) => host === sled_id).length, 2)
  assert.ok((await readCredentials(tls, sled_id, systemClock.now())).ok, 'it has a new one')
  const listOfNexus = join(state, 'nexus/tls/crl.pem')
  const check = openssl(
    'verify',
    '-crl_check',
    '-CAfile',
    tls.authority,
    '-CRLfile',
    listOfNexus,
    old,
  )
  assert.match(check.output, /certificate revoked/)
  const unknown = luge('revoke', 'nobody')
  assert.equal(unknown.status, 1)
  assert.match(unknown.stderr, /^luge: host nobody has no certificate that holds: /)
})

test('no process of the rack starts without certificates that hold: there is no plain text to fall back to', async () => {
  const state = scratch()
  const rack = await plan(state, 'sim')
  await ensure(state, rack)
  const sled = sledConfigOf(state, rack, 1)
  const config = join(state, 'config')
  const start = (script: string, text: string) => {
    writeFileSync(config, text)
    return attempt(process.execPath, [join(repository, 'runtime/bin', script), config]).stderr
  }
  const { tls: _tls, ...bare } = sled
  assert.match(
    start('sled.ts', JSON.stringify(bare)),
    /config: .*must have required properties tls/,
  )
  const toml = nexusConfigText(state, rack, 1)
  const [before = ''] = toml.split('[tls]')
  const rest = toml.slice(toml.indexOf('[', before.length + 1))
  assert.match(start('nexus.ts', before + rest), /config: .*must have required properties tls/)
  rmSync(sled.tls.revocations)
  const missing = start('sled.ts', JSON.stringify(sled))
  assert.match(missing, /certificates: .*crl\.pem cannot be read/)
  rmSync(join(state, 'nexus/tls/key.pem'))
  assert.match(start('nexus.ts', toml), /certificates: .*key\.pem cannot be read/)
})
