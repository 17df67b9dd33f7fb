/**
 * Every operation as everybody: each role of each kind, nobody in particular, and without credentials.
 * What is expected is written down here from the specification's tables (§6), not from the code.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { operations, type OperationId } from '#actors/nexus/api/contract/operations.ts'
import { plantRack } from '#actors/nexus/store/built-in.ts'
import { routes } from '#actors/nexus/routes.ts'
import { Idp } from '#test/kit/idp.ts'
import { diskBody, instanceBody, TestNexus } from './kit.ts'

const kinds = ['fleet', 'silo', 'organization', 'project'] as const
type Kind = (typeof kinds)[number]
const levels = ['none', 'viewer', 'collaborator', 'admin'] as const
type Level = (typeof levels)[number]

/** Somebody with one role. */
interface Role {
  readonly kind: Kind
  readonly level: Level
}
const nobody: Role = { kind: 'fleet', level: 'none' }
const roles: readonly Role[] = [
  nobody,
  ...kinds.flatMap((kind) => levels.slice(1).map((level): Role => ({ kind, level }))),
]
const nameOf = ({ kind, level }: Role) => (level === 'none' ? 'nobody' : `${kind}-${level}`)

/** §6.2: collaborators of what contains something administer it, viewers view it. */
const containers: Readonly<Record<Kind, Kind | null>> = {
  fleet: null,
  silo: null,
  organization: 'silo',
  project: 'organization',
}
function levelOn(role: Role, kind: Kind): Level {
  if (role.kind === kind) return role.level
  const container = containers[kind]
  if (container === null) return 'none'
  const above = levelOn(role, container)
  return above === 'collaborator' ? 'admin' : above
}
const reaches = (level: Level, needed: Level) => levels.indexOf(level) >= levels.indexOf(needed)

/** What comes of it: `done` is anything but a refusal. */
type Outcome = 'done' | 401 | 403 | 404
type Rule = (role: Role) => Outcome

const anybody: Rule = () => 'done'
/** On the fleet itself and on lists of it: 403. */
const fleet =
  (needed: Level): Rule =>
  (role) =>
    reaches(levelOn(role, 'fleet'), needed) ? 'done' : 403
/** On what is looked up in something: absent to those who may not read it, else 403. */
const within =
  (kind: Kind, needed: Level): Rule =>
  (role) => {
    const level = levelOn(role, kind)
    if (level === 'none') return 404
    return reaches(level, needed) ? 'done' : 403
  }
/** On the caller's own silo, which everybody in it may read. */
const ownSilo =
  (needed: Level): Rule =>
  (role) =>
    reaches(levelOn(role, 'silo'), needed) ? 'done' : 403
const ownSiloPolicy: Rule = (role) =>
  levelOn(role, 'silo') === 'admin' || reaches(levelOn(role, 'fleet'), 'collaborator')
    ? 'done'
    : 403
/** On another silo than the caller's: the fleet's viewers may read it, and admins manage users. */
const otherSilo =
  (needed: Level): Rule =>
  (role) => {
    const level = levelOn(role, 'fleet')
    if (level === 'none') return 404
    return reaches(level, needed) ? 'done' : 403
  }

const [organizationView, organizationAdmin] = [
  within('organization', 'viewer'),
  within('organization', 'admin'),
]
const [see, change] = [within('project', 'viewer'), within('project', 'collaborator')]

/** Every operation has a rule, so that none is added without one. */
const rules: Readonly<Record<OperationId, Rule>> = {
  device_access_token: anybody,
  device_auth_confirm: () => 404, // nobody has asked for this code
  device_auth_request: anybody,
  disk_create: change,
  disk_delete: change,
  disk_list: see,
  disk_metrics_list: see,
  disk_view: see,
  disk_view_by_id: see,
  group_list: anybody,
  image_create: change,
  image_delete: change,
  image_list: see,
  image_view: see,
  image_view_by_id: see,
  instance_create: change,
  instance_delete: change,
  instance_disk_attach: change,
  instance_disk_detach: change,
  instance_disk_list: see,
  instance_external_ip_list: see,
  instance_list: see,
  instance_migrate: change,
  instance_network_interface_create: change,
  instance_network_interface_delete: change,
  instance_network_interface_list: see,
  instance_network_interface_update: change,
  instance_network_interface_view: see,
  instance_network_interface_view_by_id: see,
  instance_reboot: change,
  instance_serial_console: see,
  instance_serial_console_stream: change,
  instance_start: change,
  instance_stop: change,
  instance_view: see,
  instance_view_by_id: see,
  ip_pool_create: fleet('admin'),
  ip_pool_delete: within('fleet', 'admin'),
  ip_pool_list: fleet('viewer'),
  ip_pool_range_add: within('fleet', 'admin'),
  ip_pool_range_list: within('fleet', 'viewer'),
  ip_pool_range_remove: within('fleet', 'admin'),
  ip_pool_service_range_add: within('fleet', 'admin'),
  ip_pool_service_range_list: within('fleet', 'viewer'),
  ip_pool_service_range_remove: within('fleet', 'admin'),
  ip_pool_service_view: within('fleet', 'viewer'),
  ip_pool_update: within('fleet', 'admin'),
  ip_pool_view: within('fleet', 'viewer'),
  ip_pool_view_by_id: within('fleet', 'viewer'),
  local_idp_user_create: otherSilo('admin'),
  local_idp_user_delete: otherSilo('admin'),
  local_idp_user_set_password: otherSilo('admin'),
  login_local: () => 401, // the password is wrong
  login_saml: anybody,
  login_saml_begin: anybody,
  login_spoof: anybody,
  logout: anybody,
  organization_create: ownSilo('collaborator'),
  organization_delete: organizationAdmin,
  organization_list: ownSilo('viewer'),
  organization_policy_update: organizationAdmin,
  organization_policy_view: organizationView,
  organization_update: organizationAdmin,
  organization_view: organizationView,
  organization_view_by_id: organizationView,
  policy_update: ownSiloPolicy,
  policy_view: anybody,
  project_create: within('organization', 'collaborator'),
  project_delete: within('project', 'admin'),
  project_list: organizationView,
  project_policy_update: within('project', 'admin'),
  project_policy_view: see,
  project_update: within('project', 'admin'),
  project_view: see,
  project_view_by_id: see,
  rack_list: fleet('viewer'),
  rack_view: within('fleet', 'viewer'),
  role_list: fleet('viewer'),
  role_view: within('fleet', 'viewer'),
  saga_list: fleet('viewer'),
  saga_view: fleet('viewer'),
  saml_identity_provider_create: otherSilo('admin'),
  saml_identity_provider_view: otherSilo('viewer'),
  session_me: anybody,
  session_me_groups: anybody,
  session_sshkey_create: anybody,
  session_sshkey_delete: anybody,
  session_sshkey_list: anybody,
  session_sshkey_view: anybody,
  silo_create: fleet('collaborator'),
  silo_delete: otherSilo('collaborator'),
  silo_identity_provider_list: otherSilo('viewer'),
  silo_list: fleet('viewer'),
  silo_policy_update: otherSilo('collaborator'),
  silo_policy_view: otherSilo('viewer'),
  silo_user_view: otherSilo('viewer'),
  silo_users_list: otherSilo('viewer'),
  silo_view: otherSilo('viewer'),
  silo_view_by_id: otherSilo('viewer'),
  sled_list: fleet('viewer'),
  sled_view: within('fleet', 'viewer'),
  snapshot_create: change,
  snapshot_delete: change,
  snapshot_list: see,
  snapshot_view: see,
  snapshot_view_by_id: see,
  system_image_create: fleet('admin'),
  system_image_delete: fleet('admin'),
  system_image_list: anybody,
  system_image_view: anybody,
  system_image_view_by_id: anybody,
  system_policy_update: fleet('admin'),
  system_policy_view: fleet('viewer'),
  system_user_list: fleet('viewer'),
  system_user_view: within('fleet', 'viewer'),
  timeseries_schema_get: fleet('viewer'),
  updates_refresh: fleet('admin'),
  user_list: anybody,
  vpc_create: change,
  vpc_delete: change,
  vpc_firewall_rules_update: change,
  vpc_firewall_rules_view: see,
  vpc_list: see,
  vpc_router_create: change,
  vpc_router_delete: change,
  vpc_router_list: see,
  vpc_router_route_create: change,
  vpc_router_route_delete: change,
  vpc_router_route_list: see,
  vpc_router_route_update: change,
  vpc_router_route_view: see,
  vpc_router_route_view_by_id: see,
  vpc_router_update: change,
  vpc_router_view: see,
  vpc_router_view_by_id: see,
  vpc_subnet_create: change,
  vpc_subnet_delete: change,
  vpc_subnet_list: see,
  vpc_subnet_list_network_interfaces: see,
  vpc_subnet_update: change,
  vpc_subnet_view: see,
  vpc_subnet_view_by_id: see,
  vpc_update: change,
  vpc_view: see,
  vpc_view_by_id: see,
}

let nexus: TestNexus
/** What paths and bodies speak of. */
const known = new Map<string, string>()
const tokens = new Map<string, string>()
const scope = '/organizations/myorg/projects/myproj'
const text = { description: 'x' }
const idp = await new Idp().open()
const provider = {
  idp_entity_id: idp.entity_id,
  sp_client_id: 'x',
  acs_url: 'https://x',
  slo_url: 'https://x',
  technical_contact_email: 'x',
}

const nic = (name: string, subnet_name: string) => ({
  name,
  ...text,
  vpc_name: 'default',
  subnet_name,
})

/** Makes the one there is, unless nobody has deleted it. */
async function makeSnapshot(): Promise<void> {
  await nexus.call('POST', `${scope}/snapshots`, { name: 'snap', ...text, disk: 'alpine' })
}

const imageBody = () => ({
  ...named,
  block_size: 512,
  source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
})
async function makeImage(): Promise<void> {
  await nexus.call('POST', `${scope}/images`, imageBody())
}

async function makeGlobalImage(): Promise<void> {
  await nexus.call('POST', '/system/images', {
    ...named,
    block_size: 512,
    distribution: { name: 'alpine', version: 'propolis-blob' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  })
}

async function remember(key: string, url: string): Promise<void> {
  known.set(key, (await nexus.ok('GET', url)).id)
}

/** A user with this one role, and an ssh key so that there is something of their own. */
async function addUser(role: Role, ids: Readonly<Record<Kind, string>>): Promise<void> {
  const silo_id = (await nexus.ok('GET', '/session/me')).silo_id
  const id = nexus.services.random.uuid()
  const time_created_ms = nexus.services.clock.now()
  const external_id = nameOf(role)
  await nexus.store
    .insertInto('silo_user')
    .values({ id, silo_id, external_id, time_created_ms, time_deleted_ms: null })
    .execute()
  tokens.set(external_id, `oxide-spoof-${id}`)
  if (role.level === 'none') return
  await nexus.store
    .insertInto('role_assignment')
    .values({
      resource_type: role.kind,
      resource_id: ids[role.kind],
      role_name: role.level,
      identity_id: id,
      identity_type: 'silo_user',
    })
    .execute()
}

before(async () => {
  nexus = await TestNexus.start()
  const { image_id } = await nexus.guide()
  await nexus.ok('POST', `${scope}/disks`, diskBody(image_id))
  await nexus.ok('POST', `${scope}/vpcs/default/subnets`, {
    name: 'second',
    ...text,
    ipv4_block: '172.31.0.0/24',
  })
  // With a second interface the first cannot be deleted by those who may.
  await nexus.ok('POST', `${scope}/instances`, {
    ...instanceBody(),
    network_interfaces: { type: 'create', params: [nic('net0', 'default'), nic('net1', 'second')] },
  })
  await makeSnapshot()
  await makeImage()
  await nexus.ok('POST', '/system/silos', {
    name: 'elsewhere',
    ...text,
    discoverable: true,
    identity_mode: 'local_only',
  })
  const made = await nexus.ok('POST', '/system/silos/elsewhere/identity-providers/local/users', {
    external_id: 'somebody',
    password: { user_password_value: 'invalid_password' },
  })
  known.set('user_id', made.id)
  await nexus.services.store
    .insertInto('saml_identity_provider')
    .values({
      ...{ id: nexus.services.random.uuid(), name: 'idp', ...text, silo_id: made.silo_id },
      ...{ time_created_ms: 0, time_modified_ms: 0, time_deleted_ms: null },
      ...provider,
      idp_metadata: idp.metadata(),
      ...{ public_cert: null, private_key: null, group_attribute_name: null },
    })
    .execute()
  await nexus.services.store
    .insertInto('organization')
    .values({
      id: nexus.services.random.uuid(),
      name: 'theirs',
      ...text,
      silo_id: made.silo_id,
      time_created_ms: 0,
      time_modified_ms: 0,
      time_deleted_ms: null,
    })
    .execute()
  for (const [key, url] of [
    ['project', scope],
    ['organization', '/organizations/myorg'],
    ['disk', `${scope}/disks/alpine`],
    ['snapshot', `${scope}/snapshots/snap`],
    ['image', `${scope}/images/alpine`],
    ['instance', `${scope}/instances/myinst`],
    ['instance_network_interface', `${scope}/instances/myinst/network-interfaces/net0`],
    ['vpc', `${scope}/vpcs/default`],
    ['vpc_router', `${scope}/vpcs/default/routers/system`],
    ['vpc_router_route', `${scope}/vpcs/default/routers/system/routes/default`],
    ['vpc_subnet', `${scope}/vpcs/default/subnets/default`],
    ['ip_pool', '/system/ip-pools/mypool'],
    ['silo', '/system/silos/elsewhere'],
  ] as const) {
    await remember(key, url)
  }
  known.set('system_image', image_id)
  const moment = { time_created_ms: 0, time_modified_ms: 0 }
  const rack_id = nexus.services.config.rack_id
  await plantRack(nexus.services.store, { rack_id, now_ms: 0 })
  const [sled_id = ''] = nexus.services.config.sleds
  await nexus.store
    .insertInto('sled')
    .values({ id: sled_id, rack_id, ip: 'fd00::1', port: 12_345, platform: 'sim', ...moment })
    .execute()
  known.set('rack_id', rack_id)
  known.set('sled_id', sled_id)
  known.set('saga_id', (await nexus.ok('GET', '/system/sagas')).items[0].id)
  const own = (await nexus.ok('GET', '/session/me')).silo_id
  const ids = {
    fleet: '001de000-1334-4000-8000-000000000000',
    silo: own,
    organization: known.get('organization') ?? '',
    project: known.get('project') ?? '',
  }
  for (const role of roles) await addUser(role, ids)
})
after(async () => {
  await nexus.stop()
  idp.close()
})

const names: Readonly<Record<string, string>> = {
  organization_name: 'myorg',
  project_name: 'myproj',
  disk_name: 'alpine',
  instance_name: 'myinst',
  interface_name: 'net0',
  vpc_name: 'default',
  subnet_name: 'default',
  router_name: 'system',
  route_name: 'default',
  image_name: 'alpine',
  pool_name: 'mypool',
  silo_name: 'elsewhere',
  role_name: 'fleet.viewer',
  user_name: 'db-init',
  ssh_key_name: 'own',
  provider_name: 'idp',
  metric_name: 'read',
  snapshot_name: 'snap',
}

function urlOf(id: OperationId): string {
  const path = operations[id].path.replaceAll(/\{([^}]+)\}/g, (_whole, part: string) =>
    part === 'id'
      ? (known.get(id.replace('_view_by_id', '')) ?? '')
      : (known.get(part) ?? names[part] ?? ''),
  )
  return id === 'instance_serial_console' ? `${path}?from_start=0` : path
}

const named = { name: 'alpine', ...text }
const routing = {
  target: { type: 'internet_gateway', value: 'outbound' },
  destination: { type: 'vpc', value: 'default' },
}
/** Bodies that are well-formed and change nothing when they are allowed: mostly names that are taken. */
const bodies: Readonly<Partial<Record<OperationId, () => Promise<unknown> | unknown>>> = {
  device_auth_confirm: () => ({ user_code: 'BBBB-BBBB' }),
  disk_create: () => diskBody(known.get('system_image') ?? ''),
  image_create: imageBody,
  instance_create: () => ({ ...instanceBody(), memory: 1 }),
  instance_disk_attach: () => ({ name: 'alpine' }),
  instance_disk_detach: () => ({ name: 'alpine' }),
  instance_network_interface_create: () => nic('net0', 'default'),
  instance_network_interface_update: () => ({}),
  ip_pool_create: () => ({ ...named, name: 'mypool' }),
  ip_pool_range_add: () => ({ first: '172.20.15.227', last: '172.20.15.230' }),
  ip_pool_range_remove: () => ({ first: '172.20.15.227', last: '172.20.15.228' }),
  ip_pool_service_range_add: () => ({ first: '172.20.15.227', last: '172.20.15.230' }),
  ip_pool_service_range_remove: () => ({ first: '172.20.15.227', last: '172.20.15.228' }),
  ip_pool_update: () => ({}),
  local_idp_user_create: () => ({
    external_id: 'somebody',
    password: { user_password_value: 'invalid_password' },
  }),
  local_idp_user_set_password: () => ({ user_password_value: 'invalid_password' }),
  login_local: () => ({ username: 'somebody', password: 'wrong' }),
  login_spoof: () => ({ username: 'unprivileged' }),
  organization_create: () => ({ ...named, name: 'myorg' }),
  organization_policy_update: async () => await nexus.ok('GET', '/organizations/myorg/policy'),
  organization_update: () => ({}),
  policy_update: async () => await nexus.ok('GET', '/policy'),
  project_create: () => ({ ...named, name: 'myproj' }),
  project_policy_update: async () => await nexus.ok('GET', `${scope}/policy`),
  project_update: () => ({}),
  // The silo has its own users, so that even an administrator is refused in the end.
  saml_identity_provider_create: () => ({
    ...{ name: 'other', ...text, ...provider, signing_keypair: null },
    idp_metadata_source: { type: 'base64_encoded_xml', data: 'AAAA' },
  }),
  instance_migrate: () => ({ dst_sled_id: known.get('sled_id') }),
  session_sshkey_create: () => ({ ...named, name: 'own', public_key: 'k' }),
  silo_create: () => ({
    ...named,
    name: 'elsewhere',
    discoverable: true,
    identity_mode: 'local_only',
  }),
  silo_policy_update: async () => await nexus.ok('GET', '/system/silos/elsewhere/policy'),
  snapshot_create: () => ({ ...named, name: 'snap', disk: 'alpine' }),
  system_image_create: () => ({
    ...named,
    block_size: 512,
    distribution: { name: 'alpine', version: '1' },
    source: { type: 'you_can_boot_anything_as_long_as_its_alpine' },
  }),
  system_policy_update: async () => await nexus.ok('GET', '/system/policy'),
  vpc_create: () => ({ ...named, name: 'default', dns_name: 'taken' }),
  vpc_firewall_rules_update: () => ({ rules: [] }),
  vpc_router_create: () => ({ ...named, name: 'system' }),
  vpc_router_route_create: () => ({ ...named, name: 'default', ...routing }),
  vpc_router_route_update: () => routing,
  vpc_router_update: () => ({}),
  vpc_subnet_create: () => ({ ...named, ipv4_block: '172.30.0.0/22' }),
  vpc_subnet_update: () => ({}),
  vpc_update: () => ({}),
}
const forms: Readonly<Partial<Record<OperationId, string>>> = {
  device_auth_request: 'client_id=11111111-1111-4111-8111-111111111111',
  device_access_token: 'client_id=11111111-1111-4111-8111-111111111111&device_code=x&grant_type=x',
}

async function outcomeOf(id: OperationId, token: string | null): Promise<Outcome | number> {
  const { method, body, body_type } = operations[id]
  const form = forms[id]
  const made = bodies[id]
  assert.ok(body === null || made !== undefined || form !== undefined, `${id} needs a body here`)
  const payload = form ?? (made === undefined ? null : JSON.stringify(await made()))
  const { status } = await nexus.raw({
    method,
    url: urlOf(id),
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(payload === null ? {} : { 'content-type': body_type }),
    },
    ...(payload === null ? {} : { payload }),
  })
  return [401, 403, 404].includes(status) ? status : 'done'
}

const lasting: ReadonlySet<OperationId> = new Set([
  'session_sshkey_delete',
  'local_idp_user_delete',
  'snapshot_delete',
  'image_delete',
  'system_image_delete',
])
/** Deletions of what is each one's own, or gone once done, are last and have something to delete. */
const isLast = (id: OperationId) => lasting.has(id)
const served = routes.map(({ id }) => id)
const inOrder = [...served.filter((id) => !isLast(id)), ...served.filter(isLast)]

for (const id of inOrder) {
  test(`${id} as everybody`, async () => {
    const seen: Record<string, unknown> = {}
    const wanted: Record<string, unknown> = {}
    if (operations[id].access === 'user') {
      seen['anonymous'] = await outcomeOf(id, null)
      wanted['anonymous'] = 401
    }
    for (const role of roles) {
      const name = nameOf(role)
      const token = tokens.get(name) ?? null
      if (id.startsWith('session_sshkey_')) {
        await nexus.call(
          'POST',
          '/session/me/sshkeys',
          { ...named, name: 'own', public_key: 'k' },
          token,
        )
      }
      if (id === 'snapshot_delete') await makeSnapshot()
      if (id === 'image_delete') await makeImage()
      if (id === 'system_image_delete') await makeGlobalImage()
      seen[name] = await outcomeOf(id, token)
      wanted[name] = rules[id](role)
    }
    assert.deepEqual(seen, wanted)
  })
}

test('the fleet reaches no organization, and silos not each other’s', async () => {
  const admin = tokens.get('fleet-admin') ?? null
  assert.equal((await nexus.call('GET', '/organizations/myorg', undefined, admin)).status, 404)
  const own = tokens.get('silo-admin') ?? null
  assert.equal((await nexus.call('GET', '/system/silos/elsewhere', undefined, own)).status, 404)
  assert.equal((await nexus.call('GET', '/system/silos/default-silo', undefined, own)).status, 200)
  assert.equal((await nexus.call('GET', '/organizations/theirs', undefined, own)).status, 404)
})

test('a role of a group is a role of those in it, until they leave', async () => {
  const user_id = (tokens.get('nobody') ?? '').replace('oxide-spoof-', '')
  const me = await nexus.call('GET', '/session/me', undefined, tokens.get('nobody') ?? null)
  const group = {
    id: nexus.services.random.uuid(),
    silo_id: me.json.silo_id,
    external_id: 'crew',
    time_created_ms: 0,
    time_deleted_ms: null,
  }
  await nexus.store.insertInto('silo_group').values(group).execute()
  const policy = await nexus.ok('GET', `${scope}/policy`)
  await nexus.ok('PUT', `${scope}/policy`, {
    role_assignments: [
      ...policy.role_assignments,
      { identity_type: 'silo_group', identity_id: group.id, role_name: 'viewer' },
    ],
  })
  const look = async () =>
    (await nexus.call('GET', scope, undefined, tokens.get('nobody') ?? null)).status
  assert.equal(await look(), 404)
  const membership = { silo_user_id: user_id, silo_group_id: group.id }
  await nexus.store.insertInto('silo_group_membership').values(membership).execute()
  assert.equal(await look(), 200)
  const groups = await nexus.call(
    'GET',
    '/session/me/groups',
    undefined,
    tokens.get('nobody') ?? null,
  )
  assert.equal(groups.json.items[0].display_name, 'crew')
  await nexus.store
    .deleteFrom('silo_group_membership')
    .where('silo_user_id', '=', user_id)
    .execute()
  assert.equal(await look(), 404)
})

test('a policy holds 64 assignments and no more', async () => {
  const earlier = await nexus.ok('GET', '/organizations/myorg/policy')
  const many = (count: number) => ({
    role_assignments: Array.from({ length: count }, () => ({
      identity_type: 'silo_user',
      identity_id: nexus.services.random.uuid(),
      role_name: 'viewer',
    })),
  })
  const full = await nexus.ok('PUT', '/organizations/myorg/policy', many(64))
  assert.equal(full.role_assignments.length, 64)
  const over = await nexus.call('PUT', '/organizations/myorg/policy', many(65))
  assert.equal(over.status, 400)
  assert.match(over.json.message, /invalid length 65, expected a list of at most 64/)
  await nexus.ok('PUT', '/organizations/myorg/policy', earlier)
})
