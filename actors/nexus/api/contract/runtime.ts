/** What the internal APIs, Nexus' and the sled agent's, both speak of: the states of things. */
import { Type } from 'typebox'
import { diskState } from './disks.ts'
import { instanceState } from './instances.ts'
import { byteCount, instanceCpuCount, maybe, time, uuid, whole } from '#actors/http/words.ts'

/** Counts the changes of something; what has a lower one than is known is old. */
export const generation = whole(
  { component: 'Generation', format: 'uint64', minimum: 0 },
  Number.MAX_SAFE_INTEGER,
)

export const instanceRuntimeState = Type.Object(
  {
    run_state: instanceState,
    sled_id: uuid,
    propolis_id: uuid,
    dst_propolis_id: maybe(uuid),
    propolis_addr: maybe(Type.String()),
    migration_id: maybe(uuid),
    ncpus: instanceCpuCount,
    memory: byteCount,
    hostname: Type.String(),
    gen: generation,
    time_updated: time,
  },
  { component: 'InstanceRuntimeState' },
)

export const diskRuntimeState = Type.Object(
  { disk_state: diskState, gen: generation, time_updated: time },
  { component: 'DiskRuntimeState' },
)

export const updateArtifactKind = Type.Enum(['zone'], { component: 'UpdateArtifactKind' })
