/** What a guest has asked of its disks, told to Nexus: a series of counters that begins with each start. */
import { limits } from '#config/limits.ts'
import { ok, type Result } from '#runtime/result.ts'
import type { InstanceSpec } from '#actors/instance.protocol.ts'
import type { InstanceContext } from '#actors/instance.work.ts'
import { nexusProtocol, type DiskSample } from '#actors/nexus.protocol.ts'

/** Counts once, tells the first Nexus that takes it, and has it done again. What is lost is a gap. */
export async function sampleDisks(
  context: InstanceContext,
  spec: InstanceSpec,
): Promise<Result<null, never>> {
  context.after(limits.disk_sample_ms, 'sample', { propolis_id: spec.propolis_id })
  const counted = await context.deps.vmm.diskCounters(context.id)
  if (!counted.ok) {
    context.log.debug('the disks of a guest were not counted', { detail: counted.detail })
    return ok(null)
  }
  const { start_ms, disks } = counted.value
  const time_ms = context.clock.now()
  const samples: DiskSample[] = disks.flatMap(({ slot, ...counters }) => {
    const disk_id = spec.disks.find((disk) => disk.slot === slot)?.id
    // A guest connects to its disks once, when it starts.
    return disk_id === undefined ? [] : [{ disk_id, time_ms, start_ms, activated: 1, ...counters }]
  })
  if (samples.length === 0) return ok(null)
  for (const host of context.deps.nexus_hosts()) {
    const told = await context
      .ref(nexusProtocol, 'nexus', host)
      .call('disk_samples', { samples }, { timeout_ms: limits.link_connect_ms })
    if (told.ok) break
  }
  return ok(null)
}
