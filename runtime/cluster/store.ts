/**
 * What a cluster needs of a store. Every operation is atomic (one statement or one transaction), so
 * the store is the only arbiter: members never agree on anything among themselves. An operation
 * rejects when the store cannot be reached; then it may have been done.
 *
 * `memory.ts` and `sql.ts` implement it; `test/kit/lease_store_suite.ts` says what they must do.
 */

/** One life of a member: a process that starts anew joins with a higher incarnation. */
export interface Session {
  readonly member_id: string
  readonly incarnation: number
}

/** Who holds a lease, and where others reach it; the store does not look into the address. */
export interface Holder extends Session {
  readonly address: string
}

/** A session that has neither left nor been fenced. */
export interface MemberRow extends Holder {
  /** Grows with every renewal. That it grows says that the member lives; its value says nothing. */
  readonly heartbeat: number
}

/** The right to be the only one who does something, until the session ends or it is released. */
export interface Lease extends Session {
  readonly name: string
  /** Higher than every earlier generation of this name, also after release and takeover. */
  readonly generation: number
}

/** What the store knows about a name that was held at least once. */
export interface LeaseRow {
  readonly name: string
  /** The newest that was given out. */
  readonly generation: number
  /** Who holds it: a session that is not over. Null when the name is free to take. */
  readonly holder: Holder | null
}

export interface LeaseQuery {
  /** Only leases of this session; null for all that are held. */
  readonly holder: Session | null
  /** Names behind this one, in the store's order; null to begin. */
  readonly after: string | null
  readonly limit: number
}

export interface JoinRequest {
  readonly member_id: string
  readonly address: string
  /**
   * Ends all earlier sessions of this member at once. Only for a caller who saw the earlier process
   * end (its parent, say); otherwise that process may still act.
   */
  readonly supersede: boolean
}

export interface LeaseStore {
  /** Begins a session whose incarnation is higher than all earlier ones of this member. */
  readonly join: (request: JoinRequest) => Promise<Session>
  /** Counts the heartbeat up; false when the session is over, which it then is forever. */
  readonly renew: (session: Session) => Promise<boolean>
  /** All sessions that are not over, by member and incarnation. */
  readonly members: () => Promise<readonly MemberRow[]>
  /** Ends a session by its own wish; its leases are free from then on. */
  readonly leave: (session: Session) => Promise<void>
  /** Ends another's session if its heartbeat is still the one that was seen; false when it is not. */
  readonly fence: (seen: MemberRow) => Promise<boolean>
  /** Null when the name was never held. */
  readonly lease: (name: string) => Promise<LeaseRow | null>
  /** A page of the leases that are held, by name. */
  readonly leases: (query: LeaseQuery) => Promise<readonly LeaseRow[]>
  /**
   * Gives `lease` out if its generation is the one after the store's, and nobody else holds the
   * name, and the taker's session is not over. False otherwise. Because it names the generation, a
   * request that was delayed or repeated does nothing.
   */
  readonly take: (lease: Lease) => Promise<boolean>
  /** Frees the name if exactly this lease is held; false otherwise. The generation stays. */
  readonly release: (lease: Lease) => Promise<boolean>
}

export const isSameSession = (one: Session, other: Session): boolean =>
  one.member_id === other.member_id && one.incarnation === other.incarnation

/** The session as a person reads it, and as a key: `nexus-1#3`. */
export const sessionName = ({ member_id, incarnation }: Session): string =>
  `${member_id}#${incarnation}`

/** The fencing check: whether exactly this lease is the one that the store has given out last. */
export const isCurrent = (lease: Lease, row: LeaseRow | null): boolean =>
  row !== null &&
  row.generation === lease.generation &&
  row.holder !== null &&
  isSameSession(row.holder, lease)
