/**
 * Three members of Nexus in zones of their own, on one PostgreSQL that they reach through its unix
 * socket: any of them serves, and one that is killed with -9 in the middle of its work is missed by nobody.
 */
import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { leftovers, repository, sh, TestRack, until } from '#test/kit/rack.ts'

const zones = ['oxz_nexus', 'oxz_nexus2', 'oxz_nexus3']
const project = '/organizations/myorg/projects/myproj'
const settle_ms_max = 30_000

let postgres: Postgres
let rack: TestRack
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
  rack = new TestRack('linux', url, zones.length)
})
after(async () => {
  await rack.destroy()
  await postgres.stop()
})

interface Status {
  readonly zones: ReadonlyArray<{ readonly name: string; readonly pid: number | null }>
}

async function zonePid(name: string): Promise<number | null> {
  const words = ['rack', 'status', '--json', '--state', rack.state]
  const status = JSON.parse(await sh(join(repository, 'tools/luge'), words)) as Status
  return status.zones.find((zone) => zone.name === name)?.pid ?? null
}

test('a socket that the zones may not reach is refused with what to do, and nothing is left', async () => {
  await assert.rejects(rack.up(), ({ stderr }: { stderr: string }) =>
    stderr.includes(
      `--store: the zones of Nexus may not enter ${postgres.host}, where its socket is`,
    ),
  )
  assert.deepEqual(leftovers(rack.tag, rack.state), [])
  chmodSync(postgres.host, 0o711)
})

test('what one member makes, every member serves', async () => {
  await rack.up()
  await rack.prepare()
  for (const member of zones.keys()) {
    const { status, text } = await rack.ask(member, 'GET', project)
    assert.equal(status, 200, text)
  }
  const live = "select count(*) from cluster_member where status = 'live'"
  assert.equal(await postgres.psql(url, live), String(zones.length))
})

test('kill -9 of a member in the middle of a saga: the others serve, and the saga ends', async () => {
  const victim = 1
  const pid = await zonePid(zones[victim] ?? '')
  assert.ok(pid !== null)
  const asked = rack.ask(victim, 'POST', `${project}/instances`, {
    name: 'guest',
    description: 'x',
    hostname: 'guest',
    memory: 1024 ** 3,
    ncpus: 1,
    disks: [
      {
        type: 'create',
        name: 'disk',
        description: 'x',
        size: 1024 ** 3,
        disk_source: { type: 'blank', block_size: 512 },
      },
    ],
  })
  const [id = '', owner = ''] = await until('its saga runs', settle_ms_max, async () => {
    const sql = "select id, owner from saga where state = 'running' and name = 'instance-create'"
    const row = await postgres.psql(url, sql)
    return row === '' ? null : row.split('|')
  })
  process.kill(pid, 'SIGKILL')
  assert.equal((await asked).status, 0, 'nobody was told that it is done')
  for (const other of [0, 2]) assert.equal((await rack.ask(other, 'GET', project)).status, 200)

  const saga = async () =>
    await postgres.psql(url, `select state, owner from saga where id = '${id}'`)
  const [state, ender] = await until('the saga has ended', settle_ms_max, async () => {
    const [now = '', by = ''] = (await saga()).split('|')
    return now === 'running' || now === 'unwinding' ? null : [now, by]
  })
  assert.equal(state, 'succeeded')
  assert.notEqual(ender, owner, 'a session that is over ends nothing')
  const guest = await until('the guest runs', settle_ms_max, async () => {
    const { text } = await rack.ask(0, 'GET', `${project}/instances/guest`)
    const { run_state } = JSON.parse(text) as { run_state: string }
    return run_state === 'running' ? run_state : null
  })
  assert.equal(guest, 'running')

  const again = await until('its zone runs again', settle_ms_max, async () => {
    const now = await zonePid(zones[victim] ?? '')
    return now === pid ? null : now
  })
  assert.notEqual(again, pid)
  await until('it serves again', settle_ms_max, async () =>
    (await rack.ask(victim, 'GET', project)).status === 200 ? true : null,
  )
})

test('rack down leaves nothing of the three but the database, which is the operator’s', async () => {
  const { tag, state } = rack
  await rack.down()
  assert.deepEqual(leftovers(tag, state), [])
  assert.equal(
    await postgres.psql(url, 'select name from project where time_deleted_ms is null'),
    'myproj',
  )
})
