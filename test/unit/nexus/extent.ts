/** What there is of a project: in the store and on the sleds, as lines that two projects can be compared by. */
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
    .select(['id', 'name', 'run_state', 'pending_target', 'migration_id', 'sled_id'])
    .where('project_id', '=', id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  const { guests, volumes } = await sledOf(nexus)
  if (nexus.sleds.length > 1) lines.push(...(await sledLines(nexus, id)))
  for (const { id: instance_id, name, run_state, pending_target } of instances) {
    const nics = await liveOf(nexus, 'network_interface', instance_id)
    const ips = await liveOf(nexus, 'external_ip', instance_id)
    const ports = nics.filter((nic) => nexus.sleds.some((sled) => sled.ports.specs.has(nic)))
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

/** On which sleds the parts of instances and disks are, and which the records name. */
async function sledLines({ store, sleds }: TestNexus, project_id: string) {
  const lines: string[] = []
  const place = (sled_id: string | null) => sleds.findIndex(({ id }) => id === sled_id) + 1
  const instances = await store
    .selectFrom('instance')
    .selectAll()
    .where('project_id', '=', project_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id, name, sled_id, propolis_id, migration_id } of instances) {
    const migrates = migration_id === null ? 'stays' : 'migrates'
    lines.push(`instance ${name} is of sled ${place(sled_id)} and ${migrates}`)
    for (const { id: at, vmm, ports } of sleds) {
      const found = await vmm.find(id)
      assert.ok(found.ok)
      if (found.value === null) continue
      const { state } = found.value
      const whose = found.value.propolis_id === propolis_id ? 'its own' : 'another'
      const specs = [...ports.specs.values()].filter(({ instance_id }) => instance_id === id)
      const ips = specs.flatMap(({ external_ips }) => external_ips).length
      lines.push(
        `instance ${name} on sled ${place(at)}: ${state}, ${whose} propolis, ${specs.length} ports, ${ips} external`,
      )
    }
  }
  const disks = await store
    .selectFrom('disk')
    .select(['id', 'name', 'sled_id'])
    .where('project_id', '=', project_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id, name, sled_id } of disks) {
    lines.push(`disk ${name} is of sled ${place(sled_id)}`)
    for (const { id: at, block } of sleds) {
      const content = block.contentOf(id)
      if (content !== null) lines.push(`disk ${name} on sled ${place(at)} holds ${content}`)
    }
  }
  return lines
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

async function sledOf({ sleds }: Pick<TestNexus, 'sleds'>) {
  const [guests, volumes] = [new Set<string>(), new Set<string>()]
  for (const { vmm, block } of sleds) {
    const [machines, disks] = [await vmm.list(), await block.list()]
    assert.ok(machines.ok && disks.ok)
    for (const { instance_id } of machines.value) guests.add(instance_id)
    for (const { id } of disks.value) volumes.add(id)
  }
  return { guests, volumes }
}

/** What a sled has, also in its journal, of what the records say is another's. */
async function strayOn({ store }: TestNexus, sled: TestNexus['sleds'][number]) {
  const stray: string[] = []
  const { guests, volumes } = await sledOf({ sleds: [sled] })
  const has = (kind: string, id: string) => sled.world.entries.has(`${kind}/${id}`)
  for (const table of ['instance', 'disk'] as const) {
    const others = await store
      .selectFrom(table)
      .select('id')
      .where('sled_id', '!=', sled.id)
      .where('time_deleted_ms', 'is', null)
      .execute()
    for (const { id } of others) {
      if (guests.has(id) || volumes.has(id) || has(table, id)) {
        stray.push(`${table} ${id} of another sled`)
      }
    }
  }
  const nics = await store
    .selectFrom('network_interface')
    .innerJoin('instance', 'instance.id', 'network_interface.instance_id')
    .select('network_interface.id')
    .where('instance.sled_id', '!=', sled.id)
    .execute()
  for (const { id } of nics) {
    if (sled.ports.specs.has(id) || has('vnic', id)) stray.push(`port ${id} of another sled`)
  }
  return stray
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
  const leaks: string[] = []
  const expect = (what: string, found: Iterable<string>, known: ReadonlySet<string>) => {
    for (const id of found) if (!known.has(id)) leaks.push(`${what} ${id}`)
  }
  const owners = new Set([...disks, ...(await ids('snapshot')), ...(await ids('image'))])
  for (const sled of nexus.sleds) {
    const { guests, volumes } = await sledOf({ sleds: [sled] })
    expect('guest of', guests, instances)
    expect('volume of', volumes, owners)
    expect('port of', sled.ports.specs.keys(), nics)
    for (const [kind, known] of [
      ['instance', instances],
      ['disk', owners],
      ['vnic', nics],
    ] as const) {
      const journaled = [...sled.world.entries.values()].filter((entry) => entry.kind === kind)
      expect(
        `journal of ${kind}`,
        journaled.map(({ id }) => id),
        known,
      )
    }
    leaks.push(...(await strayOn(nexus, sled)))
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
