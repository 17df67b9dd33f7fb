/**
 * A process' face to its operator: the control socket in its state directory, the actor that says what
 * the process looks like, and metrics over HTTP where the configuration says so.
 */
import { chmodSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { MetricsListen } from '#config/seeing.ts'
import { systemClock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Protocol } from '#runtime/actor/protocol.ts'
import { systemRandom } from '#runtime/random.ts'
import { explain } from '#runtime/result.ts'
import { Lookout, type LookoutOptions } from '#runtime/seeing/lookout.ts'
import { metricsText, metricsType, scrape_measure_ms } from '#runtime/seeing/metrics.ts'
import { lookAtProcess, type ProcessOptions } from '#runtime/seeing/process.ts'
import { seeingProtocol } from '#runtime/seeing/seeing.protocol.ts'
import { seeing, type SeeingDeps } from '#runtime/seeing/seeing.ts'
import type { Snapshot } from '#runtime/seeing/snapshot.ts'
import type { System } from '#runtime/actor/system.ts'
import { Links } from '#runtime/wire/links.ts'

export interface FaceOptions extends Omit<ProcessOptions, 'clock' | 'lookout'> {
  readonly system: System
  readonly log: Log
  /** Path of the control socket. */
  readonly control: string
  /** What may be called over it besides. */
  readonly exports: readonly Protocol[]
  readonly metrics: MetricsListen | null
  readonly channels: LookoutOptions['channels']
  readonly counters: LookoutOptions['counters']
  /** Takes spans that others cannot export; null where nothing is exported. */
  readonly addSpan: SeeingDeps['addSpan']
}

export class Face {
  readonly #options: FaceOptions
  readonly #lookout: Lookout
  readonly #control: Links
  #server: Server | null = null

  constructor(options: FaceOptions) {
    this.#options = options
    const { system, host, log, channels, counters } = options
    this.#lookout = new Lookout({ thread: 'main', system, clock: systemClock, channels, counters })
    this.#control = new Links({
      host,
      clock: systemClock,
      log,
      random: systemRandom,
      exports: [...options.exports, seeingProtocol],
      serve: () => system,
      // Only who owns the state directory reaches the socket.
      security: null,
    })
    const { addSpan } = options
    const look = async (measure_ms: number) => await this.look(measure_ms)
    system.add(seeing, { look, addSpan }, 'process')
  }

  async open(): Promise<void> {
    const { control, metrics, log } = this.#options
    await this.#control.listen({ path: control })
    chmodSync(control, 0o600)
    const look = async () => await this.look(scrape_measure_ms)
    if (metrics !== null) this.#server = await serveMetrics(metrics, look, log)
  }

  async look(measure_ms: number): Promise<Snapshot> {
    const lookout = this.#lookout
    return await lookAtProcess({ ...this.#options, clock: systemClock, lookout }, measure_ms)
  }

  close(): void {
    this.#control.close()
    this.#lookout.close()
    this.#server?.closeAllConnections()
    this.#server?.close()
  }
}

/** Metrics help, and are never worth a process: where they cannot be served, the log says so. */
async function serveMetrics(
  { address, port }: MetricsListen,
  look: () => Promise<Snapshot>,
  log: Log,
): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end('GET /metrics is all there is here\n')
      return
    }
    answer(response, look).catch((error: unknown) => {
      response.writeHead(500).end(`${explain(error)}\n`)
    })
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.on('error', (error) => {
    log.error('metrics are not served', { address, port, why: explain(error) })
    resolve()
  })
  server.listen({ host: address, port }, resolve)
  await promise
  return server
}

async function answer(response: ServerResponse, look: () => Promise<Snapshot>): Promise<void> {
  const text = metricsText([await look()])
  response.writeHead(200, { 'content-type': metricsType }).end(text)
}
