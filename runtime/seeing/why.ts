/**
 * Who waits for whom, in sentences: from a call, or from what an actor works on, to whatever keeps it
 * from going on, across threads and hosts. Pure: a view of snapshots.
 */
import type { ActorSeen, CallSeen, Snapshot, ThreadSeen } from './snapshot.ts'

/** A host that could not be looked at, and why. */
export interface Unseen {
  readonly host: string
  readonly why: string
}
/** One thing that waits, and a sentence for each step to what it waits for. */
export type Chain = readonly string[]

interface Call extends CallSeen {
  readonly host: string
}
/** An actor, and all that is known of where it is. */
interface Place {
  readonly snapshot: Snapshot
  readonly thread: ThreadSeen
  readonly actor: ActorSeen | null
}

/** What has not waited so long is nobody's trouble. */
const stuck_ms_min = 1_000
const chains_max = 20

/** Explains what waits: all that has waited for a while, or what `wanted` is a part of the name of. */
export function whyOf(
  snapshots: readonly Snapshot[],
  unseen: readonly Unseen[],
  wanted: string | null,
): readonly Chain[] {
  return new Explainer(snapshots, unseen).chains(wanted)
}

class Explainer {
  readonly #snapshots: readonly Snapshot[]
  readonly #unseen: readonly Unseen[]
  readonly #calls: readonly Call[]
  /** Actors that a chain has come by, as `host actor`. */
  readonly #told = new Set<string>()

  constructor(snapshots: readonly Snapshot[], unseen: readonly Unseen[]) {
    this.#snapshots = snapshots
    this.#unseen = unseen
    this.#calls = snapshots
      .flatMap(({ host, threads }) =>
        threads.flatMap(({ calls }) =>
          // A call that was addressed to this host by name is one of this host.
          calls.map((call) => ({
            ...call,
            host,
            to_host: call.to_host === '' ? host : call.to_host,
          })),
        ),
      )
      .toSorted((a, b) => b.for_ms - a.for_ms)
  }

  chains(wanted: string | null): readonly Chain[] {
    const silent = wanted === null ? this.#silent() : []
    const others = this.#ofOthers(wanted)
    return [...this.#ofCalls(wanted), ...this.#ofActors(wanted), ...others, ...silent].slice(
      0,
      chains_max,
    )
  }

  #ofCalls(wanted: string | null): readonly Chain[] {
    const chains: Chain[] = []
    for (const call of this.#calls.filter(wanted === null ? this.#isRoot() : isAbout(wanted))) {
      // With a name given, what an earlier chain came by is told there.
      if (wanted !== null && this.#told.has(`${call.to_host} ${call.to_actor}`)) continue
      chains.push([this.#waits(call), ...this.#at(call.to_host, call.to_actor, call.message)])
    }
    return chains
  }

  /** What actors work on that nobody waits for. */
  #ofActors(wanted: string | null): readonly Chain[] {
    const chains: Chain[] = []
    for (const { snapshot, actor } of this.#actors()) {
      const { name, running } = actor
      const isMeant =
        wanted === null ? (running?.for_ms ?? 0) >= stuck_ms_min : name.includes(wanted)
      if (!isMeant || this.#told.has(`${snapshot.host} ${name}`)) continue
      chains.push(this.#at(snapshot.host, name, running?.message ?? ''))
    }
    return chains
  }

  /** Calls that have waited for a while, but for those on the way of another: they are told there. */
  #isRoot(): (call: Call) => boolean {
    const called = new Set(this.#calls.map(({ to_host, to_actor }) => `${to_host} ${to_actor}`))
    return ({ for_ms, host, by }) =>
      for_ms >= stuck_ms_min && !called.has(`${host} ${by?.actor ?? ''}`)
  }

  *#actors(): Iterable<Place & { readonly actor: ActorSeen }> {
    for (const snapshot of this.#snapshots) {
      for (const thread of snapshot.threads) {
        for (const actor of thread.actors) yield { snapshot, thread, actor }
      }
    }
  }

  #waits({ by, host, to_host, to_actor, message, for_ms, timeout_ms }: Call): string {
    const who = by === null ? `somebody in ${this.#nameOf(host)}` : by.what
    const where = to_host === host ? '' : ` in ${this.#nameOf(to_host)}`
    const limit = `${seconds(for_ms)} of at most ${seconds(timeout_ms)}`
    return `${who} waits for ${to_actor} ${message}${where}, for ${limit}.`
  }

  /** What keeps an actor from answering `message`, and what keeps that. */
  #at(host: string, name: string, message: string): Chain {
    const key = `${host} ${name}`
    if (this.#told.has(key)) return [`${name} is told of above, or waits for itself in a circle.`]
    this.#told.add(key)
    const place = this.#find(host, name)
    if (typeof place === 'string') return [place]
    const { thread, actor } = place
    const where = `thread ${thread.name} of ${this.#nameOf(host)}`
    if (!thread.answers) return [silence(where, thread)]
    if (actor === null) return [`${name} is quiet or not there (${where}).`]
    if (actor.phase === 'down') {
      return [`${name} is down (${where}): ${actor.last_failure ?? 'nobody knows why'}.`]
    }
    const { running } = actor
    const doing =
      running === null
        ? `${name} works on nothing (${where})`
        : `${name} (${where}) works on ${running.message} for ${seconds(running.for_ms)}`
    const behind =
      actor.depth === 0
        ? ''
        : `, and ${actor.depth} ${actor.depth === 1 ? 'message waits' : 'messages wait'} behind it`
    return [`${doing}${behind}.`, ...this.#behind(place, name, running === null ? message : null)]
  }

  /** What an actor waits for itself: with `late`, on behalf of a message that it answers later. */
  #behind({ snapshot, thread, actor }: Place, name: string, late: string | null): Chain {
    const what = `${name} ${late ?? actor?.running?.message ?? ''}`
    const isOurs = (by: CallSeen['by']) =>
      by?.actor === name && (late === null ? by.is_running : by.what === what)
    const calls = this.#calls.filter(({ host, by }) => host === snapshot.host && isOurs(by))
    const natives = thread.natives.filter(
      (native) => native.actor === name && (late === null || native.what === what),
    )
    const inside = natives.map(waiting)
    const [first] = calls
    if (first !== undefined) {
      const more =
        calls.length > 1 ? [`${name} waits for ${calls.length - 1} other calls too.`] : []
      const { to_host, to_actor, message } = first
      return [...inside, this.#waits(first), ...more, ...this.#at(to_host, to_actor, message)]
    }
    if (inside.length > 0) return inside
    if (actor?.running === null) return []
    return [`It waits for nothing that is seen here.`]
  }

  /** What requests and sagas wait for beside calls; with nothing named, only what somebody waits for. */
  #ofOthers(wanted: string | null): readonly Chain[] {
    const isMeant = ({ what, for_ms }: NativeSeen) =>
      wanted === null ? for_ms >= stuck_ms_min && what !== '' : what.includes(wanted)
    return this.#snapshots
      .flatMap(({ threads }) => threads.flatMap(({ natives }) => natives))
      .filter((native) => native.actor === '' && isMeant(native))
      .toSorted((a, b) => b.for_ms - a.for_ms)
      .map((native) => [waiting(native)])
  }

  #silent(): readonly Chain[] {
    return this.#snapshots.flatMap(({ host, threads }) =>
      threads
        .filter(({ answers }) => !answers)
        .map((thread) => [silence(`thread ${thread.name} of ${this.#nameOf(host)}`, thread)]),
    )
  }

  /** Where an actor is, or why nobody can tell. */
  #find(host: string, name: string): Place | string {
    const snapshot = this.#snapshots.find((candidate) => candidate.host === host)
    if (snapshot === undefined) {
      const why = this.#unseen.find((candidate) => candidate.host === host)?.why
      return `${name} is in host ${host}, which cannot be looked at: ${why ?? 'it is not of this machine'}.`
    }
    const kind = name.slice(0, name.indexOf('/'))
    for (const thread of snapshot.threads) {
      if (!thread.kinds.some((candidate) => candidate.name === kind)) continue
      const actor = thread.actors.find((candidate) => candidate.name === name) ?? null
      return { snapshot, thread, actor }
    }
    // What a silent thread hosts is not known, but what it is in.
    const silents = snapshot.threads.filter(({ answers }) => !answers)
    const silent =
      silents.find(({ blocked_in }) => (blocked_in?.what ?? '').includes(name)) ?? silents[0]
    return silent === undefined
      ? `nobody in ${this.#nameOf(host)} hosts ${name}.`
      : silence(`thread ${silent.name} of ${this.#nameOf(host)}`, silent)
  }

  #nameOf(host: string): string {
    const service = this.#snapshots.find((candidate) => candidate.host === host)?.service
    return `${service ?? 'host'} ${host}`
  }
}

const isAbout = (wanted: string) => (call: Call) =>
  `${call.to_actor} ${call.message}`.includes(wanted) || (call.by?.what ?? '').includes(wanted)

type NativeSeen = ThreadSeen['natives'][number]

function waiting({ name, what, for_ms }: NativeSeen): string {
  return name.includes(' ')
    ? `${what} waits for the ${name}, for ${seconds(for_ms)}.`
    : `The native call ${name} of ${what} runs for ${seconds(for_ms)}.`
}

function silence(where: string, { blocked_in }: ThreadSeen): string {
  return blocked_in === null
    ? `${where} does not answer: it starts, or runs something that nothing interrupts.`
    : `${where} does not answer: the native call ${blocked_in.what} keeps it for ${seconds(blocked_in.for_ms)}.`
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`
