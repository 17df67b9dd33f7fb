/** `luge zone list` and `luge logs`: the zones of this machine and what they wrote. */
import { createReadStream, existsSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { join } from 'node:path'
import { err, ok, type Result } from '#runtime/result.ts'
import { nexusFiles, nexusState, sledFiles, sledState } from './layout.ts'
import { readPlan } from './plan.ts'
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
  const [sled] = plan.value?.sleds ?? []
  if (sled === undefined) return err('no_rack', `there is no rack in ${state}`)
  const files = sledFiles(sledState(state, sled.number))
  const path = logPath(state, files, zone)
  if (path === null || !existsSync(path)) return err('not_found', `zone ${zone} has no log here`)
  await pipeline(createReadStream(path), process.stdout, { end: false })
  return ok(null)
}

function logPath(state: string, files: ReturnType<typeof sledFiles>, zone: string): string | null {
  if (zone === 'supervisor') return files.log
  if (zone === 'oxz_nexus') return nexusFiles(nexusState(state)).log
  return /^oxz_[a-z0-9_-]+$/.test(zone) ? join(files.zones, zone, 'log') : null
}
