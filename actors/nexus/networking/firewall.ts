/**
 * From a VPC's rules, which speak of names, to what a sled's ports enforce, which speaks of
 * addresses. Resolved again for all of a VPC's ports whenever its rules or its NICs change.
 */
import type { Selectable } from 'kysely'
import { Type, type Static } from 'typebox'
import { nullable } from '#actors/schema.ts'
import { liveStates } from '#actors/instance.protocol.ts'
import type { FirewallRule } from '#actors/vnic.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'
import type { Nic } from './nics.ts'
import { readColumn } from '../store/column.ts'
import { prepare } from '../store/prepare.ts'
import type { Store, StoreTransaction, Tables } from '../store/schema.ts'

const named = Type.Object({
  type: Type.Enum(['vpc', 'subnet', 'instance', 'ip', 'ip_net']),
  value: Type.String(),
})
type Named = Static<typeof named>
const targetsColumn = Type.Array(named)
const filtersColumn = Type.Object({
  hosts: nullable(Type.Array(named)),
  ports: nullable(Type.Array(Type.String())),
  protocols: nullable(Type.Array(Type.Enum(['TCP', 'UDP', 'ICMP']))),
})
/** Everything that a rule's names can mean within one VPC. */
interface VpcFacts {
  readonly vni: number
  readonly nics: readonly Nic[]
  readonly instances: ReadonlyMap<string, string>
  readonly subnets: ReadonlyMap<string, Selectable<Tables['vpc_subnet']>>
}

/** The rules of a VPC with every name resolved. A rule whose names mean nothing is left out. */
export async function resolvedRules(
  store: Store | StoreTransaction,
  vpc_id: string,
): Promise<{ readonly vni: number; readonly rules: readonly FirewallRule[] }> {
  const rules = (await rulesOf(store, vpc_id)).map(readRule)
  const facts = await factsOf(store, vpc_id, namesIn(rules))
  return { vni: facts.vni, rules: rules.flatMap((rule) => resolveRule(rule, facts)) }
}

const ruleRows = prepare((store, { vpc_id }: { readonly vpc_id: string }) =>
  store
    .selectFrom('vpc_firewall_rule')
    .selectAll()
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null),
)

/** The rules of a VPC as users wrote them, by name: SQLite would plan it anew each time to sort them. */
export const rulesOf = async (store: Store | StoreTransaction, vpc_id: string) =>
  (await ruleRows(store, { vpc_id })).toSorted((a, b) => (a.name < b.name ? -1 : 1))

interface Rule {
  readonly row: Selectable<Tables['vpc_firewall_rule']>
  readonly targets: readonly Named[]
  readonly filters: Static<typeof filtersColumn>
}
const readRule = (row: Rule['row']): Rule => ({
  row,
  targets: readColumn(targetsColumn, row.targets),
  filters: readColumn(filtersColumn, row.filters),
})

/** What kinds of things rules name. */
const namesIn = (rules: readonly Rule[]): ReadonlySet<Named['type']> =>
  new Set(
    rules.flatMap(({ targets, filters }) =>
      [...targets, ...(filters.hosts ?? [])].map(({ type }) => type),
    ),
  )

function resolveRule({ row, targets: given, filters }: Rule, facts: VpcFacts): FirewallRule[] {
  const targets = given
    .flatMap((target) => nicsOf(target, facts))
    .map(({ mac }) => ({ mac, vni: facts.vni }))
  const hosts = filters.hosts?.flatMap((host) => blocksOf(host, facts)) ?? null
  if ((given.length > 0 && targets.length === 0) || hosts?.length === 0) return []
  return [
    {
      status: row.status === 'enabled' ? 'enabled' : 'disabled',
      direction: row.direction === 'inbound' ? 'inbound' : 'outbound',
      targets,
      filter_hosts: hosts,
      filter_ports: filters.ports === null ? null : [...filters.ports],
      filter_protocols: filters.protocols === null ? null : [...filters.protocols],
      action: row.action === 'allow' ? 'allow' : 'deny',
      priority: row.priority,
    },
  ]
}

function nicsOf(target: Named, facts: VpcFacts): readonly Nic[] {
  switch (target.type) {
    case 'vpc':
      return facts.nics
    case 'subnet': {
      const subnet = facts.subnets.get(target.value)
      return facts.nics.filter((nic) => nic.subnet_id === subnet?.id)
    }
    case 'instance': {
      const id = facts.instances.get(target.value)
      return facts.nics.filter((nic) => nic.instance_id === id)
    }
    case 'ip':
    case 'ip_net':
      return facts.nics.filter((nic) => nic.ip === target.value.split('/')[0])
  }
}

function blocksOf(host: Named, facts: VpcFacts): readonly string[] {
  switch (host.type) {
    case 'vpc':
    case 'instance':
      return nicsOf(host, facts).map(({ ip }) => `${ip}/32`)
    case 'subnet': {
      const subnet = facts.subnets.get(host.value)
      return subnet === undefined ? [] : [subnet.ipv4_block, subnet.ipv6_block]
    }
    case 'ip':
      return [host.value.includes(':') ? `${host.value}/128` : `${host.value}/32`]
    case 'ip_net':
      return [host.value]
  }
}

type VpcId = { readonly vpc_id: string }
export const vniRows = prepare((store, { vpc_id }: VpcId) =>
  store.selectFrom('vpc').select('vni').where('id', '=', vpc_id),
)
const nicRows = prepare((store, { vpc_id }: VpcId) =>
  store
    .selectFrom('network_interface')
    .selectAll()
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null),
)
const subnetRows = prepare((store, { vpc_id }: VpcId) =>
  store
    .selectFrom('vpc_subnet')
    .selectAll()
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null),
)
const instanceRows = prepare((store, { vpc_id }: VpcId) =>
  store
    .selectFrom('instance')
    .innerJoin('network_interface', 'network_interface.instance_id', 'instance.id')
    .select(['instance.id', 'instance.name'])
    .where('network_interface.vpc_id', '=', vpc_id)
    .where('network_interface.time_deleted_ms', 'is', null)
    .where('instance.time_deleted_ms', 'is', null),
)

/** Read is only what rules name. */
async function factsOf(
  store: Store | StoreTransaction,
  vpc_id: string,
  names: ReadonlySet<Named['type']>,
): Promise<VpcFacts> {
  const [vpc] = await vniRows(store, { vpc_id })
  if (vpc === undefined) throw new Error(`there is no VPC ${vpc_id}`)
  const nics = names.size === 0 ? [] : await nicRows(store, { vpc_id })
  const subnets = names.has('subnet') ? await subnetRows(store, { vpc_id }) : []
  const instances = names.has('instance') ? await instanceRows(store, { vpc_id }) : []
  return {
    vni: vpc.vni,
    nics,
    instances: new Map(instances.map(({ id, name }) => [name, id])),
    subnets: new Map(subnets.map((subnet) => [subnet.name, subnet])),
  }
}

/** What of a VPC's rules one port has to know: those for it, with itself as their only target. */
export function rulesForPort(rules: readonly FirewallRule[], mac: string): FirewallRule[] {
  return rules.flatMap((rule) => {
    const own = rule.targets.filter((target) => target.mac === mac)
    return rule.targets.length > 0 && own.length === 0 ? [] : [{ ...rule, targets: own }]
  })
}

/** Ports of a VPC; no sled: the instance does not run. That is no join: SQLite would plan one anew for every value. */
export const portRows = prepare((store, { vpc_id }: VpcId) =>
  store
    .selectFrom('network_interface')
    .select((from) => [
      'id',
      'mac',
      'ip',
      from
        .selectFrom('instance')
        .select('sled_id')
        .whereRef('instance.id', '=', 'network_interface.instance_id')
        .where('run_state', 'in', liveStates)
        .as('sled_id'),
    ])
    .where('vpc_id', '=', vpc_id)
    .where('time_deleted_ms', 'is', null),
)

/** Sends a VPC's rules. Whether every port that is there took them: many at once, so that a sled's journal syncs them together. */
export async function sendRules(services: Services, vpc_id: string): Promise<boolean> {
  const { rules } = await resolvedRules(services.store, vpc_id)
  const ports = await portRows(services.store, { vpc_id })
  let all = true
  for (let from = 0; from < ports.length; from += limits.firewall_ports_at_once_max) {
    const some = ports.slice(from, from + limits.firewall_ports_at_once_max)
    const taken = await Promise.all(some.map(async (port) => await setRules(services, port, rules)))
    all &&= taken.every(Boolean)
  }
  return all
}

/** Whether a port has taken those of a VPC's rules that are for it, or is not there. */
async function setRules(
  services: Services,
  { id, mac, sled_id }: Awaited<ReturnType<typeof portRows>>[number],
  rules: readonly FirewallRule[],
): Promise<boolean> {
  if (sled_id === null) return true
  const told = await services.sleds
    .vnic(sled_id, id)
    .call(
      'set_rules',
      { firewall_rules: rulesForPort(rules, mac) },
      { timeout_ms: limits.zone_boot_ms_max },
    )
  // A port that is not made yet is made with the rules of its instance's start.
  if (told.ok || told.error === 'not_found') return true
  services.log.warn('a port did not take the rules', { port: id, detail: told.detail })
  return false
}
