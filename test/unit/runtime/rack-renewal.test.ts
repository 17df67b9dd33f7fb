/** Certificates are renewed in time while the rack runs, and nobody who is connected notices. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { rackProfile } from '#config/rack.ts'
import { certificateWarnings, ensureCertificates } from '#runtime/bin/rack/certificates.ts'
import { nexusFiles, nexusState, sledFiles, sledState } from '#runtime/bin/rack/layout.ts'
import { makePlan, readJson } from '#runtime/bin/rack/plan.ts'
import { keepCertificates } from '#runtime/bin/rack/renewal.ts'
import { manualClock, systemClock } from '#runtime/clock.ts'
import { hostFiles } from '#runtime/tls/files.ts'
import { dialSecurely } from '#runtime/tls/secure.ts'
import { connector } from '#runtime/wire/links.ts'
import { day_ms, openssl, scratch } from '#test/kit/certificates.ts'
import { linkHost } from '#test/kit/link_host.ts'
import { repository, until } from '#test/kit/rack.ts'

const ending: (() => void)[] = []
after(() => {
  for (const end of ending.toReversed()) end()
})
const soon_ms = 5_000
const retry_ms = 60_000

/** A rack whose certificates have 25 days left of their year, by the machine's clock. */
async function agedRack() {
  const state = scratch()
  const profile = readJson(join(repository, 'config/profiles/dev.json'), rackProfile)
  assert.ok(profile.ok)
  const given = { platform: 'sim', profile: profile.value, members: 1, sleds: 1 } as const
  const made = await makePlan(state, given)
  assert.ok(made.ok)
  const plan = made.value
  const now_ms = systemClock.now()
  assert.ok((await ensureCertificates(state, plan, now_ms - 340 * day_ms)).ok)
  const [sledId = '', nexusId = ''] = [plan.sleds[0]?.id, plan.nexus[0]?.id]
  const sled = { id: sledId, tls: sledFiles(sledState(state, 1)).tls }
  const nexus = { id: nexusId, tls: nexusFiles(nexusState(state, 1)).tls }
  return { state, plan, now_ms, sled, nexus }
}

async function hostOf({ id, tls }: { readonly id: string; readonly tls: string }, peer: string) {
  const host = await linkHost({ host: id, files: hostFiles(tls), peers: [peer] })
  ending.push(host.close)
  return host
}

/** What OpenSSL says of a host's certificate. */
const serialOf = (tls: string): string =>
  openssl('x509', '-noout', '-serial', '-in', hostFiles(tls).certificate).output.trim()

test('a certificate near its end is renewed while its links stand, and one that fails is tried again', async () => {
  const { state, plan, now_ms, sled, nexus } = await agedRack()
  assert.equal((await certificateWarnings(state, plan, now_ms)).length, 2)
  const inNexus = await hostOf(nexus, sled.id)
  const inSled = await hostOf(sled, nexus.id)
  const path = join(state, 'wire.sock')
  await inNexus.links.listen({ path })
  inSled.links.dial(nexus.id, connector({ path }))
  const link = await until('they are linked', soon_ms, () => inSled.links.to(nexus.id))
  const old = [serialOf(sled.tls), serialOf(nexus.tls)]

  // The second look is at the machine's own time, by which TLS holds certificates against.
  const clock = manualClock(now_ms - day_ms - retry_ms)
  const stop = new AbortController()
  const failures: string[] = []
  const kept = keepCertificates(state, plan, {
    clock,
    signal: stop.signal,
    onFailure: (why) => failures.push(why),
  })
  await clock.advance(day_ms - 1)
  assert.deepEqual([serialOf(sled.tls), serialOf(nexus.tls)], old, 'it is not a day yet')

  // A file is where the directory should be, and the directory comes back before the next try.
  renameSync(nexus.tls, `${nexus.tls}.away`)
  writeFileSync(nexus.tls, '')
  await clock.advance(1)
  await until('the failure is said', soon_ms, () => failures.length === 1)
  assert.match(failures[0] ?? '', new RegExp(`^state directory .*${nexus.tls}`))
  rmSync(nexus.tls)
  renameSync(`${nexus.tls}.away`, nexus.tls)
  assert.equal(serialOf(nexus.tls), old[1])
  await clock.advance(retry_ms)
  await until('both are renewed', soon_ms, async () =>
    (await certificateWarnings(state, plan, now_ms)).length === 0 ? true : null,
  )
  const renewed = [serialOf(sled.tls), serialOf(nexus.tls)]
  for (const [at, serial] of renewed.entries()) assert.notEqual(serial, old[at])
  for (const { tls } of [sled, nexus]) {
    const files = hostFiles(tls)
    const { status, output } = openssl(
      ...['verify', '-crl_check', '-attime', String(Math.floor(now_ms / 1_000) + 180 * 86_400)],
      ...['-CAfile', files.authority, '-CRLfile', files.revocations, files.certificate],
    )
    assert.equal(status, 0, output)
  }

  // What is connected stays so, and who connects from now on sees the new one.
  for (const { identity } of [inNexus, inSled]) assert.ok((await identity.reload()).ok)
  assert.equal(inSled.links.to(nexus.id), link)
  assert.equal(await inSled.ask(nexus.id, 'echo', soon_ms), 'ok')
  const { credentials } = inSled.identity
  const security = { credentials, clock: systemClock }
  const socket = dialSecurely(createConnection({ path }), nexus.id, security)
  ending.push(() => {
    socket.destroy()
  })
  await once(socket, 'secureConnect')
  assert.equal(`serial=${socket.getPeerX509Certificate()?.serialNumber}`, renewed[1])
  assert.equal(`serial=${socket.getX509Certificate()?.serialNumber}`, renewed[0])

  // A day later there is nothing to do, and nothing is done.
  await clock.advance(day_ms)
  stop.abort()
  await kept
  assert.deepEqual([serialOf(sled.tls), serialOf(nexus.tls)], renewed)
  assert.equal(failures.length, 1)
})

test('an authority that is damaged is said by name, and once it is mended all is renewed', async () => {
  const { state, plan, now_ms, sled } = await agedRack()
  const old = serialOf(sled.tls)
  const clock = manualClock(now_ms - day_ms - retry_ms)
  const stop = new AbortController()
  const failures: string[] = []
  const kept = keepCertificates(state, plan, {
    clock,
    signal: stop.signal,
    onFailure: (why) => failures.push(why),
  })
  await clock.advance(0)
  const authority = join(state, 'authority/register.json')
  renameSync(authority, `${authority}.away`)
  await clock.advance(day_ms)
  await until('it is said', soon_ms, () => failures.length === 1)
  assert.match(failures[0] ?? '', /register\.json is missing: put it back/)
  renameSync(`${authority}.away`, authority)
  await clock.advance(retry_ms)
  await until('it is renewed', soon_ms, () => serialOf(sled.tls) !== old)
  stop.abort()
  await kept
})
