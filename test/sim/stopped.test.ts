/**
 * A member of Nexus that stands still in the middle of two starts, for so long that another one takes them
 * over and ends them, and that goes on when one of the instances is stopped and the other deleted. What it
 * then asks of the sled is not done. It is held up in the middle by tables that are locked.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { limits } from '#config/limits.ts'
import { readGuests } from '#native/sim/vmm.ts'
import { startPostgres, type Postgres } from '#test/kit/postgres.ts'
import { attempt, TestRack, until } from '#test/kit/rack.ts'

const project = '/organizations/myorg/projects/myproj'
/** The usual is half of it; a statement is waited for no longer than `store_answer_ms_max`. */
const takeover_ms_max = limits.store_answer_ms_max - 2_000
let postgres: Postgres
let rack: TestRack
let url = ''
before(async () => {
  postgres = await startPostgres()
  url = await postgres.newDatabase()
  rack = new TestRack('sim', url, 2)
  await rack.up()
  await rack.prepare()
})
after(async () => {
  await rack.destroy()
  await postgres.stop()
})

const stateOf = async (name: string) =>
  JSON.parse((await rack.ask(0, 'GET', `${project}/instances/${name}`)).text).run_state
const becomes = async (name: string, run_state: string) => {
  await until(`${name} is ${run_state}`, 10_000, async () =>
    (await stateOf(name)) === run_state ? true : null,
  )
}
const sqlSays = async (sql: string) => await postgres.psql(url, sql)

/** Locks a table; gives back what ends that. */
async function lock(table: string): Promise<() => Promise<void>> {
  const sql = `begin; lock table ${table} in access exclusive mode; select pg_sleep(60)`
  const held = postgres.psql(url, sql).catch(() => 'ended')
  const holder = `from pg_stat_activity where query = '${sql}' and wait_event = 'PgSleep'`
  await until(`${table} is locked`, 10_000, async () =>
    (await sqlSays(`select count(*) ${holder}`)) === '1' ? true : null,
  )
  return async () => {
    await sqlSays(`select pg_terminate_backend(pid) ${holder}`)
    await held
  }
}
/**
 * Waits until two statements that begin like this wait for a lock, each asked for by somebody who waits for
 * its answer: on the connection that short reads share the second is behind the first, and is not seen; after
 * that was given up, the database waits on for nobody. So it is seen when both are asked over connections of
 * their own.
 */
async function untilTwoWait(statement: string): Promise<void> {
  const waiting = `from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'nexus'`
  await until(`two wait: ${statement}`, 2 * limits.store_lane_ms_max, async () =>
    Number(await sqlSays(`select count(*) ${waiting} and query like '${statement}%'`)) >= 2
      ? true
      : null,
  )
}
const running = () => {
  const guests = [...readGuests(join(rack.state, 'sled1', 'guests.json'))]
  return guests.filter(([, { isRunning }]) => isRunning).map(([id]) => id)
}

test('what a member asks of a sled once its sagas are another’s is not done', async (t) => {
  const made = { description: 'x', memory: 1_073_741_824, ncpus: 1, disks: [], start: false }
  for (const name of ['stays', 'goes']) {
    const body = { ...made, name, hostname: name }
    assert.equal((await rack.ask(0, 'POST', `${project}/instances`, body)).status, 201)
  }
  const openNics = await lock('network_interface')
  const starts = ['stays', 'goes'].map(
    async (name) => await rack.ask(1, 'POST', `${project}/instances/${name}/start`),
  )
  await untilTwoWait('select * from "network_interface" where "instance_id"')
  const second = rack.zonePid('oxz_nexus2')
  t.after(() => attempt('kill', ['-CONT', String(second)]))
  process.kill(second, 'SIGSTOP')
  await openNics()

  const left = "select count(*) from saga where name = 'instance-start' and state <> 'succeeded'"
  await until('the first has ended the starts', takeover_ms_max, async () =>
    (await sqlSays(left)) === '0' ? true : null,
  )
  for (const name of ['stays', 'goes']) {
    await becomes(name, 'running')
    assert.equal((await rack.ask(0, 'POST', `${project}/instances/${name}/stop`)).status, 202)
    await becomes(name, 'stopped')
  }
  assert.equal((await rack.ask(0, 'DELETE', `${project}/instances/goes`)).status, 204)

  // It goes on, and is held up again until the sled has come back to it.
  const openSubnets = await lock('vpc_subnet')
  const seen = await sqlSays('select time_modified_ms from sled')
  process.kill(second, 'SIGCONT')
  await untilTwoWait('select "ipv4_block" from "vpc_subnet"')
  await until('the sled is linked with the second', 20_000, async () =>
    (await sqlSays('select time_modified_ms from sled')) === seen ? null : true,
  )
  await openSubnets()
  const statuses = await Promise.all(starts.map(async (start) => (await start).status))
  assert.deepEqual(statuses, [503, 503])

  // The sled's own word, asked after what came late.
  const reboot = await rack.ask(0, 'POST', `${project}/instances/stays/reboot`)
  assert.equal(JSON.parse(reboot.text).message, 'cannot reboot instance in state "stopped"')
  assert.equal((await rack.ask(0, 'GET', `${project}/instances/goes`)).status, 404)
  assert.deepEqual(running(), [])
  assert.equal((await rack.ask(0, 'POST', `${project}/instances/stays/start`)).status, 202)
  await becomes('stays', 'running')
})
