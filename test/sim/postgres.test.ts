/** A rack whose store is PostgreSQL: the database is shut down under it and comes back. */
import assert from 'node:assert/strict'
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { request } from 'undici'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { sh, TestRack, until } from '#test/kit/rack.ts'

let postgres: Postgres
let rack: TestRack
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
  rack = new TestRack('sim', url.replace('luge@', 'luge:hushhush@'))
  await rack.up()
})
after(async () => {
  await rack.destroy()
  await postgres.stop()
})

/** The status of a request for the organization; 0 when nobody answers. */
const status = async (): Promise<number> => {
  const { OXIDE_HOST, OXIDE_TOKEN } = rack.env
  const headers = { authorization: `Bearer ${OXIDE_TOKEN}` }
  const answer = await request(`${OXIDE_HOST}/organizations/myorg`, { headers }).catch(() => null)
  await answer?.body.dump()
  return answer?.statusCode ?? 0
}
const answers = async (wanted: number) => {
  await until(`the answer is ${wanted}`, 30_000, async () =>
    (await status()) === wanted ? true : null,
  )
}

test('what the API makes is in the database', async () => {
  await rack.oxide('org', 'create', 'myorg', '-D', 'an organization')
  assert.equal(await postgres.psql(url, 'select name from organization'), 'myorg')
})

test('the password is in no command line and no log, and in files for their owner only', async () => {
  const lines = await sh('ps', ['-A', '-ww', '-o', 'args'])
  assert.match(lines, /nexus\.ts/)
  assert.doesNotMatch(lines, /hushhush/)
  const files = globSync('**/*', { cwd: rack.state })
    .map((path) => join(rack.state, path))
    .filter((path) => statSync(path).isFile() && readFileSync(path).includes('hushhush'))
  assert.deepEqual(files.toSorted(), [
    join(rack.state, 'nexus/config.toml'),
    join(rack.state, 'rack.json'),
  ])
  for (const file of files) assert.equal(statSync(file).mode & 0o077, 0, file)
})

test('while the database is away the API says so, and Nexus lives on', async () => {
  const nexus = rack.zonePid('oxz_nexus')
  await postgres.kill()
  await answers(503)
  await postgres.start()
  await answers(200)
  assert.equal(rack.zonePid('oxz_nexus'), nexus)
})

test('a Nexus that starts before its database waits for it', async () => {
  const nexus = rack.zonePid('oxz_nexus')
  await postgres.kill()
  process.kill(nexus, 'SIGKILL')
  await until('another Nexus has started', 30_000, () =>
    rack.zonePid('oxz_nexus') === nexus ? null : true,
  )
  await answers(503)
  const log = readFileSync(join(rack.state, 'nexus/nexus.log'), 'utf8')
  assert.match(log, /the store is waited for/)
  await postgres.start()
  await answers(200)
})
