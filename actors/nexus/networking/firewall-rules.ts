/** A VPC's firewall rules as users see and replace them. What becomes of them: `firewall.ts`. */
import type { Selectable } from 'kysely'
import { Type } from 'typebox'
import { vpcFirewallRuleFilter, vpcFirewallRuleTarget } from '../api/contract/vpcs.ts'
import { implement } from '../api/route.ts'
import { powers } from '../access/authz.ts'
import { newRow } from '../context.ts'
import { invalidRequest } from '#actors/http/errors.ts'
import { demandLive } from '../lookup.ts'
import { identityView } from '../names.ts'
import { rulesOf } from './firewall.ts'
import { owe } from '../propagation.ts'
import { readColumn } from '../store/column.ts'
import type { Tables } from '../store/schema.ts'
import { transact } from '../store/transact.ts'
import { vpcOf } from './vpcs.ts'

const targetsColumn = Type.Array(vpcFirewallRuleTarget)

const ruleView = (row: Selectable<Tables['vpc_firewall_rule']>) => ({
  ...identityView(row),
  status: row.status,
  direction: row.direction,
  targets: readColumn(targetsColumn, row.targets),
  filters: readColumn(vpcFirewallRuleFilter, row.filters),
  action: row.action,
  priority: row.priority,
  vpc_id: row.vpc_id,
})

export const firewallRuleRoutes = [
  implement('vpc_firewall_rules_view', async (call) => {
    const vpc = await vpcOf(call, powers.viewer)
    return { rules: (await rulesOf(call.services.store, vpc.id)).map(ruleView) }
  }),
  implement('vpc_firewall_rules_update', async (call) => {
    const vpc = await vpcOf(call, powers.collaborator)
    const { services, body } = call
    refuseOddRules(body.rules, vpc.name)
    await transact(services, async (store) => {
      await demandLive(store, 'vpc', vpc)
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
    await services.publisher.publish(services, { kind: 'firewall', id: vpc.id })
    return { rules: (await rulesOf(call.services.store, vpc.id)).map(ruleView) }
  }),
]

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
