/** What guests have asked of their disks: samples as the sleds tell them, kept for a while. */
import type { DiskSample } from '#actors/nexus.protocol.ts'
import { limits } from '#config/limits.ts'
import type { Services } from '../context.ts'

/** Keeps what a sled has told, and lets go of what is too old. */
export async function keepSamples(
  { store, clock }: Services,
  samples: readonly DiskSample[],
): Promise<void> {
  if (samples.length > 0) {
    await store
      .insertInto('disk_sample')
      .values(samples)
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
  await store
    .deleteFrom('disk_sample')
    .where('time_ms', '<', clock.now() - limits.disk_samples_kept_ms)
    .execute()
}
