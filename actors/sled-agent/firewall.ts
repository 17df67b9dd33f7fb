/**
 * Firewall rules of a VPC's ports. A sled knows VPCs by their VNIs, which the rules' targets have: rules
 * of no target could be any VPC's, and are refused rather than put on the ports of all.
 */
import { rulesForPort } from '#actors/nexus/networking/firewall.ts'
import { invalidRequest } from '#actors/http/errors.ts'
import { vnicProtocol, type FirewallRule } from '#actors/vnic.protocol.ts'
import { limits } from '#config/limits.ts'
import type { VpcFirewallRule } from './contract.ts'
import { journaledPorts } from './journaled.ts'
import { implementSled as implement, refusal } from './route.ts'

export const firewallRoutes = [
  implement('vpc_firewall_rules_put', async ({ services, body }) => {
    const rules = body.rules.map(ruleOf)
    const [vni, ...others] = new Set(rules.flatMap(({ targets }) => targets.map((one) => one.vni)))
    if (vni === undefined) {
      throw invalidRequest(
        'none of the rules has a target: only the VNI of a target tells whose ports they are for',
      )
    }
    if (others.length > 0) throw invalidRequest('the rules have targets of more than one VPC')
    for (const port of await journaledPorts(services)) {
      if (port.vni !== vni) continue
      const firewall_rules = rulesForPort(rules, port.mac)
      const set = await services
        .ref(vnicProtocol, port.id)
        .call('set_rules', { firewall_rules }, { timeout_ms: limits.zone_boot_ms_max })
      // A port that is gone meanwhile needs none.
      if (!set.ok && set.error !== 'not_found') throw refusal(services, set)
    }
    return null
  }),
]

/** A rule as ports take it. */
export const ruleOf = (rule: VpcFirewallRule): FirewallRule => ({
  status: rule.status,
  direction: rule.direction,
  targets: rule.targets.map(({ mac, vni }) => ({ mac: mac.toLowerCase(), vni })),
  filter_hosts: rule.filter_hosts ?? null,
  filter_ports: rule.filter_ports ?? null,
  filter_protocols: rule.filter_protocols ?? null,
  action: rule.action,
  priority: rule.priority,
})
