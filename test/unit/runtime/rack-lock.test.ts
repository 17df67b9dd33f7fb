/** One command at a time works on a rack. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { rackProfile } from '#config/rack.ts'
import { identify } from '#native/process.ts'
import { certificateWarnings, ensureCertificates } from '#runtime/bin/rack/certificates.ts'
import { withLock } from '#runtime/bin/rack/lock.ts'
import { isInside, makePlan, readJson } from '#runtime/bin/rack/plan.ts'
import { systemClock } from '#runtime/clock.ts'
import { systemRandom } from '#runtime/random.ts'
import { err, ok } from '#runtime/result.ts'
import { day_ms, scratch } from '#test/kit/certificates.ts'
import { attempt, repository } from '#test/kit/rack.ts'

const lockOf = (state: string) => ({ state, verb: 'up', random: systemRandom })

/** A rack that was planned and has certificates, and does not run. */
async function plannedRack() {
  const state = join(scratch(), 'rack')
  const profile = readJson(join(repository, 'config/profiles/dev.json'), rackProfile)
  assert.ok(profile.ok)
  const made = await makePlan(state, {
    platform: 'sim',
    profile: profile.value,
    members: 1,
    sleds: 1,
  })
  assert.ok(made.ok)
  assert.ok((await ensureCertificates(state, made.value, systemClock.now())).ok)
  return { state, plan: made.value }
}

async function luge(...words: string[]): Promise<{ code: number; said: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; said: string }>()
  execFile(join(repository, 'tools/luge'), ['rack', ...words], (error, _stdout, said) => {
    resolve({ code: error === null ? 0 : Number(error.code), said })
  })
  return await promise
}
const claimsIn = (state: string) => readdirSync(state).filter((name) => name.startsWith('lock.'))

test('a command that meets another at work is refused, and told which', async () => {
  const { state } = await plannedRack()
  await withLock(lockOf(state), async () => {
    const words = [['up', '--detach', '--platform', 'sim'], ['down'], ['certificates']]
    for (const [verb = '', ...rest] of words) {
      const { code, said } = await luge(verb, ...rest, '--state', state)
      const other = `luge rack up (process ${process.pid}) works on the rack in ${state}`
      assert.equal(said, `luge: ${other}: wait until it has ended\n`, verb)
      assert.equal(code, 1)
    }
    return ok(null)
  })
  assert.deepEqual(claimsIn(state), [])
  const after = await luge('certificates', '--state', state)
  assert.equal(after.code, 0, after.said)
})

test('a command that was killed keeps nobody out, nor does one of which only the pid is there', async () => {
  const { state } = await plannedRack()
  const own = identify(process.pid)
  assert.ok(own !== null)
  // Another process had the number that this one has now.
  writeFileSync(join(state, `lock.up.${own.pid}.1.1${own.started}`), '')
  const killed = attempt(process.execPath, [
    '-e',
    `require('node:fs').writeFileSync(process.argv[1] + process.pid + '.1.x', ''); process.kill(process.pid, 'SIGKILL')`,
    join(state, 'lock.down.'),
  ])
  assert.equal(killed.signal, 'SIGKILL')
  assert.equal(claimsIn(state).length, 2)
  const { code, said } = await luge('certificates', '--state', state)
  assert.equal(code, 0, said)
  assert.deepEqual(claimsIn(state), [])
})

test('however many want the lock, one has it at a time, and no claim is left', async () => {
  const state = scratch()
  let inside = 0
  let most = 0
  let done = 0
  const workers = Array.from({ length: 8 }, async () => {
    for (let tries = 0; tries < 30; tries += 1) {
      const worked = await withLock(lockOf(state), async () => {
        inside += 1
        most = Math.max(most, inside)
        await systemClock.sleep(2)
        inside -= 1
        return ok(null)
      })
      if (worked.ok) done += 1
      else assert.equal(worked.error, 'in_use')
      if (worked.ok) return
    }
  })
  await Promise.all(workers)
  assert.equal(most, 1)
  assert.equal(done, 8)
  assert.deepEqual(claimsIn(state), [])
})

test('a command that fails leaves what was there, and nothing that was not', async () => {
  const state = scratch()
  const failed = await withLock(lockOf(state), async () => err('busy', 'no'))
  assert.ok(!failed.ok)
  assert.deepEqual(readdirSync(state), [])
  const absent = join(state, 'absent')
  assert.ok(!(await withLock(lockOf(absent), async () => err('busy', 'no'))).ok)
  assert.ok(!existsSync(absent), 'the directory was made for the lock alone')
  const file = join(state, 'file')
  writeFileSync(file, '')
  const blocked = await withLock(lockOf(join(file, 'rack')), async () => ok(null))
  assert.ok(!blocked.ok && blocked.error === 'state_unusable')
})

test('a state directory in the repository is recognized, also by another name', () => {
  const elsewhere = scratch()
  assert.ok(isInside(repository, repository))
  assert.ok(isInside(repository, join(repository, 'out/rack')))
  assert.ok(isInside(repository, join(repository, 'not/there/yet')))
  assert.ok(!isInside(repository, `${repository}-state`))
  assert.ok(!isInside(repository, join(repository, '..')))
  assert.ok(!isInside(repository, join(elsewhere, 'rack')))
  mkdirSync(join(elsewhere, 'repository/inner'), { recursive: true })
  symlinkSync(join(elsewhere, 'repository'), join(elsewhere, 'alias'))
  assert.ok(isInside(join(elsewhere, 'repository'), join(elsewhere, 'alias/rack')))
})

test('certificates that end soon, or do not hold, are warned of by name', async () => {
  const { state, plan } = await plannedRack()
  const now_ms = systemClock.now()
  assert.deepEqual(await certificateWarnings(state, plan, now_ms), [])
  const [sled] = plan.sleds
  const late = await certificateWarnings(state, plan, now_ms + 340 * day_ms)
  assert.equal(late.length, 2)
  assert.match(late[0] ?? '', new RegExp(`^the certificates of ${sled?.id} hold until 20`))
  rmSync(join(state, 'sled1/tls/key.pem'))
  const [missing] = await certificateWarnings(state, plan, now_ms)
  assert.match(missing ?? '', /sled1\/tls\/key\.pem cannot be read/)
  const { said } = await luge('status', '--state', state)
  assert.match(said, /^luge: warning: .*sled1\/tls\/key\.pem cannot be read/)
})
