/** `luge zone list` and `luge logs`: the zones of this machine and what they wrote. */
import { createReadStream, existsSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { join } from 'node:path'
import { err, ok, type Result } from '#runtime/result.ts'
import { nexusFiles, nexusState, nexusZoneName, sledFiles, sledState } from './layout.ts'
import { readPlan, type RackPlan } from './plan.ts'
import { askSled } from './status.ts'

export async function listZones(state: string): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  if (plan.value === null) return err('no_rack', `there is no rack in ${state}`)
  const status = await askSled(state, plan.value)
  if (!status.ok) return status
  for (const zone of status.value.zones) {
    process.stdout.write(`${zone.name}\t${zone.state}\t${zone.pid ?? '-'}\n`)
  }
  return ok(null)
}

export async function printLog(state: string, zone: string): Promise<Result<null, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  const rack = plan.value
  const [sled] = rack?.sleds ?? []
  if (rack === null || sled === undefined) return err('no_rack', `there is no rack in ${state}`)
  const files = sledFiles(sledState(state, sled.number))
  const path = logPath({ state, plan: rack }, files, zone)
  if (path === null || !existsSync(path)) return err('not_found', `zone ${zone} has no log here`)
  await pipeline(createReadStream(path), process.stdout, { end: false })
  return ok(null)
}

function logPath(
  { state, plan }: { readonly state: string; readonly plan: RackPlan },
  files: ReturnType<typeof sledFiles>,
  zone: string,
): string | null {
  if (zone === 'supervisor') return files.log
  const nexus = plan.nexus.findIndex((_member, index) => nexusZoneName(index + 1) === zone)
  if (nexus !== -1) return nexusFiles(nexusState(state, nexus + 1)).log
  return /^oxz_[a-z0-9_-]+$/.test(zone) ? join(files.zones, zone, 'log') : null
}
