/** What a request for an instance must satisfy, in Omicron's order and words, and what becomes of it. */
import type { Static } from 'typebox'
import { limits } from '#config/limits.ts'
import type { instanceCreate, networkInterfaceCreate } from '../api/contract/instances.ts'
import type { Actor, Services } from '../context.ts'
import { newRow } from '../context.ts'
import { planDisk } from '../storage/disk-plan.ts'
import { placeOnSled } from '../storage/disks.ts'
import { invalidRequest, invalidValue } from '#actors/http/errors.ts'
import type { Project } from '../lookup.ts'
import type { NicGiven } from '../networking/nics.ts'
import { prepare } from '../store/prepare.ts'
import type { DiskPlan } from '../sagas/disk-create.ts'
import type { InstanceCreateParams } from '../sagas/instance-create.ts'

const gib_bytes = limits.size_step_bytes
type NicCreate = Static<typeof networkInterfaceCreate>
export type InstanceCreate = Static<typeof instanceCreate>

/** Checks a request and decides everything that the saga will need to know. */
export async function planInstance(
  services: Services,
  actor: Actor,
  project: Project,
  body: InstanceCreate,
): Promise<InstanceCreateParams> {
  checkLimits(body)
  const nics = nicsFor(services, body)
  const row = newRow(services, body)
  const planned = await plannedDisks({ services, actor }, body)
  const { sled_id, has_far_disks } = await placeInstance(services, project, { body, planned })
  const create_disks = planned.map((plan) => ({
    disk_id: services.random.uuid(),
    project_id: project.id,
    sled_id: plan.sled_id ?? sled_id,
    plan,
    now_ms: services.clock.now(),
  }))
  return {
    instance: {
      ...row,
      project_id: project.id,
      sled_id,
      propolis_id: services.random.uuid(),
      ncpus: body.ncpus,
      memory_bytes: body.memory,
      hostname: body.hostname,
      user_data: body.user_data ?? '',
      public_keys: JSON.stringify(await keysOf(services, actor)),
      run_state: 'creating',
      time_run_state_updated_ms: row.time_created_ms,
      gen: 1,
      pending_target: null,
      migration_id: null,
    },
    nics,
    snat_id: services.random.uuid(),
    external_ips: (body.external_ips ?? []).map(({ pool_name }) => ({
      id: services.random.uuid(),
      pool_name: pool_name ?? null,
    })),
    create_disks,
    attach_disks: (body.disks ?? []).map((disk) => disk.name),
    has_far_disks,
    start: body.start ?? true,
  }
}

function checkLimits(body: InstanceCreate): void {
  if ((body.disks ?? []).length > limits.instance_disks_max) {
    throw invalidRequest('cannot attach more than 8 disks to instance!')
  }
  if ((body.external_ips ?? []).length > limits.instance_external_ips_max) {
    throw invalidRequest('An instance may not have more than 1 external IP addresses')
  }
  if (body.network_interfaces?.type === 'create') {
    const { params } = body.network_interfaces
    if (params.length > limits.instance_nics_max) {
      throw invalidRequest('An instance may not have more than 8 network interfaces')
    }
    if (new Set(params.map(({ vpc_name }) => vpc_name)).size !== 1) {
      throw invalidRequest('All interfaces must be in the same VPC')
    }
  }
  if (body.ncpus < 1) throw invalidValue('ncpus', 'an instance needs at least one CPU')
  if (body.memory < gib_bytes) throw invalidValue('size', 'memory must be at least 1 GiB')
  if (body.memory % gib_bytes !== 0) {
    throw invalidValue('size', 'memory must be divisible by 1 GiB')
  }
}

function nicsFor(services: Services, body: InstanceCreate): readonly NicGiven[] {
  const asked = body.network_interfaces ?? { type: 'default' }
  switch (asked.type) {
    case 'none':
      return []
    case 'default':
      return [
        {
          id: services.random.uuid(),
          name: 'net0',
          description: `default primary interface for ${body.name}`,
          vpc_name: 'default',
          subnet_name: 'default',
          ip: null,
        },
      ]
    case 'create':
      return asked.params.map((nic: NicCreate) => ({
        id: services.random.uuid(),
        name: nic.name,
        description: nic.description,
        vpc_name: nic.vpc_name,
        subnet_name: nic.subnet_name,
        ip: nic.ip ?? null,
      }))
  }
}

/** The disks that are made with the instance. */
async function plannedDisks(
  caller: { readonly services: Services; readonly actor: Actor },
  body: InstanceCreate,
): Promise<readonly DiskPlan[]> {
  const planned: DiskPlan[] = []
  for (const disk of body.disks ?? []) {
    if (disk.type === 'create') planned.push(await planDisk(caller, disk))
  }
  return planned
}

/**
 * Where most of the bytes of an instance's disks are, or of what they are copies of; anywhere when that says
 * nothing. What is elsewhere comes there.
 */
async function placeInstance(
  services: Services,
  project: Project,
  { body, planned }: { readonly body: InstanceCreate; readonly planned: readonly DiskPlan[] },
): Promise<{ readonly sled_id: string; readonly has_far_disks: boolean }> {
  const names = (body.disks ?? []).flatMap((disk) => (disk.type === 'attach' ? [disk.name] : []))
  const attached =
    names.length === 0
      ? []
      : await services.store
          .selectFrom('disk')
          .select(['sled_id', 'size_bytes'])
          .where('project_id', '=', project.id)
          .where('name', 'in', names)
          .where('time_deleted_ms', 'is', null)
          .orderBy('name')
          .execute()
  const bytes = new Map<string, number>()
  for (const { sled_id, size_bytes } of [...attached, ...planned]) {
    if (sled_id !== null) bytes.set(sled_id, (bytes.get(sled_id) ?? 0) + size_bytes)
  }
  const [most] = [...bytes].toSorted(([, a], [, b]) => b - a)
  return { sled_id: most?.[0] ?? placeOnSled(services), has_far_disks: bytes.size > 1 }
}

const firstKeys = prepare((store, { user_id }: { readonly user_id: string }) =>
  store
    .selectFrom('ssh_key')
    .select('public_key')
    .where('silo_user_id', '=', user_id)
    .where('time_deleted_ms', 'is', null)
    .orderBy('name')
    .limit(limits.instance_ssh_keys_max),
)

async function keysOf(services: Services, actor: Actor): Promise<readonly string[]> {
  const rows = await firstKeys(services.store, { user_id: actor.user_id })
  return rows.map(({ public_key }) => public_key)
}
