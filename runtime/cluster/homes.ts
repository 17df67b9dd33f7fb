/** A cluster as the runtime's virtual actors need it: a member's id is its host's name. */
import type { Homes } from '../actor/virtual.ts'
import type { Cluster } from './cluster.ts'

export function clusterHomes({ membership, leases, directory }: Cluster): Homes {
  const { session } = membership
  return {
    here: session.member_id,
    home: (kind, id) => directory.home(kind, id)?.member_id ?? null,
    claim: async (kind, id) => await directory.claim(kind, id),
    standing: ({ name, generation }) => {
      const lease = { ...session, name, generation }
      if (leases.isHeld(lease)) return 'held'
      const isOurs = leases
        .held()
        .some((held) => held.name === name && held.generation === generation)
      return isOurs ? 'doubtful' : 'lost'
    },
    release: async ({ name, generation }) => await leases.release({ ...session, name, generation }),
    onChange: (callback) => membership.onChange(callback),
  }
}
