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
  const warnings = [...(await certificateWarnings(state, plan.value, systemClock.now()))]
  const members = await lookAtMembers(state, plan.value)
  for (const { why } of members) if (why !== null) warnings.push(why)
  const status = await askSled(state, plan.value)
  if (status.ok) warnings.push(...(await askWarnings(state, plan.value)))
  for (const warning of json ? [] : warnings) process.stderr.write(`luge: warning: ${warning}\n`)
  if (!status.ok) return status
  process.stdout.write(
    json
      ? `${JSON.stringify({ ...status.value, members, warnings })}\n`
      : asText(plan.value, status.value, members),
  )
  const { troubles } = status.value
  return troubles.length === 0 ? ok(null) : err('not_serving', troubles.join('; '))
}

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

/** The status of the rack's first sled. */
export async function askSled(state: string, plan: RackPlan): Promise<Result<SledStatus, string>> {
  const [sled] = plan.sleds
  if (sled === undefined) return err('invalid_file', 'the plan has no sled')
  return await withSled(
    state,
    sled,
    async (ref) =>
      await ref(sledProtocol, sled.id).call('status', null, { timeout_ms: ask_ms_max }),
  )
}

/** What should be looked at although the sled serves. */
async function askWarnings(state: string, plan: RackPlan): Promise<readonly string[]> {
  const [sled] = plan.sleds
  if (sled === undefined) return []
  const asked = await withSled(
    state,
    sled,
    async (ref) =>
      await ref(sledProtocol, sled.id).call('warnings', null, { timeout_ms: ask_ms_max }),
  )
  // A supervisor of an earlier version knows of none.
  return asked.ok ? asked.value : []
}

function asText(plan: RackPlan, status: SledStatus, members: readonly MemberStatus[]): string {
  const zones = status.zones.map((zone) => `  ${zone.state.padEnd(8)} ${zone.name}`)
  return [
    `rack      ${plan.rack_id}`,
    `platform  ${plan.platform}`,
    `sled      ${status.sled_id}`,
    `guests    ${status.accelerator}`,
    `nexus     ${status.nexus_connected ? 'connected' : 'not connected'}`,
    ...members.map(
      ({ id, external, why }) => `  ${why === null ? 'answers' : 'silent '}  ${id}  ${external}`,
    ),
    'zones',
    ...zones,
    '',
  ].join('\n')
}
