/** Requests that meet: whoever is first wins, and no guest, volume or address is left without a record. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { specOf } from '#actors/nexus/compute/instances.ts'
import { SagaCrash } from '#actors/nexus/saga-execution.ts'
import { reconcileSled } from '#actors/nexus/reconcile.ts'
import { until } from '#test/kit/rack.ts'
import { diskBody, instanceBody, project, TestNexus } from './kit.ts'

const atRest = { disks: [], external_ips: [], start: false }
const guests = async (nexus: TestNexus) => {
  const listed = await nexus.vmm.list()
  assert.ok(listed.ok)
  return listed.value.length
}

test('start and delete at the same time: one of them is refused, and no guest runs on', async (t) => {
  const nexus = await TestNexus.during(t)
  await nexus.guide()
  for (let turn = 0; turn < 8; turn += 1) {
    const name = `i${turn}`
    const url = `${project}/instances/${name}`
    await nexus.ok('POST', `${project}/instances`, { ...instanceBody(name), ...atRest })
    const calls = [() => nexus.call('POST', `${url}/start`), () => nexus.call('DELETE', url)]
    const order = turn % 2 === 0 ? calls : calls.toReversed()
    const answers = await Promise.all(order.map(async (call) => await call()))
    const [start, gone] = turn % 2 === 0 ? answers : answers.toReversed()
    if (gone?.status === 204) {
      const refusal =
        start?.status === 404 ? /not found/ : /cannot be changed from state "destroyed"/
      assert.match(start?.json.message, refusal)
      assert.equal((await nexus.call('GET', url)).status, 404)
      assert.equal(await guests(nexus), 0)
    } else {
      assert.equal(start?.status, 202)
      assert.match(gone?.json.message, /^instance cannot be deleted in state "(starting|running)"$/)
      await until('it runs', 5_000, async () =>
        (await nexus.ok('GET', url)).run_state === 'running' ? true : null,
      )
      await nexus.ok('POST', `${url}/stop`)
      await until('it is stopped', 5_000, async () =>
        (await nexus.ok('GET', url)).run_state === 'stopped' ? true : null,
      )
      assert.equal((await nexus.call('DELETE', url)).status, 204)
    }
  }
})

test('a delete that a crash cut off is finished when the sled is back', async (t) => {
  const nexus = await TestNexus.during(t)
  await nexus.guide()
  const url = `${project}/instances/myinst`
  const { id } = await nexus.ok('POST', `${project}/instances`, { ...instanceBody(), ...atRest })
  await nexus.store
    .updateTable('instance')
    .set({ pending_target: 'destroyed' })
    .where('id', '=', id)
    .execute()
  const refused = await nexus.call('POST', `${url}/start`)
  assert.equal(refused.json.message, 'instance state cannot be changed from state "destroyed"')
  const [sled] = nexus.services.sleds.connected
  await reconcileSled(nexus.services, sled ?? '')
  assert.equal((await nexus.call('GET', url)).status, 404)
  assert.equal((await nexus.call('DELETE', url)).status, 404)
  const live = await nexus.store
    .selectFrom('external_ip')
    .select('id')
    .where('time_deleted_ms', 'is', null)
    .execute()
  assert.deepEqual(live, [])
})

test('a start that is asked for again while it is under way is one start', async (t) => {
  let isCut = false
  const nexus = await TestNexus.during(t, (node, when) => {
    if (!isCut || node !== 'instance_ensure' || when !== 'before') return
    isCut = false
    throw new SagaCrash('as asked')
  })
  await nexus.guide()
  const url = `${project}/instances/myinst`
  const { id } = await nexus.ok('POST', `${project}/instances`, { ...instanceBody(), ...atRest })
  const propolis = async () =>
    await nexus.store
      .selectFrom('instance')
      .select(['propolis_id', 'pending_target'])
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
  isCut = true
  assert.ok((await nexus.call('POST', `${url}/start`)).status >= 500)
  const begun = await propolis()
  assert.equal(begun.pending_target, 'running')
  const [sled] = nexus.services.sleds.connected
  await reconcileSled(nexus.services, sled ?? '')
  assert.deepEqual(await propolis(), { propolis_id: begun.propolis_id, pending_target: null })
  await until('it runs', 5_000, async () =>
    (await nexus.ok('GET', url)).run_state === 'running' ? true : null,
  )
})

test('a sled that runs a guest whose record is deleted is told to let go of it', async (t) => {
  const nexus = await TestNexus.during(t)
  await nexus.guide()
  const body = { ...instanceBody(), disks: [], external_ips: [] }
  const { id } = await nexus.ok('POST', `${project}/instances`, body)
  await until('it runs', 5_000, async () => ((await guests(nexus)) === 1 ? true : null))
  await nexus.store
    .updateTable('instance')
    .set({ time_deleted_ms: 1 })
    .where('id', '=', id)
    .execute()
  nexus.vmm.exit(id)
  await until('it is let go of', 5_000, async () => ((await guests(nexus)) === 0 ? true : null))
})

test('a start that reaches the sled after its instance was undone leaves no guest', async (t) => {
  const nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  const disks = [{ type: 'create', ...diskBody(image_id) }]
  nexus.block.faults.add('create')
  const body = { ...instanceBody(), disks, external_ips: [] }
  assert.equal((await nexus.call('POST', `${project}/instances`, body)).status, 500)
  const undone = await nexus.store.selectFrom('instance').selectAll().executeTakeFirstOrThrow()
  const spec = await specOf(nexus.services, undone)
  const late = await nexus.services.sleds
    .instance(undone.sled_id, undone.id)
    .call('ensure', { spec, target: 'running', gen: 1 }, { timeout_ms: 5_000 })
  assert.ok(late.ok)
  await until('the sled has nothing of it', 5_000, async () =>
    (await guests(nexus)) === 0 && !nexus.world.entries.has(`instance/${undone.id}`) ? true : null,
  )
})

test('a disk whose volume is going cannot be attached, and is deleted again after a failure', async (t) => {
  const nexus = await TestNexus.during(t)
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${project}/instances`, { ...instanceBody(), ...atRest })
  const disk = await nexus.ok('POST', `${project}/disks`, diskBody(image_id))
  const attach = async () =>
    await nexus.call('POST', `${project}/instances/myinst/disks/attach`, { name: 'alpine' })
  nexus.block.faults.add('destroy')
  assert.equal((await nexus.call('DELETE', `${project}/disks/alpine`)).status, 503)
  const refused = await attach()
  assert.equal(refused.status, 400)
  assert.equal(refused.json.message, 'cannot attach disk "alpine": invalid state destroyed')
  const kept = await nexus.block.find(disk.id)
  assert.ok(kept.ok && kept.value !== null)
  nexus.block.faults.clear()
  assert.equal((await nexus.call('DELETE', `${project}/disks/alpine`)).status, 204)
  const gone = await nexus.block.find(disk.id)
  assert.ok(gone.ok && gone.value === null)
  assert.equal((await attach()).status, 404)
})

test('a disk that is deleted while it is made leaves neither record nor volume', async (t) => {
  const made = Promise.withResolvers<void>()
  const nexus: TestNexus = await TestNexus.during(t, (node, when) => {
    if (node === 'disk_runtime' && when === 'before') made.resolve()
  })
  const { image_id } = await nexus.guide()
  const { create } = nexus.block
  const begun = Promise.withResolvers<void>()
  const mayGoOn = Promise.withResolvers<void>()
  Object.assign(nexus.block, {
    create: async (...given: Parameters<typeof create>) => {
      begun.resolve()
      await mayGoOn.promise
      return await create(...given)
    },
  })
  const asked = nexus.call('POST', `${project}/disks`, diskBody(image_id))
  await begun.promise
  const deleted = nexus.call('DELETE', `${project}/disks/alpine`)
  await until('it is marked', 5_000, async () => {
    const row = await nexus.store.selectFrom('disk').select('state').executeTakeFirst()
    return row?.state === 'destroyed' ? true : null
  })
  mayGoOn.resolve()
  await made.promise
  const [disk, gone] = await Promise.all([asked, deleted])
  assert.deepEqual([disk.status, gone.status], [404, 204])
  const volumes = await nexus.block.list()
  assert.ok(volumes.ok && volumes.value.length === 0)
})
