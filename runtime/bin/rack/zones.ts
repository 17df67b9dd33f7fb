/** `luge zone list` and `luge logs`: the zones of this machine and what they wrote. */
import { createReadStream, existsSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { join } from 'node:path'
import { err, ok, type Result } from '#runtime/result.ts'
import { nexusFiles, nexusState, nexusZoneName, sledFiles, sledState } from './layout.ts'
import { readPlan, type RackPlan } from './plan.ts'
import { askSleds } from './status.ts'

export async function listZones(state: string): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  if (plan.value === null) return err('no_rack', `there is no rack in ${state}`)
  const sleds = await askSleds(state, plan.value)
  const zones = sleds.flatMap((sled) => (sled.ok ? sled.value.zones : []))
  for (const zone of zones) {
    process.stdout.write(`${zone.name}\t${zone.state}\t${zone.pid ?? '-'}\n`)
  }
  return sleds.find((sled) => !sled.ok) ?? ok(null)
}

export async function printLog(state: string, zone: string): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  const rack = plan.value
  if (rack === null) return err('no_rack', `there is no rack in ${state}`)
  const path = rack.sleds
    .map(({ number }) => logPath({ state, plan: rack }, number, zone))
    .find((candidate) => candidate !== null && existsSync(candidate))
  if (path === undefined || path === null) {
    return err('not_found', `zone ${zone} has no log here`)
  }
  await pipeline(createReadStream(path), process.stdout, { end: false })
  return ok(null)
}

/** Where a sled has the log of this name; `supervisor2` is the second sled's own. */
function logPath(
  { state, plan }: { readonly state: string; readonly plan: RackPlan },
  number: number,
  zone: string,
): string | null {
  const files = sledFiles(sledState(state, number))
  if (zone === (number === 1 ? 'supervisor' : `supervisor${number}`)) return files.log
  const nexus = plan.nexus.findIndex((_member, index) => nexusZoneName(index + 1) === zone)
  if (nexus !== -1) return nexusFiles(nexusState(state, nexus + 1)).log
  return /^oxz_[a-z0-9_-]+$/.test(zone) ? join(files.zones, zone, 'log') : null
}
