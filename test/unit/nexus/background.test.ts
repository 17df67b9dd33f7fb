/** Background tasks: what each does, and that one member at a time does it. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { Background, type Task } from '#actors/nexus/background.ts'
import { tasks } from '#actors/nexus/tasks.ts'
import { limits } from '#config/limits.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

const run = async ({ services }: TestNexus, name: string, isWhole: boolean) => {
  const task = tasks.find((known) => known.name === name)
  assert.ok(task !== undefined, name)
  return await task.run(services, isWhole)
}

async function withInstance(t: TestContext): Promise<TestNexus> {
  const nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  await nexus.ok('POST', `${project}/instances`, instanceBody())
  await until('it runs', 5_000, async () =>
    (await nexus.ok('GET', `${project}/instances/myinst`)).run_state === 'running' ? true : null,
  )
  return nexus
}

test('rules that a port missed are sent again, and then no more', async (t) => {
  const nexus = await withInstance(t)
  const rule = {
    name: 'only-this',
    description: 'x',
    status: 'enabled',
    direction: 'inbound',
    targets: [{ type: 'vpc', value: 'default' }],
    filters: { ports: ['8080'], protocols: ['TCP'], hosts: null },
    action: 'allow',
    priority: 7,
  }
  const portsOfRules = () =>
    [...nexus.ports.specs.values()].flatMap(({ firewall_rules }) =>
      firewall_rules.map(({ filter_ports }) => filter_ports),
    )
  await until('nothing is owed', 5_000, async () =>
    (await run(nexus, 'propagation', false)) === null ? true : null,
  )
  nexus.ports.faults.add('setRules')
  await nexus.ok('PUT', `${project}/vpcs/default/firewall/rules`, { rules: [rule] })
  assert.equal(await run(nexus, 'propagation', false), '0 of 1 sent')
  nexus.ports.faults.clear()
  assert.equal(await run(nexus, 'propagation', false), '1 of 1 sent')
  assert.deepEqual(portsOfRules(), [['8080']])
  assert.equal(await run(nexus, 'propagation', false), null)
  // Whoever takes over believes nobody.
  assert.equal(await run(nexus, 'propagation', true), '1 of 1 sent')
})

test('a guest that its sled has lost is started again, and a report that was lost is made up for', async (t) => {
  const nexus = await withInstance(t)
  const { id } = await nexus.ok('GET', `${project}/instances/myinst`)
  await nexus.store
    .updateTable('instance')
    .set({ run_state: 'stopping', gen: 1 })
    .where('id', '=', id)
    .execute()
  assert.equal(await run(nexus, 'instances', true), null)
  assert.equal((await nexus.ok('GET', `${project}/instances/myinst`)).run_state, 'running')
  const [sled = ''] = nexus.services.sleds.connected
  const gone = await nexus.services.sleds
    .instance(sled, id)
    .call('destroy', null, { timeout_ms: 5_000 })
  assert.ok(gone.ok)
  assert.equal(await run(nexus, 'instances', true), '1 instances were told again what is wanted')
  await until('it runs again', 5_000, async () => {
    const listed = await nexus.vmm.list()
    return listed.ok && listed.value.length === 1 ? true : null
  })
})

test('sessions that ended and logins that nobody confirmed are removed, others stay', async (t) => {
  const nexus = await TestNexus.during(t)
  const now = Date.now()
  const hours = (count: number) => now - count * 60 * 60 * 1_000
  const sessions = [
    { token_hash: 'fresh', time_created_ms: now, time_last_used_ms: now },
    { token_hash: 'idle', time_created_ms: hours(3), time_last_used_ms: hours(2) },
    { token_hash: 'old', time_created_ms: hours(9), time_last_used_ms: now },
  ].map((row) => ({ ...row, silo_user_id: 'somebody' }))
  await nexus.store.insertInto('console_session').values(sessions).execute()
  const requests = [
    { user_code: 'A', device_code: 'a', time_expires_ms: now + 60_000 },
    { user_code: 'B', device_code: 'b', time_expires_ms: now - limits.device_expired_kept_ms - 1 },
  ].map((row) => ({ ...row, client_id: 'c', time_created_ms: now, silo_user_id: null }))
  await nexus.store.insertInto('device_auth_request').values(requests).execute()
  assert.equal(await run(nexus, 'expiry', false), '3 rows that had expired are gone')
  const left = [
    ...(await nexus.store.selectFrom('console_session').select('token_hash as name').execute()),
    ...(await nexus.store.selectFrom('device_auth_request').select('user_code as name').execute()),
  ]
  assert.deepEqual(
    left.map(({ name }) => name),
    ['fresh', 'A'],
  )
  assert.equal(await run(nexus, 'expiry', false), null)
})

test('however much has expired, a run removes a bounded number and the task can be stopped', async (t) => {
  const nexus = await TestNexus.during(t)
  const bound = limits.sweep_rows_max * limits.sweep_batches_max
  const insert = async (count: number) => {
    const expired = { client_id: 'c', time_created_ms: 0, time_expires_ms: 0, silo_user_id: null }
    for (let from = 0; from < count; from += limits.sweep_rows_max) {
      const length = Math.min(limits.sweep_rows_max, count - from)
      const rows = Array.from({ length }, (_, index) => ({
        ...expired,
        user_code: `u${from + index}`,
        device_code: `d${from + index}`,
      }))
      await nexus.store.insertInto('device_auth_request').values(rows).execute()
    }
  }
  const left = async () =>
    (await nexus.store.selectFrom('device_auth_request').select('user_code').execute()).length
  await insert(bound + 3)
  assert.equal(await run(nexus, 'expiry', false), `${bound} rows that had expired are gone`)
  assert.equal(await run(nexus, 'expiry', false), '3 rows that had expired are gone')

  await insert(bound + 3)
  const expiry = tasks.filter(({ name }) => name === 'expiry')
  const background = new Background(nexus.services, expiry)
  background.start()
  await until('it has begun', 5_000, async () => ((await left()) < bound ? true : null))
  await background.stop()
  assert.equal(await left(), 3)
})

test('a saga that a member left is taken over', async (t) => {
  const nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  nexus.block.faults.add('destroy')
  await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  assert.equal((await nexus.call('DELETE', `${project}/disks/alpine`)).status, 503)
  const left = nexus.services
  const next = await nexus.makeServices()
  await left.member.stop()
  nexus.block.faults.clear()
  const task = tasks.find(({ name }) => name === 'saga-adoption')
  assert.equal(await task?.run(next, false), '1 sagas taken over')
  assert.equal((await nexus.call('GET', `${project}/disks/alpine`)).status, 404)
})

test('one member at a time runs a task; when it leaves, the next begins with a whole round', async (t) => {
  const running: Background[] = []
  // Before the store that they use: hooks run in their order.
  t.after(async () => {
    for (const background of running) await background.stop()
  })
  const nexus = await TestNexus.during(t)
  const first = nexus.services
  const second = await nexus.makeServices(() => undefined, 'another-member')
  let runs = 0
  const ran: string[] = []
  const task: Task = {
    name: 'lamp',
    period_ms: 5,
    run: async ({ member, clock }, isWhole) => {
      runs += 1
      assert.equal(runs, 1, 'nobody else runs it')
      ran.push(`${member === first.member ? 'first' : 'second'}${isWhole ? ' whole' : ''}`)
      await clock.sleep(5)
      runs -= 1
      return null
    },
  }
  const one = new Background(first, [task])
  running.push(one)
  one.start()
  await until('the first runs it', 5_000, () => (ran.length > 3 ? true : null))
  const other = new Background(second, [task])
  running.push(other)
  other.start()
  await until('it goes on', 5_000, () => (ran.length > 20 ? true : null))
  assert.deepEqual([...new Set(ran)], ['first whole', 'first'])
  await one.stop()
  await until('the second runs it', 5_000, () => (ran.includes('second') ? true : null))
  assert.deepEqual([...new Set(ran)], ['first whole', 'first', 'second whole', 'second'])
  const row = await nexus.store.selectFrom('background_task').selectAll().executeTakeFirstOrThrow()
  assert.deepEqual([row.generation, row.member], [2, 'another-member'])
})
