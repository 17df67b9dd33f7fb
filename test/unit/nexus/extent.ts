/** What there is of a project: in the store and on the sled, as lines that two projects can be compared by. */
import assert from 'node:assert/strict'
import type { TestNexus } from './kit.ts'

/** Live records, volumes, guests and ports of a project, by the names that users gave. */
export async function extentOf(nexus: TestNexus, project: string): Promise<readonly string[]> {
  const { store } = nexus
  const live = await store
    .selectFrom('project')
    .select('id')
    .where('name', '=', project)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (live === undefined) return []
  const { id } = live
  const lines = ['project', ...(await vpcLines(nexus, id))]
  const instances = await store
    .selectFrom('instance')
    .select(['id', 'name', 'run_state', 'pending_target'])
    .where('project_id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const { guests, volumes } = await sledOf(nexus)
  for (const { id: instance_id, name, run_state, pending_target } of instances) {
    const nics = await liveOf(nexus, 'network_interface', instance_id)
    const ips = await liveOf(nexus, 'external_ip', instance_id)
    const ports = nics.filter((nic) => nexus.ports.specs.has(nic))
    const guest = guests.has(instance_id) ? 'guest' : 'no guest'
    lines.push(
      `instance ${name} ${run_state} pending ${pending_target ?? 'nothing'}: ${guest}, ${nics.length} nics, ${ips.length} addresses, ${ports.length} ports`,
    )
  }
  const disks = await store
    .selectFrom('disk')
    .select(['id', 'name', 'state', 'attach_instance_id', 'slot'])
    .where('project_id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id: disk_id, name, state, attach_instance_id, slot } of disks) {
    const owner = instances.find((instance) => instance.id === attach_instance_id)?.name ?? 'nobody'
    const volume = volumes.has(disk_id) ? 'volume' : 'no volume'
    lines.push(`disk ${name} ${state} of ${owner} in slot ${slot ?? '-'}: ${volume}`)
  }
  lines.push(...(await copyLines(nexus, id, volumes)))
  return lines.toSorted()
}

/** Snapshots and images, which are copies of volumes. */
async function copyLines(
  { store }: TestNexus,
  project_id: string,
  volumes: ReadonlySet<string>,
): Promise<readonly string[]> {
  const lines: string[] = []
  for (const table of ['snapshot', 'image'] as const) {
    const rows = await store
      .selectFrom(table)
      .selectAll()
      .where('project_id', '=', project_id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    for (const row of rows) {
      const state = 'state' in row ? row.state : ''
      const volume = volumes.has(row.id) ? 'volume' : 'no volume'
      lines.push(`${table} ${row.name} ${state}: ${volume}`)
    }
  }
  return lines
}

async function vpcLines({ store }: TestNexus, project_id: string): Promise<readonly string[]> {
  const vpcs = await store
    .selectFrom('vpc')
    .select(['id', 'name'])
    .where('project_id', '=', project_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const lines: string[] = []
  for (const { id, name } of vpcs) {
    lines.push(`vpc ${name}`)
    for (const table of ['vpc_subnet', 'vpc_router', 'vpc_firewall_rule'] as const) {
      const rows = await store
        .selectFrom(table)
        .select('name')
        .where('vpc_id', '=', id)
        .where('time_deleted_ms', 'is', null)
        .execute()
      lines.push(...rows.map((row) => `${table} ${row.name}`))
    }
  }
  return lines
}

async function liveOf(
  { store }: TestNexus,
  table: 'network_interface' | 'external_ip',
  instance_id: string,
): Promise<readonly string[]> {
  const rows = await store
    .selectFrom(table)
    .select('id')
    .where('instance_id', '=', instance_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  return rows.map(({ id }) => id)
}

async function sledOf(nexus: TestNexus) {
  const [guests, volumes] = [await nexus.vmm.list(), await nexus.block.list()]
  assert.ok(guests.ok && volumes.ok)
  return {
    guests: new Set(guests.value.map(({ instance_id }) => instance_id)),
    volumes: new Set(volumes.value.map(({ id }) => id)),
  }
}

type LiveTable =
  | 'instance'
  | 'disk'
  | 'snapshot'
  | 'image'
  | 'network_interface'
  | 'vpc'
  | 'project'

/** What the sled, or a record, has of something that is not there: a line each. */
export async function leaksOf(nexus: TestNexus): Promise<readonly string[]> {
  const ids = async (table: LiveTable) =>
    new Set(
      (
        await nexus.store
          .selectFrom(table)
          .select('id')
          .where('time_deleted_ms', 'is', null)
          .execute()
      ).map(({ id }) => id),
    )
  const [instances, disks, nics] = [
    await ids('instance'),
    await ids('disk'),
    await ids('network_interface'),
  ]
  const [vpcs, projects] = [await ids('vpc'), await ids('project')]
  const { guests, volumes } = await sledOf(nexus)
  const leaks: string[] = []
  const expect = (what: string, found: Iterable<string>, known: ReadonlySet<string>) => {
    for (const id of found) if (!known.has(id)) leaks.push(`${what} ${id}`)
  }
  expect('guest of', guests, instances)
  const owners = new Set([...disks, ...(await ids('snapshot')), ...(await ids('image'))])
  expect('volume of', volumes, owners)
  expect('port of', nexus.ports.specs.keys(), nics)
  for (const [kind, known] of [
    ['instance', instances],
    ['disk', owners],
    ['vnic', nics],
  ] as const) {
    const journaled = [...nexus.world.entries.values()].filter((entry) => entry.kind === kind)
    expect(
      `journal of ${kind}`,
      journaled.map(({ id }) => id),
      known,
    )
  }
  for (const table of ['network_interface', 'external_ip'] as const) {
    const rows = await nexus.store
      .selectFrom(table)
      .select('instance_id')
      .where('time_deleted_ms', 'is', null)
      .execute()
    expect(
      `${table} of`,
      rows.map((row) => row.instance_id),
      instances,
    )
  }
  for (const table of ['vpc_subnet', 'vpc_router', 'vpc_firewall_rule'] as const) {
    const rows = await nexus.store
      .selectFrom(table)
      .select('vpc_id')
      .where('time_deleted_ms', 'is', null)
      .execute()
    expect(
      `${table} of`,
      rows.map((row) => row.vpc_id),
      vpcs,
    )
  }
  const held = await nexus.store
    .selectFrom('vpc')
    .select('project_id')
    .where('time_deleted_ms', 'is', null)
    .execute()
  expect(
    'vpc of',
    held.map((row) => row.project_id),
    projects,
  )
  const attached = await nexus.store
    .selectFrom('disk')
    .select('attach_instance_id')
    .where('attach_instance_id', 'is not', null)
    .execute()
  expect(
    'disk attached to',
    attached.map((row) => row.attach_instance_id ?? ''),
    instances,
  )
  return leaks
}
