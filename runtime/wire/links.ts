/**
 * The links of a host: those that it accepts, and those that it dials and keeps up. Between hosts
 * they run over TLS, where both ends prove by certificate who they are. A host has one link at a
 * time; a newer one ends the older.
 */
import assert from 'node:assert/strict'
import { createConnection, createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import { limits } from '#config/limits.ts'
import type { Channel } from '../channel/channel.ts'
import { isoTime } from '../clock.ts'
import type { Random } from '../random.ts'
import { explain } from '../result.ts'
import { shown, type ChannelSeen } from '../seeing/snapshot.ts'
import type { Identity } from '../tls/identity.ts'
import { SecureListener, type Refusal } from '../tls/listener.ts'
import { dialSecurely, peerIdentity } from '../tls/secure.ts'
import { isOpen } from '../codec/shape.ts'
import { Link, type LinkHost } from './link.ts'
import { listenAt, type ListenAt } from './listening.ts'

/** How hosts know each other. */
export interface Security {
  /** What this host proves itself with, and holds others against. */
  readonly identity: Identity
  /** Who may be at the other end of a link; any other host is refused, whatever its certificate. */
  readonly peers: readonly string[]
}

export interface LinkOptions extends LinkHost {
  /** Spreads out the attempts of those who lost a link at the same moment. */
  readonly random: Random
  /** Null where the way itself is safe: a unix socket that only root reaches. */
  readonly security: Security | null
  /** A peer is there or gone. */
  readonly onPeer?: (host: string, isUp: boolean) => void
}

/** Where others come in: SecureListener's, or one that lets in whoever gets there. */
interface Door {
  readonly listen: (where: ListenAt) => Promise<unknown>
  readonly close: () => void
  readonly refusal: Refusal | null
}

/** A host that is dialled until there is a link to it, and again when that link ends. */
interface Dialled {
  readonly host: string
  readonly connect: () => Socket
  delay_ms: number
  /** Why there is no link; null while there is one, or the first attempt runs. */
  trouble: string | null
}

export class Links {
  readonly #options: LinkOptions
  readonly #peers = new Map<string, Link>()
  readonly #links = new Set<Link>()
  /** Accepted links whose other end has not said who it is, oldest first. */
  readonly #strangers = new Set<Link>()
  readonly #dialled: Dialled[] = []
  #door: Door | null = null
  #stopChecks: () => void = () => undefined
  #closed = false

  constructor(options: LinkOptions) {
    for (const { call } of options.exports.flatMap(({ rows }) => [...rows.values()])) {
      const isClosed = !isOpen(call.request) && !isOpen(call.reply)
      assert(isClosed, 'what comes from another host has a schema that says all of it')
    }
    this.#options = options
    if (options.security !== null) this.#keepChecking(options.security.identity)
  }

  /** The way to a host; null while no link to it is up. */
  to(host: string): Channel | null {
    return this.#peers.get(host)?.channel ?? null
  }

  get peers(): readonly string[] {
    return [...this.#peers.keys()]
  }

  /** Which hosts are not reached and why, and who was refused lately, a sentence each. */
  get troubles(): readonly string[] {
    const { host: own, clock } = this.#options
    const dialled = this.#dialled.flatMap(({ host, trouble }) =>
      trouble === null ? [] : [`${host} is not reached: ${trouble}`],
    )
    const refusal = this.#door?.refusal ?? null
    const isOld = refusal === null || clock.now() - refusal.at_ms > limits.tls_refusal_shown_ms
    if (isOld) return dialled
    const { count, at_ms, why } = refusal
    const times = count === 1 ? 'a connection' : `${count} connections, the last`
    return [...dialled, `${own} refused ${times} at ${isoTime(at_ms)}: ${why}`]
  }

  /** Links that are up, and those that should be, for people. */
  inspect(): ChannelSeen[] {
    const up = [...this.#peers].map(([host, { channel }]) => ({
      to: `host ${host}`,
      is_up: true,
      why: null,
      inflight: channel.inflight,
      served: channel.inspect().serving,
    }))
    const down = this.#dialled
      .filter(({ host }) => !this.#peers.has(host))
      .map(({ host, trouble }) => ({
        to: `host ${host}`,
        is_up: false,
        why: trouble === null ? null : shown(trouble),
        inflight: 0,
        served: 0,
      }))
    return [...up, ...down]
  }

  /** Accepts links. Rejects when the place is taken. */
  async listen(where: ListenAt): Promise<void> {
    const door = this.#makeDoor()
    await door.listen(where)
    if (this.#closed) door.close()
    else this.#door = door
  }

  /** Keeps a link to `host`, at `connect()`'s other end, up until `close`. */
  dial(host: string, connect: () => Socket): void {
    const peers = this.#options.security?.peers
    assert(peers === undefined || peers.includes(host), `${host} is no peer of this host`)
    const dialled: Dialled = { host, connect, delay_ms: limits.link_retry_ms_min, trouble: null }
    this.#dialled.push(dialled)
    this.#attempt(dialled)
  }

  /** Ends all links and stops accepting and dialling. */
  close(): void {
    this.#closed = true
    this.#stopChecks()
    this.#door?.close()
    for (const link of this.#links) link.end('this host stops')
  }

  #makeDoor(): Door {
    const { security, clock, log } = this.#options
    if (security === null) {
      return plainDoor((socket) => {
        this.accept(socket, null)
      })
    }
    return new SecureListener({
      identity: security.identity,
      peers: security.peers,
      clock,
      log,
      onHost: (socket, host) => {
        this.accept(socket, host)
      },
    })
  }

  /** Takes a connection that somebody opened to this host, and proved to be `expected`. */
  accept(stream: Duplex, expected: string | null): void {
    const [oldest] = this.#strangers
    // A newcomer takes the place of who has kept us waiting longest: a flood keeps nobody out.
    if (oldest !== undefined && this.#strangers.size >= limits.link_strangers_max) {
      oldest.end('too many connections had not said who they are')
    }
    this.#strangers.add(
      this.#adopt(stream, expected, (why, wasUp) => {
        if (!wasUp) this.#options.log.warn('a connection came to nothing', { peer: expected, why })
      }),
    )
  }

  #attempt(dialled: Dialled): void {
    if (this.#closed) return
    const { host, connect } = dialled
    if (this.#peers.has(host)) {
      // It has dialled us meanwhile, and one link is enough.
      this.#attemptLater(dialled)
      return
    }
    const { security, clock } = this.#options
    let raw: Socket
    try {
      raw = connect()
    } catch (error) {
      this.#lost(dialled, explain(error))
      return
    }
    raw.setNoDelay(true)
    const stream =
      security === null
        ? raw
        : dialSecurely(raw, host, { credentials: security.identity.credentials, clock })
    const began_ms = clock.monotonic()
    this.#adopt(stream, host, (why, wasUp) => {
      raw.destroy()
      // A link that never holds is no better than none.
      const isSteady = wasUp && clock.monotonic() - began_ms > limits.link_retry_ms_max
      if (isSteady) dialled.delay_ms = limits.link_retry_ms_min
      this.#lost(dialled, why)
    })
  }

  #lost(dialled: Dialled, why: string): void {
    if (this.#closed) return
    const { host, trouble } = dialled
    if (trouble !== why) this.#options.log.warn('a host is not reached', { to: host, why })
    dialled.trouble = why
    this.#attemptLater(dialled)
  }

  /** Tries again after a while: longer each time, and at no moment that others would have too. */
  #attemptLater(dialled: Dialled): void {
    const { clock, random } = this.#options
    clock.after(dialled.delay_ms * (0.5 + random.next() / 2), () => {
      this.#attempt(dialled)
    })
    dialled.delay_ms = Math.min(limits.link_retry_ms_max, dialled.delay_ms * 2)
  }

  #adopt(
    stream: Duplex,
    expected: string | null,
    ended: (why: string, wasUp: boolean) => void,
  ): Link {
    const link = new Link({ stream, expected }, this.#options, {
      up: (up, host) => {
        this.#strangers.delete(up)
        // What a connection was begun with may have changed before it stood.
        this.#check(up)
        if (!stream.destroyed) this.#isUp(up, host)
      },
      down: (down, why) => {
        this.#strangers.delete(down)
        this.#links.delete(down)
        const { peer } = down
        if (peer !== null && this.#peers.get(peer) === down) {
          this.#peers.delete(peer)
          this.#options.onPeer?.(peer, false)
        }
        ended(why, peer !== null)
      },
    })
    this.#links.add(link)
    return link
  }

  #isUp(link: Link, host: string): void {
    this.#peers.get(host)?.end('the peer opened a newer link')
    this.#peers.set(host, link)
    for (const dialled of this.#dialled) if (dialled.host === host) dialled.trouble = null
    this.#options.onPeer?.(host, true)
  }

  /** Ends links whose peers are no longer who they proved to be: revoked, expired, of an old rack. */
  #keepChecking(identity: Identity): void {
    const check = () => {
      for (const link of this.#links) if (link.peer !== null) this.#check(link)
    }
    const checkLater = (): (() => void) =>
      this.#options.clock.after(limits.tls_recheck_ms, () => {
        check()
        stopTimer = checkLater()
      })
    let stopTimer = checkLater()
    const stopListening = identity.onChange(check)
    this.#stopChecks = () => {
      stopTimer()
      stopListening()
    }
  }

  #check(link: Link): void {
    const { security, clock } = this.#options
    const { stream } = link
    if (security === null) return
    assert(stream instanceof TLSSocket, 'hosts talk over TLS')
    const proved = peerIdentity(stream, security.identity.credentials, clock.now())
    if (proved.ok) return
    this.#options.log.warn('a host is trusted no longer', { peer: link.peer, why: proved.detail })
    link.end(proved.detail)
  }
}

/** A connector for `dial`: an address and port, or a unix socket's path. */
export const connector =
  (where: { readonly host: string; readonly port: number } | { readonly path: string }) =>
  (): Socket =>
    createConnection({ ...where })

function plainDoor(onSocket: (socket: Socket) => void): Door {
  const server = createServer({ noDelay: true }, onSocket)
  return {
    refusal: null,
    listen: async (where) => {
      await listenAt(server, where)
    },
    close: () => {
      server.close()
    },
  }
}
