/** A rack whose store is PostgreSQL: the database is shut down under it and comes back. */
import assert from 'node:assert/strict'
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { request } from 'undici'
import { explain } from '#runtime/result.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { repository, sh, TestRack, until } from '#test/kit/rack.ts'

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

test('a request that waits for the database is told of with the statement that it waits for', async () => {
  const hold = 'begin; lock table organization in access exclusive mode; select pg_sleep(60)'
  const holding = postgres.psql(url, hold).catch(() => 'ended')
  const holder = "from pg_stat_activity where query like 'begin; lock%' and wait_event = 'PgSleep'"
  await until('the table is locked', 10_000, async () =>
    (await postgres.psql(url, `select count(*) ${holder}`)) === '1' ? true : null,
  )
  let waiting = status()
  const words = ['why', 'organization_view', '--state', rack.state]
  const told = await until('somebody waits', 40_000, async () => {
    const said = await sh(join(repository, 'tools/luge'), words).catch(explain)
    if (said.includes('waits for the store')) return said
    // The database ends what waits too long for a slow look.
    waiting = status()
    return null
  })
  assert.match(
    told,
    /organization_view \(request [0-9a-f-]+\) waits for the store: select .*"organization".*, for \d+\.\d s\./,
  )
  assert.doesNotMatch(told, /myorg/, 'parameters are nobody’s business')
  await postgres.psql(url, `select pg_terminate_backend(pid) ${holder}`)
  assert.equal(await waiting, 200)
  assert.equal(await holding, 'ended')
  const afterwards = await sh(join(repository, 'tools/luge'), words).catch(explain)
  assert.match(afterwards, /nothing here works on, or waits for, what has organization_view/)
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
