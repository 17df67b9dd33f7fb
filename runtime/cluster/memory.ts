/** A lease store in memory, for simulated clusters: every call is one atomic step. */
import {
  isCurrent,
  isSameSession,
  sessionName,
  type Lease,
  type LeaseRow,
  type LeaseStore,
  type MemberRow,
  type Session,
} from './store.ts'

interface Held {
  readonly generation: number
  readonly holder: Session | null
}

const byText = (a: string, b: string): number => (a < b ? -1 : Number(a > b))

export class MemoryLeaseStore implements LeaseStore {
  readonly #incarnations = new Map<string, number>()
  readonly #sessions = new Map<string, MemberRow>()
  readonly #leases = new Map<string, Held>()

  readonly join: LeaseStore['join'] = ({ member_id, address, supersede }) => {
    const incarnation = (this.#incarnations.get(member_id) ?? 0) + 1
    this.#incarnations.set(member_id, incarnation)
    for (const [key, row] of this.#sessions) {
      if (supersede && row.member_id === member_id) this.#sessions.delete(key)
    }
    const session = { member_id, incarnation }
    this.#sessions.set(sessionName(session), { ...session, address, heartbeat: 0 })
    return Promise.resolve(session)
  }

  readonly renew: LeaseStore['renew'] = (session) => {
    const row = this.#sessions.get(sessionName(session))
    if (row === undefined) return Promise.resolve(false)
    this.#sessions.set(sessionName(session), { ...row, heartbeat: row.heartbeat + 1 })
    return Promise.resolve(true)
  }

  readonly members: LeaseStore['members'] = () =>
    Promise.resolve(
      [...this.#sessions.values()].toSorted((a, b) =>
        byText(a.member_id, b.member_id) === 0
          ? a.incarnation - b.incarnation
          : byText(a.member_id, b.member_id),
      ),
    )

  readonly leave: LeaseStore['leave'] = (session) => {
    this.#sessions.delete(sessionName(session))
    return Promise.resolve()
  }

  readonly fence: LeaseStore['fence'] = (seen) => {
    const row = this.#sessions.get(sessionName(seen))
    const isSilent = row !== undefined && row.heartbeat === seen.heartbeat
    if (isSilent) this.#sessions.delete(sessionName(seen))
    return Promise.resolve(isSilent)
  }

  readonly lease: LeaseStore['lease'] = (name) => Promise.resolve(this.look(name))

  readonly leases: LeaseStore['leases'] = ({ holder, after, limit }) => {
    const rows = [...this.#leases.keys()]
      .filter((name) => after === null || name > after)
      .toSorted(byText)
      .map((name) => this.look(name))
      .filter((row) => row !== null)
      .filter(
        (row) => row.holder !== null && (holder === null || isSameSession(row.holder, holder)),
      )
    return Promise.resolve(rows.slice(0, limit))
  }

  readonly take: LeaseStore['take'] = (lease) => {
    const row = this.look(lease.name)
    const holder = row?.holder ?? null
    const mayTake =
      this.#sessions.has(sessionName(lease)) &&
      lease.generation === (row?.generation ?? 0) + 1 &&
      (holder === null || isSameSession(holder, lease))
    if (mayTake) this.#put(lease, lease)
    return Promise.resolve(mayTake)
  }

  readonly release: LeaseStore['release'] = (lease) => {
    const mayRelease = isCurrent(lease, this.look(lease.name))
    if (mayRelease) this.#put(lease, null)
    return Promise.resolve(mayRelease)
  }

  /** What `lease` answers, at once: a simulation checks and writes in one step. */
  look(name: string): LeaseRow | null {
    const held = this.#leases.get(name)
    if (held === undefined) return null
    const session = held.holder === null ? null : this.#sessions.get(sessionName(held.holder))
    if (session === null || session === undefined) {
      return { name, generation: held.generation, holder: null }
    }
    const { member_id, incarnation, address } = session
    return { name, generation: held.generation, holder: { member_id, incarnation, address } }
  }

  #put({ name, generation }: Lease, holder: Session | null): void {
    this.#leases.set(name, { generation, holder })
  }
}
