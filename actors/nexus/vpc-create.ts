/** What a VPC is made of: a system router with a default route, a subnet, four firewall rules. */
import { newRow, type Services } from './context.ts'
import type { StoreTransaction } from './store/schema.ts'

/** VNIs below are the system's own. */
const vni_min = 1024
const vni_max = 0xff_ffff
const subnet_ipv4 = '172.30.0.0/22'
const default_priority = 65_534

export interface VpcGiven {
  readonly project_id: string
  readonly name: string
  readonly description: string
  readonly dns_name: string
  /** A /48 of fd00::/8; null takes a random one. */
  readonly ipv6_prefix: string | null
}

/** Inserts a VPC and everything it begins with; gives back its row. */
export async function insertVpc(services: Services, store: StoreTransaction, given: VpcGiven) {
  const router = newRow(services, {
    name: 'system',
    description: 'Routes are automatically added to this router as vpc subnets are created',
  })
  const prefix = given.ipv6_prefix ?? randomPrefix(services)
  const vpc = {
    ...newRow(services, given),
    project_id: given.project_id,
    system_router_id: router.id,
    vni: await freeVni(services, store),
    ipv6_prefix: prefix,
    dns_name: given.dns_name,
  }
  await store.insertInto('vpc').values(vpc).execute()
  await store
    .insertInto('vpc_router')
    .values({ ...router, vpc_id: vpc.id, kind: 'system' })
    .execute()
  await store
    .insertInto('router_route')
    .values({
      ...newRow(services, { name: 'default', description: 'The default route of a vpc' }),
      vpc_router_id: router.id,
      kind: 'default',
      target: JSON.stringify({ type: 'internet_gateway', value: 'outbound' }),
      destination: JSON.stringify({ type: 'vpc', value: vpc.name }),
    })
    .execute()
  await store
    .insertInto('vpc_subnet')
    .values({
      ...newRow(services, {
        name: 'default',
        description: `The default subnet for ${vpc.name}`,
      }),
      vpc_id: vpc.id,
      ipv4_block: subnet_ipv4,
      ipv6_block: prefix.replace('::/48', '::/64'),
    })
    .execute()
  const rules = defaultRules(vpc.name).map((rule) => ({
    ...newRow(services, rule),
    vpc_id: vpc.id,
    status: 'enabled' as const,
    direction: 'inbound' as const,
    targets: JSON.stringify([{ type: 'vpc', value: vpc.name }]),
    filters: JSON.stringify(rule.filters),
    action: 'allow' as const,
    priority: default_priority,
  }))
  await store.insertInto('vpc_firewall_rule').values(rules).execute()
  return vpc
}

function defaultRules(vpc: string) {
  const filters = { hosts: null, protocols: null, ports: null }
  return [
    {
      name: 'allow-internal-inbound',
      description:
        'allow inbound traffic to all instances within the VPC if originated within the VPC',
      filters: { ...filters, hosts: [{ type: 'vpc', value: vpc }] },
    },
    {
      name: 'allow-ssh',
      description: 'allow inbound TCP connections on port 22 from anywhere',
      filters: { ...filters, protocols: ['TCP'], ports: ['22'] },
    },
    {
      name: 'allow-icmp',
      description: 'allow inbound ICMP traffic from anywhere',
      filters: { ...filters, protocols: ['ICMP'] },
    },
    {
      name: 'allow-rdp',
      description: 'allow inbound TCP connections on port 3389 from anywhere',
      filters: { ...filters, protocols: ['TCP'], ports: ['3389'] },
    },
  ]
}

function randomPrefix(services: Services): string {
  const hex = Buffer.from(services.random.bytes(5)).toString('hex')
  const groups = [`fd${hex.slice(0, 2)}`, hex.slice(2, 6), hex.slice(6, 10)]
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/48`
}

async function freeVni(services: Services, store: StoreTransaction): Promise<number> {
  for (;;) {
    const vni = vni_min + Math.floor(services.random.next() * (vni_max - vni_min + 1))
    const taken = await store
      .selectFrom('vpc')
      .select('id')
      .where('vni', '=', vni)
      .where('time_deleted_ms', 'is', null)
      .executeTakeFirst()
    if (taken === undefined) return vni
  }
}

/** Soft-deletes a project's VPCs with all they are made of. */
export async function deleteVpcs(
  store: StoreTransaction,
  project_id: string,
  time_deleted_ms: number,
): Promise<void> {
  const vpcs = await store
    .selectFrom('vpc')
    .select('id')
    .where('project_id', '=', project_id)
    .where('time_deleted_ms', 'is', null)
    .execute()
  for (const { id } of vpcs) {
    const routers = store.selectFrom('vpc_router').select('id').where('vpc_id', '=', id)
    await store
      .updateTable('router_route')
      .set({ time_deleted_ms })
      .where('vpc_router_id', 'in', routers.where('time_deleted_ms', 'is', null))
      .where('time_deleted_ms', 'is', null)
      .execute()
    for (const table of ['vpc_subnet', 'vpc_router', 'vpc_firewall_rule'] as const) {
      await store
        .updateTable(table)
        .set({ time_deleted_ms })
        .where('vpc_id', '=', id)
        .where('time_deleted_ms', 'is', null)
        .execute()
    }
    await store.updateTable('vpc').set({ time_deleted_ms }).where('id', '=', id).execute()
  }
}
