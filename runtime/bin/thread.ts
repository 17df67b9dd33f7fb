/**
 * A worker thread of the supervisor: by its name it knows which actors it hosts and which backend
 * they need. What blocks in one library blocks only this thread.
 */
import { disk } from '#actors/disk.ts'
import { dns } from '#actors/dns.ts'
import { consoleWatcher } from '#actors/console.ts'
import { instance } from '#actors/instance.ts'
import { journal } from '#actors/journal.ts'
import { network } from '#actors/network.ts'
import { vnic } from '#actors/vnic.ts'
import { zone } from '#actors/zone.ts'
import type { SledConfig } from '#config/sled.ts'
import { limits } from '#config/limits.ts'
import { enterNetns, isNetns } from '#native/linux/libc.sys.ts'
import { makePipes } from '#native/pipes.sys.ts'
import { systemClock } from '#runtime/clock.ts'
import { serveDns } from '#runtime/dns.ts'
import { Journal } from '#runtime/journal/journal.ts'
import { stderrLog } from '#runtime/log.ts'
import { NativeDeps } from '#runtime/actor/native_calls.ts'
import { systemRandom } from '#runtime/random.ts'
import { explain } from '#runtime/result.ts'
import { System } from '#runtime/actor/system.ts'
import type { ThreadLinks } from '#runtime/thread/links.ts'
import { hostThread } from '#runtime/thread/threads.ts'
import { makeBlock, makePorts, makeVmm, makeZones, underlayOf } from './backends.ts'
import { routes, sledNetns } from './routes.ts'
import { sledFiles } from './rack/layout.ts'
import { makeTracing } from './telemetry.ts'

/** What a thread has besides its actors. */
interface More {
  /** Closes what must not outlive the thread. */
  readonly close?: () => void
  readonly counters?: () => Readonly<Record<string, number>>
}
/** Registers what a thread hosts. */
type Populate = (system: System, config: SledConfig) => Promise<More>
const log = stderrLog('sled')

const threads: Readonly<Record<string, Populate>> = {
  journal: async (system, config) => {
    const file = new Journal(sledFiles(config.state).journal)
    system.add(journal, new NativeDeps({ journal: file }, ['journal']), 'sled')
    return {
      close: () => {
        file.close()
      },
      counters: () => ({ journal_commits: file.commits, journal_writes: file.writes }),
    }
  },
  storage: async (system, config) => {
    system.add(disk, new NativeDeps({ block: makeBlock(config) }, ['block']))
    return {}
  },
  net: async (system, config) => {
    const ports = makePorts(config)
    await farEndOf(config)
    const made = ports.ensureUnderlay(underlayOf(config))
    if (!made.ok) throw new Error(made.detail)
    const deps = new NativeDeps({ ports }, ['ports'])
    system.add(vnic, deps)
    system.add(network, deps, 'rack')
    return {
      close: () => {
        ports.close()
      },
    }
  },
  zone: async (system, config) => {
    system.add(zone, new NativeDeps({ zones: makeZones(config) }, ['zones']))
    return {}
  },
  compute: async (system, config) => {
    const vmm = makeVmm(config)
    // Trying out what this machine can do takes a moment: not when the first guest starts.
    vmm.accelerator().catch((error: unknown) => {
      log.warn('how guests can run here is not known yet', { why: explain(error) })
    })
    const nexus = config.nexus.map(({ host }) => host)
    const deps = { vmm, sled_id: config.sled_id, nexus_hosts: () => nexus }
    system.add(instance, new NativeDeps(deps, ['vmm']))
    system.add(consoleWatcher, new NativeDeps({ vmm }, ['vmm']))
    return {
      close: () => {
        vmm.close()
      },
    }
  },
  dns: async (system, config) => {
    // For good: this thread's sockets belong to the sled's network, and it opens nothing else.
    if (config.platform === 'linux') enterNetns(sledNetns(config))
    const server = config.dns === null ? null : await serveDns(config.dns)
    system.add(dns, { server }, 'internal')
    return {
      close: () => {
        void server?.close()
      },
    }
  },
}

/** Waits for the network of the sled with the uplink, which comes up at the same time. */
async function farEndOf({ platform, underlay }: SledConfig): Promise<void> {
  const trunk = underlay.rack?.trunk ?? null
  if (platform !== 'linux' || trunk === null) return
  const end = systemClock.monotonic() + limits.trunk_wait_ms_max
  while (!isNetns(trunk.netns) && systemClock.monotonic() < end) {
    await systemClock.sleep(limits.trunk_poll_ms)
  }
}

hostThread(async (name, data, links) => {
  // Main hands over what it has read and checked itself.
  const config = data as SledConfig
  const populate = threads[name]
  if (populate === undefined) throw new Error(`there is no thread ${name}`)
  const system = makeSystem(name, config, links)
  links.host = system
  const { close, counters = () => ({}) } = await populate(system, config)
  const { telemetry } = config
  const tracing =
    telemetry === undefined
      ? null
      : makeTracing(telemetry, { service: 'sled', host: config.sled_id, thread: name })
  system.observer.tracer = tracing?.tracer ?? null
  return {
    system,
    spans: () => tracing?.buffer.take() ?? [],
    counters: () => ({
      ...counters(),
      ...(tracing === null ? {} : { spans_dropped: tracing.buffer.dropped }),
    }),
    stop: async () => {
      await system.stop()
      close?.()
    },
  }
}, makePipes)

function makeSystem(thread: string, config: SledConfig, links: ThreadLinks): System {
  return new System({
    host: config.sled_id,
    thread,
    clock: systemClock,
    random: systemRandom,
    log: log.child({ thread }),
    routes,
    toThread: (other) => links.to(other),
    // Links to other hosts are main's: calls go through it.
    toHost: () => links.to('main'),
    onExhausted: (actor, why, rests) => {
      if (rests) return
      // The thread ends, and main starts it again within its budget.
      queueMicrotask(() => {
        throw new Error(`${actor} cannot be kept up: ${why}`)
      })
    },
  })
}
