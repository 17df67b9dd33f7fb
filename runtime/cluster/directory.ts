/**
 * Who hosts what. A name belongs at its home, which every member computes alike (`rendezvous.ts`);
 * who really hosts it is who holds its lease. While members come and go the two differ for a moment,
 * and members may disagree about homes; the lease decides.
 *
 * A virtual actor: send its message to `home`. There `claim` gives the generation under which it
 * runs, or says who else has it; `locate` asks the store. When members change, `misplaced` says what
 * to end here and release, so that it begins anew at its home.
 */
import assert from 'node:assert/strict'
import { err, ok, type Result } from '../result.ts'
import type { AcquireError, Leases } from './leases.ts'
import type { Membership } from './membership.ts'
import { homeOf } from './rendezvous.ts'
import type { Lease, LeaseStore } from './store.ts'
import { ask, type Time, type Timing } from './timing.ts'

export interface Host {
  readonly member_id: string
  readonly address: string
}

export interface Location {
  readonly host: Host
  /** Of the lease under which it runs there; null when it runs nowhere and `host` is its home. */
  readonly generation: number | null
}

export interface DirectoryOptions {
  readonly store: LeaseStore
  readonly time: Time
  readonly timing: Timing
  readonly membership: Membership
  readonly leases: Leases
}

/** Leases of the directory, as opposed to those that members take for other ends. */
const prefix = 'actor/'

/** The name of one actor's lease. */
export function actorName(kind: string, id: string): string {
  assert(!kind.includes('/'), `a kind of actor has no slash in its name: ${kind}`)
  return `${prefix}${kind}/${id}`
}

export class Directory {
  readonly #options: DirectoryOptions

  constructor(options: DirectoryOptions) {
    this.#options = options
  }

  /** Where an actor belongs now, as far as this member knows; null when its session is over. */
  home(kind: string, id: string): Host | null {
    return this.#homeOf(actorName(kind, id))
  }

  /**
   * Where an actor is hosted, by the store's word, or else where it belongs. `not_live`: this
   * member's session is over.
   */
  async locate(
    kind: string,
    id: string,
  ): Promise<Result<Location, 'not_live' | 'store_unavailable'>> {
    const name = actorName(kind, id)
    const { store, time, timing } = this.#options
    const row = await ask(
      time,
      timing.heartbeat_ms,
      `show ${name}`,
      async () => await store.lease(name),
    )
    if (!row.ok) return row
    if (row.value !== null && row.value.holder !== null) {
      return ok({ host: hostOf(row.value.holder), generation: row.value.generation })
    }
    const home = this.#homeOf(name)
    if (home === null) return err('not_live', `${name} has no home: this member's session is over`)
    return ok({ host: home, generation: null })
  }

  /** Takes an actor that belongs here. `elsewhere`: it belongs to another member. */
  async claim(kind: string, id: string): Promise<Result<Lease, AcquireError | 'elsewhere'>> {
    const { membership, leases } = this.#options
    const home = this.home(kind, id)
    const here = membership.session.member_id
    if (home !== null && home.member_id !== here) {
      return err('elsewhere', `${actorName(kind, id)} belongs to ${home.member_id}, not to ${here}`)
    }
    return await leases.acquire(actorName(kind, id))
  }

  /** Actors hosted here that belong elsewhere by now: end each, then release its lease. */
  misplaced(): readonly Lease[] {
    const here = this.#options.membership.session.member_id
    return this.#options.leases
      .held()
      .filter(({ name }) => name.startsWith(prefix))
      .filter(({ name }) => (this.#homeOf(name)?.member_id ?? here) !== here)
  }

  #homeOf(name: string): Host | null {
    const { membership } = this.#options
    if (['fenced', 'left'].includes(membership.state())) return null
    const members = membership.members()
    const home = homeOf(
      name,
      members.map(({ member_id }) => member_id),
    )
    const host = members.find(({ member_id }) => member_id === home)
    return host === undefined ? null : hostOf(host)
  }
}

const hostOf = ({ member_id, address }: Host): Host => ({ member_id, address })
