/** VPCs, their subnets, routers, routes and firewall rules, as far as the guide looks at them. */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import {
  routeDestination,
  routeTarget,
  vpcFirewallRuleFilter,
  vpcFirewallRuleTarget,
} from './api/contract/vpcs.ts'
import { implement, type UserCall } from './api/route.ts'
import { powers, type Power } from './authz.ts'
import { newRow } from './context.ts'
import { invalidRequest, notFound } from './errors.ts'
import { projectOf } from './lookup.ts'
import { identityView } from './names.ts'
import { readColumn } from './store/column.ts'
import { owe } from './propagation.ts'
import { listPage } from './store/page.ts'
import type { Tables } from './store/schema.ts'
import { transact } from './store/transact.ts'

type Vpc = Selectable<Tables['vpc']>

export async function vpcOf(call: UserCall, needed: Power): Promise<Vpc> {
  const project = await projectOf(call, needed)
  const name = call.path('vpc_name')
  const row = await call.services.store
    .selectFrom('vpc')
    .selectAll()
    .where('project_id', '=', project.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('vpc', name)
  return row
}

async function routerOf(call: UserCall) {
  const vpc = await vpcOf(call, powers.viewer)
  const name = call.path('router_name')
  const row = await call.services.store
    .selectFrom('vpc_router')
    .selectAll()
    .where('vpc_id', '=', vpc.id)
    .where('name', '=', name)
    .where('time_deleted_ms', 'is', null)
    .executeTakeFirst()
  if (row === undefined) throw notFound('vpc-router', name)
  return row
}

const vpcView = (row: Vpc) => ({
  ...identityView(row),
  project_id: row.project_id,
  system_router_id: row.system_router_id,
  ipv6_prefix: row.ipv6_prefix,
  dns_name: row.dns_name,
})
const subnetView = (row: Selectable<Tables['vpc_subnet']>) => ({
  ...identityView(row),
  vpc_id: row.vpc_id,
  ipv4_block: row.ipv4_block,
  ipv6_block: row.ipv6_block,
})
const routerView = (row: Selectable<Tables['vpc_router']>) => ({
  ...identityView(row),
  kind: row.kind,
  vpc_id: row.vpc_id,
})
const routeView = (row: Selectable<Tables['router_route']>) => ({
  ...identityView(row),
  vpc_router_id: row.vpc_router_id,
  kind: row.kind,
  target: readColumn(routeTarget, row.target),
  destination: readColumn(routeDestination, row.destination),
})
const ruleView = (row: Selectable<Tables['vpc_firewall_rule']>) => ({
  ...identityView(row),
  status: row.status,
  direction: row.direction,
  targets: readColumn(Type.Array(vpcFirewallRuleTarget), row.targets),
  filters: readColumn(vpcFirewallRuleFilter, row.filters),
  action: row.action,
  priority: row.priority,
  vpc_id: row.vpc_id,
})

export const vpcRoutes = [
  implement('vpc_list', async (call) => {
    const project = await projectOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc')
        .selectAll()
        .where('project_id', '=', project.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      vpcView,
    )
  }),
  implement('vpc_view', async (call) => vpcView(await vpcOf(call, powers.viewer))),
  implement('vpc_subnet_list', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc_subnet')
        .selectAll()
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      subnetView,
    )
  }),
  implement('vpc_router_list', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return await listPage(
      call.services.store
        .selectFrom('vpc_router')
        .selectAll()
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      routerView,
    )
  }),
  implement('vpc_router_view', async (call) => routerView(await routerOf(call))),
  implement('vpc_router_route_list', async (call) => {
    const router = await routerOf(call)
    return await listPage(
      call.services.store
        .selectFrom('router_route')
        .selectAll()
        .where('vpc_router_id', '=', router.id)
        .where('time_deleted_ms', 'is', null),
      call.page,
      routeView,
    )
  }),
  implement('vpc_firewall_rules_view', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return { rules: (await rulesOf(call, vpc.id)).map(ruleView) }
  }),
  implement('vpc_firewall_rules_update', async (call) => {
    const vpc = await vpcOf(call, powers.collaborator)
    const { services, body } = call
    refuseOddRules(body.rules, vpc.name)
    await transact(services, async (store) => {
      await store
        .deleteFrom('vpc_firewall_rule')
        .where('vpc_id', '=', vpc.id)
        .where('time_deleted_ms', 'is', null)
        .execute()
      for (const rule of body.rules) {
        const filters = {
          hosts: rule.filters.hosts ?? null,
          ports: rule.filters.ports ?? null,
          protocols: rule.filters.protocols ?? null,
        }
        await store
          .insertInto('vpc_firewall_rule')
          .values({
            ...newRow(services, rule),
            vpc_id: vpc.id,
            status: rule.status,
            direction: rule.direction,
            targets: JSON.stringify(rule.targets),
            filters: JSON.stringify(filters),
            action: rule.action,
            priority: rule.priority,
          })
          .execute()
      }
      await owe(store, { kind: 'firewall', id: vpc.id })
    })
    await services.firewall.publish(services, vpc.id)
    return { rules: (await rulesOf(call, vpc.id)).map(ruleView) }
  }),
]

async function rulesOf(call: UserCall, vpc_id: string) {
  return await call.services.store
    .selectFrom('vpc_firewall_rule')
    .selectAll()
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null)
    .orderBy('name')
    .execute()
}

interface RuleGiven {
  readonly name: string
  readonly targets: ReadonlyArray<{ readonly type: string; readonly value: string }>
  readonly filters: {
    readonly hosts?: ReadonlyArray<{ readonly type: string; readonly value: string }> | null
  }
}

/** Names once in the set, and nothing about another VPC. */
function refuseOddRules(rules: readonly RuleGiven[], vpc: string): void {
  const names = new Set<string>()
  for (const rule of rules) {
    if (names.has(rule.name)) {
      throw invalidRequest(`firewall rule name "${rule.name}" is used more than once`)
    }
    names.add(rule.name)
    if (rule.targets.some(({ type, value }) => type === 'vpc' && value !== vpc)) {
      throw invalidRequest('cross-VPC firewall target unsupported')
    }
    if ((rule.filters.hosts ?? []).some(({ type, value }) => type === 'vpc' && value !== vpc)) {
      throw invalidRequest('cross-VPC firewall host filter unsupported')
    }
  }
}
