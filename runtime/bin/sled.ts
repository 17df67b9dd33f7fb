/**
 * The supervisor: one process a sled. It starts the threads, keeps links to every Nexus, answers on
 * its control socket, and tells whoever started it when the sled serves. What it hosts outlives it.
 */
import { rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { consoleProtocol } from '#actors/console.protocol.ts'
import { diskProtocol } from '#actors/disk.protocol.ts'
import { dnsProtocol } from '#actors/dns.protocol.ts'
import { instanceProtocol } from '#actors/instance.protocol.ts'
import { sled, type SledDeps, type Trouble } from '#actors/sled.ts'
import { sledProtocol } from '#actors/sled.protocol.ts'
import { vnicProtocol } from '#actors/vnic.protocol.ts'
import { networkProtocol } from '#actors/network.protocol.ts'
import { limits } from '#config/limits.ts'
import { ports } from '#config/ports.ts'
import { telemetryOf } from '#config/seeing.ts'
import { sledConfig, type SledConfig } from '#config/sled.ts'
import { internalProblem } from '#config/wire.ts'
import { connectTcp } from '#native/linux/libc.sys.ts'
import type { Vmm } from '#native/platform/vmm.ts'
import { makePipes } from '#native/pipes.sys.ts'
import { identify } from '#native/process.ts'
import { systemClock } from '#runtime/clock.ts'
import { writeFileAtomically } from '#runtime/files.ts'
import { stderrLog } from '#runtime/log.ts'
import { NativeDeps } from '#runtime/actor/native_calls.ts'
import { systemRandom } from '#runtime/random.ts'
import { explain } from '#runtime/result.ts'
import type { Exporter } from '#runtime/seeing/exporter.ts'
import { seeingProtocol } from '#runtime/seeing/seeing.protocol.ts'
import { System } from '#runtime/actor/system.ts'
import { ThreadLinks } from '#runtime/thread/links.ts'
import { Threads } from '#runtime/thread/threads.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { connector, Links } from '#runtime/wire/links.ts'
import { makeBlock, makeVmm, makeZones } from './backends.ts'
import { Face } from './face.ts'
import { sledFiles } from './rack/layout.ts'
import { readJson } from './rack/plan.ts'
import { findSupervisor, type SupervisorNews } from './rack/supervisor.ts'
import { makeExporter, makeTracing, type Tracing } from './telemetry.ts'
import { routes, sledNetns, threadNames } from './routes.ts'
import type { SledInternal } from './sled_internal.ts'

const log = stderrLog('sled')

/** Tells the program that started us, while it listens. */
function tell(news: SupervisorNews): void {
  if (process.connected) process.send?.(news)
}

function fatal(text: string): never {
  tell({ kind: 'fatal', text })
  log.error(text)
  process.exit(1)
}

/**
 * Lets this process be found as the supervisor of its sled, unless another one is. Whoever starts one says so
 * (rack/supervisor.ts); where it has ended before it could, this process ends as well: whoever goes on with
 * the sled has started another one, or will.
 */
async function claim(state: string): Promise<void> {
  const claimed = findSupervisor(state)
  if (claimed?.pid === process.pid) return
  if (claimed !== null) fatal(`a supervisor already runs for ${state}`)
  if (process.send !== undefined) {
    // That the other end is closed is only known once the event loop has looked.
    for (let turn = 0; turn < 2; turn += 1) await setImmediate()
    if (!process.connected) fatal('whoever started this supervisor has ended before it began')
  }
  writeFileAtomically(sledFiles(state).identity, JSON.stringify(identify(process.pid)))
}

class Supervisor {
  readonly #config: SledConfig
  readonly #system: System
  readonly #threads: Threads
  readonly #nexus: Links
  readonly #face: Face
  readonly #waiting = new Set(['reconcile', 'nexus'])
  readonly #vmm: Vmm
  readonly #identity: Identity
  #internal: SledInternal | null = null
  #exporter: Exporter | null = null
  #stopping = false

  constructor(config: SledConfig, identity: Identity) {
    this.#config = config
    this.#vmm = makeVmm(config)
    const pipes = process.platform === 'linux' ? makePipes() : null
    const threadLinks = new ThreadLinks({
      clock: systemClock,
      pipes,
      onBroken: (thread) => {
        void this.#threads.reconnect(thread, 'main')
      },
    })
    this.#system = new System({
      host: config.sled_id,
      thread: 'main',
      clock: systemClock,
      random: systemRandom,
      log,
      routes,
      toThread: (thread) => threadLinks.to(thread),
      toHost: (host) => this.#nexus.to(host),
      onExhausted: (actor, why, rests) => {
        if (!rests) fatal(`${actor} cannot be kept up: ${why}`)
      },
    })
    threadLinks.host = this.#system
    this.#threads = new Threads({
      entry: new URL('thread.ts', import.meta.url),
      names: threadNames,
      data: config,
      links: threadLinks,
      pipes,
      log,
      clock: systemClock,
      onExhausted: (thread, why) => fatal(`thread ${thread} cannot be kept up: ${why}`),
    })
    this.#nexus = new Links({
      host: config.sled_id,
      clock: systemClock,
      log,
      random: systemRandom,
      serve: () => this.#system,
      security: { identity, peers: config.nexus.map(({ host }) => host) },
      exports: [
        sledProtocol,
        diskProtocol,
        vnicProtocol,
        networkProtocol,
        instanceProtocol,
        consoleProtocol,
        dnsProtocol,
        seeingProtocol,
      ],
      onPeer: (host, isUp) => {
        if (isUp) this.#announceTo(host)
      },
    })
    this.#face = this.#makeFace(threadLinks)
    this.#identity = identity
  }

  #makeFace(threadLinks: ThreadLinks): Face {
    const { sled_id, state, metrics = null } = this.#config
    const tracing = this.#trace()
    return new Face({
      service: 'sled',
      host: sled_id,
      system: this.#system,
      log,
      control: sledFiles(state).control,
      exports: [sledProtocol],
      metrics,
      threads: async (measure_ms) => await this.#threads.look(measure_ms),
      channels: () => threadLinks.inspect(),
      links: () => this.#nexus.inspect(),
      http: () => this.#internal?.requests.all ?? [],
      counters: () => this.#exporter?.counters ?? {},
      addSpan: this.#exporter === null ? null : (tracing?.buffer.add ?? null),
    })
  }

  /** Begins tracing, where the configuration says so. */
  #trace(): Tracing | null {
    const { telemetry, sled_id } = this.#config
    if (telemetry === undefined) return null
    const tracing = makeTracing(telemetry, { service: 'sled', host: sled_id, thread: 'main' })
    this.#system.observer.tracer = tracing.tracer
    const others = async () => await this.#threads.spans()
    this.#exporter = makeExporter(telemetry, tracing, { log, others, instead: null })
    return tracing
  }

  async start(): Promise<void> {
    const config = this.#config
    // The process-wide thread pool takes the network namespace of whoever wakes it: that is us.
    await stat('/')
    await this.#threads.start()
    this.#system.add(
      sled,
      new NativeDeps<SledDeps>(
        {
          platform: config.platform,
          address: config.address,
          port: ports.sled_agent,
          services: config.zones,
          zones: makeZones(config),
          probe: makeBlock(config).probe,
          accelerator: this.#vmm.accelerator,
          nexusConnected: () => config.nexus.some(({ host }) => this.#nexus.to(host) !== null),
          nexus: config.nexus.map(({ host }) => host),
          warnings: () => this.#nexus.troubles,
          onReconciled: (troubles) => {
            this.#onReconciled(troubles)
          },
          onAnnounced: () => {
            this.#arrived('nexus')
          },
        },
        ['zones', 'probe', 'accelerator'],
      ),
      config.sled_id,
    )
    await this.#face.open()
    for (const { host, wire } of config.nexus) {
      this.#nexus.dial(
        host,
        'path' in wire ? connector(wire) : () => this.#dialUnderlay(wire.address, wire.port),
      )
    }
  }

  async stop(): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    log.info('stopping')
    this.#face.close()
    await this.#internal?.listener?.close()
    this.#nexus.close()
    await this.#system.stop()
    await this.#exporter?.close()
    await this.#threads.stop()
    this.#vmm.close()
    rmSync(sledFiles(this.#config.state).identity, { force: true })
    process.exit(0)
  }

  #dialUnderlay(address: string, port: number): Socket {
    const fd = connectTcp(address, port, sledNetns(this.#config))
    return new Socket({ fd, readable: true, writable: true })
  }

  #announceTo(nexus: string): void {
    void this.#system
      .ref(sledProtocol, this.#config.sled_id)
      .call('announce', { nexus }, { timeout_ms: limits.zone_boot_ms_max })
  }

  #onReconciled(troubles: readonly Trouble[]): void {
    if (troubles.length === 0) {
      this.#arrived('reconcile')
      return
    }
    if (!this.#waiting.has('reconcile')) return
    const final = troubles.find(({ code }) => code === 'address_taken')
    if (final !== undefined) fatal(final.text)
    tell({ kind: 'trouble', text: troubles.map(({ text }) => text).join('; ') })
  }

  /** Loaded and opened when the sled's own work is done: nobody at the start waits for it. */
  async #openInternal(): Promise<void> {
    const { sledInternal } = await import('./sled_internal.ts')
    if (this.#stopping) return
    const given = { system: this.#system, identity: this.#identity, log }
    this.#internal = sledInternal(this.#config, given)
    await this.#internal.listener?.open()
  }

  #arrived(what: string): void {
    if (what === 'reconcile' && this.#waiting.has(what)) void this.#openInternal()
    if (!this.#waiting.delete(what)) return
    if (this.#waiting.size === 0) {
      log.info('the sled serves')
      tell({ kind: 'ready' })
    } else if (what === 'reconcile') {
      tell({ kind: 'alone' })
    }
  }
}

const [, , path = ''] = process.argv
const read = readJson(path, sledConfig)
if (!read.ok) fatal(`configuration: ${read.detail}`)
const { internal: served, development = false } = read.value
const problem = served === undefined ? null : internalProblem(served, development)
if (problem !== null) fatal(`${path}: ${problem}`)
const telemetry = telemetryOf(read.value.telemetry, process.env)
await claim(read.value.state)
const identity = await Identity.open({
  files: read.value.tls,
  host: read.value.sled_id,
  clock: systemClock,
  log,
})
if (!identity.ok) fatal(`certificates: ${identity.detail}`)
const supervisor = new Supervisor(
  { ...read.value, ...(telemetry === null ? {} : { telemetry }) },
  identity.value,
)
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => {
    void supervisor.stop()
  })
}
try {
  await supervisor.start()
} catch (error) {
  fatal(explain(error))
}
