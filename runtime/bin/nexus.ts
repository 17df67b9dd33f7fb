/** Nexus: the store, the API's server, and the listener that sleds dial. */
import { readFileSync } from 'node:fs'
import { parse } from 'smol-toml'
import { Background } from '#actors/nexus/background.ts'
import { configProblem, nexusConfig, type NexusConfig } from '#actors/nexus/config.ts'
import type { Services } from '#actors/nexus/context.ts'
import { Publisher } from '#actors/nexus/networking/publisher.ts'
import { PartlyUsed } from '#actors/nexus/networking/partly-used.ts'
import { Member } from '#actors/nexus/member.ts'
import { nexus } from '#actors/nexus/nexus.ts'
import { Passwords, standardCost } from '#actors/nexus/access/passwords.ts'
import { RequestCounts } from '#actors/http/requests.ts'
import { Sagas } from '#actors/nexus/saga.ts'
import { registeredSagas } from '#actors/nexus/sagas/registry.ts'
import { Sleds } from '#actors/nexus/sleds.ts'
import { plantRack } from '#actors/nexus/store/built-in.ts'
import { tasks } from '#actors/nexus/tasks.ts'
import { openStore } from '#actors/nexus/store/open.ts'
import type { Store } from '#actors/nexus/store/schema.ts'
import { limits } from '#config/limits.ts'
import { telemetryOf } from '#config/seeing.ts'
import { nexusProtocol } from '#actors/nexus.protocol.ts'
import { readStoreUrl } from '#actors/nexus/store/url.ts'
import { atMost, systemClock } from '#runtime/clock.ts'
import { leaseConnections } from '#runtime/cluster/postgres.ts'
import { sqlLeaseStore } from '#runtime/cluster/sql.ts'
import { defaultTiming } from '#runtime/cluster/timing.ts'
import { stderrLog } from '#runtime/log.ts'
import { systemRandom } from '#runtime/random.ts'
import { explain } from '#runtime/result.ts'
import { fits, misfit } from '#runtime/schema.ts'
import type { Exporter, Sent } from '#runtime/seeing/exporter.ts'
import { seeingProtocol } from '#runtime/seeing/seeing.protocol.ts'
import { System } from '#runtime/actor/system.ts'
import type { FinishedSpan } from '#runtime/trace.ts'
import { Identity } from '#runtime/tls/identity.ts'
import { Links } from '#runtime/wire/links.ts'
import { External } from './external.ts'
import { Face } from './face.ts'
import { nexusInternal } from './nexus_internal.ts'
import { makeExporter, makeTracing } from './telemetry.ts'

const log = stderrLog('nexus')
const background_stop_ms_max = 1_000

/** Reads and checks the configuration. Throws a sentence that names the file and the key. */
export function readConfig(path: string): NexusConfig {
  const read: unknown = parse(readFileSync(path, 'utf8'))
  if (!fits(nexusConfig, read)) throw new Error(`${path}: ${misfit(nexusConfig, read)}`)
  const problem = configProblem(read)
  if (problem !== null) throw new Error(`${path}: ${problem}`)
  return read
}

async function start(config: NexusConfig): Promise<void> {
  const external = new External(config.external, { clock: systemClock, log })
  const identity = await Identity.open({
    files: config.tls,
    host: config.id,
    clock: systemClock,
    log,
  })
  if (!identity.ok) throw new Error(`certificates: ${identity.detail}`)
  const { system, links } = makeSystem(config, identity.value)
  const watch = system.natives.during
  const { store, ready } = openStore({ url: config.store, clock: systemClock, log, watch })
  const { exporter, tracing } = trace(config, system, links)
  const member = memberOf(config, store)
  const sagas = new Sagas({ log, member, known: registeredSagas })
  const services: Services = {
    config,
    store,
    clock: systemClock,
    random: systemRandom,
    log,
    sleds: new Sleds(
      (work) =>
        (protocol, id, host = null) =>
          system.ref(protocol, id, host, work),
      () => links.peers,
    ),
    member,
    sagas,
    fence: null,
    saga: null,
    publisher: new Publisher(),
    partlyUsed: new PartlyUsed(),
    requests: new RequestCounts(),
    passwords: new Passwords(standardCost),
    tracer: tracing?.tracer ?? null,
    work: null,
  }
  sagas.join(services)
  const background = new Background(services, tasks)
  const wake = () => {
    background.wake()
  }
  system.add(nexus, { services, wake, warnings: () => links.troubles }, 'nexus')
  const face = faceOf(services, { system, links, exporter, background })
  const internal = nexusInternal(services, { system, identity: identity.value })
  stopOnSignal(async () => {
    face.close()
    await external.close()
    await internal?.close()
    links.close()
    await exporter?.close()
    await system.stop()
    // What it is about is begun anew by whoever takes it over.
    await atMost(systemClock, background_stop_ms_max, background.stop())
    await member.stop()
    await store.destroy()
  })
  await face.open()
  // Until the store is there, requests are told that the service is unavailable.
  await external.open(services)
  await ready
  await plantRack(store, { rack_id: config.rack_id, now_ms: systemClock.now() })
  member.start()
  background.start()
  const { wire } = config
  await links.listen('path' in wire ? { path: wire.path } : { host: wire.address, port: wire.port })
  await internal?.open()
  log.info('nexus serves', { external: config.external })
}

/** Renewals have connections of their own where there are many; SQLite has one, and one member. */
function memberOf(config: NexusConfig, store: Store): Member {
  const url = readStoreUrl(config.store)
  const onLost = (error: Error) => {
    log.warn('a connection of the cluster was lost', { why: explain(error) })
  }
  const leases =
    url.dialect === 'sqlite'
      ? sqlLeaseStore(store)
      : sqlLeaseStore(leaseConnections<unknown>(url.url, limits.cluster_heartbeat_ms, onLost))
  return new Member({
    store: leases,
    timing: defaultTiming,
    member_id: config.id,
    address: config.internal_address,
    // Its zone starts a Nexus once the one before has ended.
    supersede: true,
    clock: systemClock,
    log,
  })
}

/** What is traced goes to the collector, or to a sled that hands it on. */
function trace(config: NexusConfig, system: System, links: Links) {
  const telemetry = telemetryOf(config.telemetry, process.env)
  if (telemetry === null) return { exporter: null, tracing: null }
  const tracing = makeTracing(telemetry, { service: 'nexus', host: config.id, thread: 'main' })
  system.observer.tracer = tracing.tracer
  const instead = async (spans: readonly FinishedSpan[]): Promise<Sent> => {
    const [sled = null] = links.peers
    if (sled === null) return 'again'
    const taken = await system
      .ref(seeingProtocol, 'process', sled)
      .call('export_spans', { spans: [...spans] }, { timeout_ms: limits.spans_send_ms_max })
    if (taken.ok) return 'sent'
    return taken.error === 'not_traced' || taken.error === 'invalid' ? 'refused' : 'again'
  }
  return {
    tracing,
    exporter: makeExporter(telemetry, tracing, { log, others: async () => [], instead }),
  }
}

function faceOf(
  { config, requests }: Services,
  process: {
    readonly system: System
    readonly links: Links
    readonly exporter: Exporter | null
    readonly background: Background
  },
): Face {
  const { system, links, exporter, background } = process
  return new Face({
    service: 'nexus',
    host: config.id,
    system,
    log,
    control: config.control,
    exports: [],
    metrics: config.metrics ?? null,
    threads: async () => [],
    channels: () => [],
    links: () => links.inspect(),
    http: () => requests.all,
    counters: () => ({ ...exporter?.counters, ...background.counters }),
    addSpan: null,
  })
}

function makeSystem(config: NexusConfig, identity: Identity): { system: System; links: Links } {
  const links: Links = new Links({
    host: config.id,
    clock: systemClock,
    log,
    random: systemRandom,
    exports: [nexusProtocol],
    serve: () => system,
    security: { identity, peers: config.sleds },
  })
  const system: System = new System({
    host: config.id,
    thread: 'main',
    clock: systemClock,
    random: systemRandom,
    log,
    routes: {},
    toThread: () => null,
    toHost: (host) => links.to(host),
  })
  return { system, links }
}

function stopOnSignal(stop: () => Promise<void>): void {
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.once(name, () => {
      log.info('stopping')
      void stop().finally(() => process.exit(0))
    })
  }
}

try {
  await start(readConfig(process.argv[2] ?? ''))
} catch (error) {
  log.error('nexus cannot start', { why: explain(error) })
  process.exit(1)
}
