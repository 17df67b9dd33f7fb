/** Many callers at once: everybody gets something of their own, and nobody a half. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { project, TestNexus } from './kit.ts'

let nexus: TestNexus
before(async () => {
  nexus = await TestNexus.start()
  await nexus.guide()
})
after(async () => {
  await nexus.stop()
})

/** As many as the guide's pool has addresses for: one each, and a quarter of one for what goes out. */
const many = 10
const all = async <T>(work: (index: number) => Promise<T>) =>
  await Promise.all(Array.from({ length: many }, async (_, index) => await work(index)))
const statusesOf = (answers: ReadonlyArray<{ readonly status: number }>) => {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
const distinct = (values: readonly unknown[]) =>
  new Set(values.map((value) => JSON.stringify(value)))

test('instances that are created at once get addresses, MACs and ports of their own', async () => {
  const answers = await all(
    async (index) =>
      await nexus.call('POST', `${project}/instances`, {
        name: `crowd${index}`,
        description: '',
        hostname: 'crowd',
        memory: 1_073_741_824,
        ncpus: 1,
        start: false,
        external_ips: [{ type: 'ephemeral' }],
      }),
  )
  assert.deepEqual(statusesOf(answers), { 201: many })
  const nics = await nexus.store.selectFrom('network_interface').select(['ip', 'mac']).execute()
  assert.equal(distinct(nics.map(({ ip }) => ip)).size, many)
  assert.equal(distinct(nics.map(({ mac }) => mac)).size, many)
  const ips = await nexus.store.selectFrom('external_ip').select(['ip', 'first_port']).execute()
  assert.equal(distinct(ips).size, 2 * many)
})

test('of those who want one name at once one gets it, and the others are told', async () => {
  const answers = await all(
    async () =>
      await nexus.call('POST', '/organizations/myorg/projects', { name: 'one', description: '' }),
  )
  assert.deepEqual(statusesOf(answers), { 201: 1, 400: many - 1 })
  const vpcs = await nexus.ok('GET', '/organizations/myorg/projects/one/vpcs')
  assert.equal(vpcs.items.length, 1)
})

test('a container is never deleted with something in it, nor filled when it is gone', async () => {
  const names = Array.from({ length: many }, (_, index) => `org${index}`)
  for (const name of names) await nexus.ok('POST', '/organizations', { name, description: '' })
  const outcomes = await Promise.all(
    names.map(async (name) => {
      const [made, gone] = await Promise.all([
        nexus.call('POST', `/organizations/${name}/projects`, { name: 'p', description: '' }),
        nexus.call('DELETE', `/organizations/${name}`),
      ])
      return [made.status, gone.status].join(' ')
    }),
  )
  const orphans = await nexus.store
    .selectFrom('project')
    .innerJoin('organization', 'organization.id', 'project.organization_id')
    .select('organization.name')
    .where('organization.time_deleted_ms', 'is not', null)
    .where('project.time_deleted_ms', 'is', null)
    .execute()
  assert.deepEqual(orphans, [])
  for (const outcome of outcomes) assert.match(outcome, /^(201 400|404 204)$/)
})

test('a project is never deleted with a disk or an instance that has just been made in it', async () => {
  const names = Array.from({ length: many / 2 }, (_, index) => `proj${index}`)
  for (const name of names) {
    await nexus.ok('POST', '/organizations/myorg/projects', { name, description: '' })
  }
  const instance = { name: 'i', description: '', hostname: 'i', memory: 1_073_741_824, ncpus: 1 }
  const disk = { name: 'd', description: '', size: 1_073_741_824 }
  await Promise.all(
    names.map(async (name, index) => {
      const url = `/organizations/myorg/projects/${name}`
      await Promise.all([
        index % 2 === 0
          ? nexus.call('POST', `${url}/instances`, { ...instance, start: false })
          : nexus.call('POST', `${url}/disks`, {
              ...disk,
              disk_source: { type: 'blank', block_size: 512 },
            }),
        nexus.call('DELETE', url),
      ])
    }),
  )
  for (const table of ['instance', 'disk'] as const) {
    const orphans = await nexus.store
      .selectFrom(table)
      .innerJoin('project', 'project.id', `${table}.project_id`)
      .select('project.name')
      .where('project.time_deleted_ms', 'is not', null)
      .where(`${table}.time_deleted_ms`, 'is', null)
      .execute()
    assert.deepEqual(orphans, [])
  }
})
