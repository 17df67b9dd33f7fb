/**
 * vpc-create and project-create: a VPC, its system router with the default route, its firewall's
 * rules and its first subnet. The subnet is last, so that nothing is in a VPC that may still be
 * taken back. Ids and chance are settled before the saga begins; only the VNI is chosen in it.
 */
import type { Services } from '../context.ts'
import { newRow } from '../context.ts'
import { alreadyExists } from '#actors/http/errors.ts'
import { demandLive, type Project } from '../lookup.ts'
import { owe } from '../propagation.ts'
import type { Saga, SagaNode } from '../saga-nodes.ts'
import { isConflict } from '../store/failure.ts'
import type { StoreTransaction } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import {
  eraseVpc,
  firstSubnetOf,
  freeVni,
  randomPrefix,
  type VpcGiven,
} from '../networking/vpc-create.ts'

const default_priority = 65_534

export type VpcCreateParams = ReturnType<typeof planVpc>

/** Everything that a new VPC will be, but for its VNI. */
export function planVpc(services: Services, given: VpcGiven) {
  const ipv6_prefix = given.ipv6_prefix ?? randomPrefix(services)
  const router = newRow(services, {
    name: 'system',
    description: 'Routes are automatically added to this router as vpc subnets are created',
  })
  const vpc = {
    ...newRow(services, given),
    project_id: given.project_id,
    system_router_id: router.id,
    ipv6_prefix,
    dns_name: given.dns_name,
  }
  return {
    vpc,
    router: { ...router, vpc_id: vpc.id, kind: 'system' as const },
    route: {
      ...newRow(services, { name: 'default', description: 'The default route of a vpc' }),
      vpc_router_id: router.id,
      kind: 'default' as const,
      target: JSON.stringify({ type: 'internet_gateway', value: 'outbound' }),
      destination: JSON.stringify({ type: 'vpc', value: vpc.name }),
    },
    rules: defaultRules(vpc.name).map((rule) => ({
      ...newRow(services, rule),
      vpc_id: vpc.id,
      status: 'enabled' as const,
      direction: 'inbound' as const,
      targets: JSON.stringify([{ type: 'vpc', value: vpc.name }]),
      filters: JSON.stringify(rule.filters),
      action: 'allow' as const,
      priority: default_priority,
    })),
    subnet: {
      ...newRow(services, {
        name: 'default',
        description: `The default subnet for ${vpc.name}`,
      }),
      vpc_id: vpc.id,
      ...firstSubnetOf(ipv6_prefix),
    },
  }
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

/** The nodes for one VPC, their names with a prefix where they are part of another saga. */
export function vpcCreateNodes<P>(
  prefix: string,
  paramsOf: (params: P) => VpcCreateParams,
): ReadonlyArray<SagaNode<P>> {
  const part = (
    name: string,
    insert: (store: StoreTransaction, params: VpcCreateParams) => Promise<unknown>,
  ): SagaNode<P> => ({
    name: `${prefix}${name}`,
    writes:
      ({ params }) =>
      async (store) => {
        const plan = paramsOf(params)
        // Whoever deletes the VPC meanwhile ends its creation, and no part of it comes later.
        await demandLive(store, 'vpc', plan.vpc)
        // A node that runs again finds its rows.
        await insert(store, plan)
        return null
      },
    // The VPC's own undo takes away all that it holds.
    undo: null,
  })
  return [
    vpcNode(`${prefix}vpc`, paramsOf),
    part('system_router', async (store, { router }) => {
      await store
        .insertInto('vpc_router')
        .values(router)
        .onConflict((known) => known.column('id').doNothing())
        .execute()
    }),
    part('default_route', async (store, { route }) => {
      await store
        .insertInto('router_route')
        .values(route)
        .onConflict((known) => known.column('id').doNothing())
        .execute()
    }),
    part('firewall_rules', async (store, { vpc, rules }) => {
      await store
        .insertInto('vpc_firewall_rule')
        .values(rules)
        .onConflict((known) => known.column('id').doNothing())
        .execute()
      // From now on the rounds that send everything again include this VPC.
      await owe(store, { kind: 'firewall', id: vpc.id })
    }),
    part('default_subnet', async (store, { subnet }) => {
      await store
        .insertInto('vpc_subnet')
        .values(subnet)
        .onConflict((known) => known.column('id').doNothing())
        .execute()
    }),
  ]
}

function vpcNode<P>(name: string, paramsOf: (params: P) => VpcCreateParams): SagaNode<P> {
  return {
    name,
    writes:
      ({ services, params }) =>
      async (store) => {
        const { vpc } = paramsOf(params)
        await demandLive(store, 'project', { id: vpc.project_id, name: null })
        const vni = await freeVni(services, store)
        try {
          await store
            .insertInto('vpc')
            .values({ ...vpc, vni })
            .execute()
        } catch (error) {
          throw isConflict(error) ? alreadyExists('vpc', vpc.name) : error
        }
        return null
      },
    undo: async ({ services, params }) => {
      const { vpc } = paramsOf(params)
      await transact(services, async (store) => {
        await eraseVpc(store, vpc.id)
      })
    },
  }
}

export const vpcCreateSaga: Saga<VpcCreateParams> = {
  name: 'vpc-create',
  nodes: () => vpcCreateNodes('', (params: VpcCreateParams) => params),
}

export interface ProjectCreateParams {
  readonly project: Project
  readonly vpc: VpcCreateParams
}

export const projectCreateSaga: Saga<ProjectCreateParams> = {
  name: 'project-create',
  nodes: () => [projectNode, ...vpcCreateNodes('default_', ({ vpc }: ProjectCreateParams) => vpc)],
}

const projectNode: SagaNode<ProjectCreateParams> = {
  name: 'project',
  writes:
    ({ params: { project } }) =>
    async (store) => {
      await demandLive(store, 'organization', { id: project.organization_id, name: null })
      try {
        await store.insertInto('project').values(project).execute()
      } catch (error) {
        throw isConflict(error) ? alreadyExists('project', project.name) : error
      }
      return null
    },
  undo: async ({ services, params: { project } }) => {
    await transact(services, async (store) => {
      await store.deleteFrom('project').where('id', '=', project.id).execute()
    })
  },
}
