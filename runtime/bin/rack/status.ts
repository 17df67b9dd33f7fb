/** `luge rack status`: what the rack has and how it is, asked from the sled itself. */
import { sledProtocol, type SledStatus } from '#actors/sled.protocol.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { systemClock } from '#runtime/clock.ts'
import { certificateWarnings } from './certificates.ts'
import { membersOf, urlOf } from './configs.ts'
import { nexusTargets, withSled } from './control.ts'
import { Looking } from './looking.ts'
import { readPlan, type RackPlan } from './plan.ts'

const ask_ms_max = 5_000

/** Prints the rack's state; an error when there is no rack or it does not serve. */
export async function rackStatus(state: string, json: boolean): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  if (plan.value === null) return err('no_rack', `there is no rack in ${state}`)
  const members = await lookAtMembers(state, plan.value)
  const sleds = await askSleds(state, plan.value)
  const warnings = await gatherWarnings(state, plan.value, { members, sleds })
  for (const warning of json ? [] : warnings) process.stderr.write(`luge: warning: ${warning}\n`)
  const [first] = sleds
  if (first?.ok !== true) return first ?? err('invalid_file', 'the plan has no sled')
  process.stdout.write(
    json
      ? `${JSON.stringify({ ...first.value, sleds: shown(plan.value, sleds), members, warnings })}\n`
      : asText(plan.value, sleds, members),
  )
  const troubles = sleds.flatMap((sled) => (sled.ok ? sled.value.troubles : [sled.detail]))
  return troubles.length === 0 ? ok(null) : err('not_serving', troubles.join('; '))
}

type Asked = Result<SledStatus, string>
type PlannedSled = RackPlan['sleds'][number]

/** Every sled of the rack: its status, or why it does not say. */
const shown = (plan: RackPlan, sleds: readonly Asked[]) =>
  plan.sleds.map(({ id }, index) => {
    const sled = sleds[index]
    return sled?.ok === true ? sled.value : { sled_id: id, why: sled?.detail ?? '' }
  })

interface MemberStatus {
  readonly id: string
  /** Where it serves the API. */
  readonly external: string
  /** Why it cannot be asked; null for one that answers. */
  readonly why: string | null
}

/** Every Nexus of the rack, and whether it answers. */
async function lookAtMembers(state: string, plan: RackPlan): Promise<readonly MemberStatus[]> {
  const looking = new Looking(nexusTargets(state, plan))
  const looks = await looking.look(0)
  looking.close()
  return membersOf(plan).map(({ id, external }, index) => {
    const seen = looks[index]?.seen ?? null
    const why = seen === null || seen.ok ? null : seen.detail
    return { id, external: urlOf(external), why }
  })
}

/** The status of each of the rack's sleds, in the plan's order. */
export async function askSleds(state: string, plan: RackPlan): Promise<readonly Asked[]> {
  return await Promise.all(
    plan.sleds.map(
      async (sled): Promise<Asked> =>
        await withSled(
          state,
          sled,
          async (ref) =>
            await ref(sledProtocol, sled.id).call('status', null, { timeout_ms: ask_ms_max }),
        ),
    ),
  )
}

/** What should be looked at although the rack serves, a sentence each, each once. */
async function gatherWarnings(
  state: string,
  plan: RackPlan,
  {
    members,
    sleds,
  }: { readonly members: readonly MemberStatus[]; readonly sleds: readonly Asked[] },
): Promise<readonly string[]> {
  const asked = await Promise.all(
    plan.sleds.map(async (sled, index) =>
      sleds[index]?.ok === true ? await askWarnings(state, sled) : [],
    ),
  )
  const all = [
    ...(await certificateWarnings(state, plan, systemClock.now())),
    ...members.flatMap(({ why }) => why ?? []),
    ...asked.flat(),
  ]
  return [...new Set(all)]
}

/** What should be looked at although the sled serves. */
async function askWarnings(state: string, sled: PlannedSled): Promise<readonly string[]> {
  const asked = await withSled(
    state,
    sled,
    async (ref) =>
      await ref(sledProtocol, sled.id).call('warnings', null, { timeout_ms: ask_ms_max }),
  )
  // A supervisor of an earlier version knows of none.
  return asked.ok ? asked.value : []
}

function asText(plan: RackPlan, sleds: readonly Asked[], members: readonly MemberStatus[]): string {
  return [
    `rack      ${plan.rack_id}`,
    `platform  ${plan.platform}`,
    'nexus',
    ...members.map(
      ({ id, external, why }) => `  ${why === null ? 'answers' : 'silent '}  ${id}  ${external}`,
    ),
    ...plan.sleds.flatMap(({ id }, index) => sledLines(id, sleds[index])),
    '',
  ].join('\n')
}

function sledLines(id: string, sled: Asked | undefined): readonly string[] {
  if (sled?.ok !== true) return [`sled      ${id}`, `  silent: ${sled?.detail ?? ''}`]
  const { accelerator, nexus_connected, zones } = sled.value
  return [
    `sled      ${id}`,
    `guests    ${accelerator}`,
    `nexus     ${nexus_connected ? 'connected' : 'not connected'}`,
    'zones',
    ...zones.map((zone) => `  ${zone.state.padEnd(8)} ${zone.name}`),
  ]
}
