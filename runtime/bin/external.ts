/**
 * The API's listeners: each serves all of it, with TLS or without. Certificates are read before anything
 * else is done, and again from time to time, so that one that was renewed counts without a restart.
 */
import type { FastifyInstance } from 'fastify'
import { makeServer, renewCertificate } from '#actors/nexus/api/server.ts'
import type { ConsoleFiles } from '#actors/nexus/api/console.ts'
import type { ExternalListener, NexusConfig } from '#actors/nexus/config.ts'
import type { Services } from '#actors/nexus/context.ts'
import { routes } from '#actors/nexus/routes.ts'
import { limits } from '#config/limits.ts'
import type { ServerTls } from '#config/tls.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { staticFiles } from '#runtime/static_files.ts'
import { readKeyPair, type KeyPair } from '#runtime/tls/credentials.ts'

/** The first descriptor that is handed over (sd_listen_fds(3)). */
const handed_fd_first = 3

interface Listener {
  readonly at: ExternalListener
  readonly pair: KeyPair | null
}

export class External {
  readonly #listeners: readonly Listener[]
  readonly #servers: FastifyInstance[] = []
  readonly #clock: Clock
  readonly #log: Log
  readonly #stops: (() => void)[] = []

  /** Throws a sentence that names the file when a certificate or key cannot be used. */
  constructor(
    listeners: readonly ExternalListener[],
    given: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#clock = given.clock
    this.#log = given.log
    this.#listeners = listeners.map((at) => ({ at, pair: this.#read(at.tls) }))
  }

  /** Serves on all of them: sockets that were handed over, in the config's order, or its addresses. */
  async open(services: Services): Promise<void> {
    const handed = handedSockets()
    if (handed !== null && handed !== this.#listeners.length) {
      throw new Error(
        `LISTEN_FDS is ${handed}, and the config's external has ${this.#listeners.length} listeners: hand over one socket for each`,
      )
    }
    const console = consoleOf(services.config)
    for (const [index, { at, pair }] of this.#listeners.entries()) {
      const server = makeServer({ services, routes, tls: pair, console })
      this.#servers.push(server)
      if (handed === null) await server.listen({ host: at.address, port: at.port })
      else await listenOn(server, handed_fd_first + index)
      if (at.tls !== undefined && pair !== null) this.#follow(server, at.tls, pair)
    }
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop()
    await Promise.all(this.#servers.map(async (server) => await server.close()))
  }

  #read(tls: ServerTls | undefined): KeyPair | null {
    if (tls === undefined) return null
    const pair = readKeyPair(tls, this.#clock.now())
    if (!pair.ok) throw new Error(`the API's certificate: ${pair.detail}`)
    return pair.value
  }

  /** Looks at the files again and again. Files that are wrong change nothing, and are told once. */
  #follow(server: FastifyInstance, tls: ServerTls, first: KeyPair): void {
    let [shown, trouble] = [first, '']
    const look = (): void => {
      const read = readKeyPair(tls, this.#clock.now())
      if (!read.ok && read.detail !== trouble) {
        this.#log.error("the API's certificate stays as it was", { why: read.detail })
      }
      trouble = read.ok ? '' : read.detail
      if (read.ok && !isSame(read.value, shown)) {
        shown = read.value
        renewCertificate(server, shown)
        this.#log.info("the API's certificate was read again", { until: shown.leaf.validTo })
      }
      this.#stops[place] = this.#clock.after(limits.tls_reload_ms, look)
    }
    const place = this.#stops.push(this.#clock.after(limits.tls_reload_ms, look)) - 1
  }
}

const isSame = (a: KeyPair, b: KeyPair) => a.certificate === b.certificate && a.key === b.key

function consoleOf({ console }: NexusConfig): ConsoleFiles | null {
  if (console === undefined) return null
  const { static_dir, cache_control_max_age_minutes } = console
  return { files: staticFiles(static_dir), max_age_s: 60 * cache_control_max_age_minutes }
}

/** How many sockets whoever started this process handed over; null when it opens its own. */
function handedSockets(): number | null {
  const count = process.env['LISTEN_FDS']
  return count === undefined ? null : Number(count)
}

async function listenOn(server: FastifyInstance, fd: number): Promise<void> {
  await server.ready()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.server.once('error', reject)
  server.server.listen({ fd }, () => {
    resolve()
  })
  await promise
}
