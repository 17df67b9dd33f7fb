/** What every operation is given: the store, time, chance, the way to sleds, and who asks. */
import type { Clock } from '#runtime/clock.ts'
import type { Lease } from '#runtime/cluster/store.ts'
import type { Log } from '#runtime/log.ts'
import type { Random } from '#runtime/random.ts'
import type { Tracer, Work } from '#runtime/trace.ts'
import type { NexusConfig } from './config.ts'
import type { Publisher } from './networking/publisher.ts'
import type { PartlyUsed } from './networking/partly-used.ts'
import type { Member } from './member.ts'
import type { Passwords } from './access/passwords.ts'
import type { RequestCounts } from '#actors/http/requests.ts'
import type { Sagas } from './saga.ts'
import type { Sleds } from './sleds.ts'
import type { Store } from './store/schema.ts'

export interface Services {
  readonly config: NexusConfig
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly sleds: Sleds
  readonly member: Member
  readonly sagas: Sagas
  /** What `transact` depends on: the lease of the saga's owner in its nodes; null outside of sagas. */
  readonly fence: Lease | null
  /** The saga whose node these are given to; null outside of sagas. */
  readonly saga: string | null
  readonly publisher: Publisher
  readonly partlyUsed: PartlyUsed
  readonly requests: RequestCounts
  readonly passwords: Passwords
  /** Null while nothing is traced. */
  readonly tracer: Tracer | null
  /** The piece of work that these services are given to; null for none in particular. */
  readonly work: Work | null
}

/** An authenticated user of a silo. */
export interface Actor {
  readonly user_id: string
  readonly silo_id: string
}

/** The fields of a new named row. */
export function newRow(
  services: Services,
  given: { readonly name: string; readonly description: string },
) {
  const now_ms = services.clock.now()
  return {
    id: services.random.uuid(),
    name: given.name,
    description: given.description,
    time_created_ms: now_ms,
    time_modified_ms: now_ms,
    time_deleted_ms: null,
  }
}
