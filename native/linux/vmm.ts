/**
 * Guests as QEMU processes, each in a zone of its own, spoken to over QMP:
 *
 *   <state>/instances/<id>/   machine.json, cidata.img, serial.log, serial.sock, qmp.sock
 *   <state>/guests.sock       where other sleds take guests over (handover.ts)
 *
 * Guests outlive us. What runs is known from the zone and from QEMU itself, never from memory.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { limits } from '#config/limits.ts'
import { cidataImage } from '#native/cidata.ts'
import type { Machine, MachineSpec, Vmm } from '#native/platform/vmm.ts'
import type { ZoneConfig } from '#native/platform/zone.ts'
import { findTool } from '#native/select.ts'
import { followSerial, readSerial } from '#native/serial_log.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { chooseAccelerator, endTrials, type Accelerator } from './accelerator.ts'
import { goOn, Handover, SourceGone, takeOver } from './handover.ts'
import { closeFd, openTap } from './libc.sys.ts'
import { diskCounters, diskDirectory, instanceDirectory, qemuArguments } from './qemu.ts'
import { machineFile, quit_ms_max, type Session, Sessions, zoneName } from './sessions.ts'
import { LinuxZones } from './zone.ts'

const program = 'qemu-system-x86_64'
const start_ms_max = 20_000

export function linuxVmm(options: { readonly state: string; readonly tag: string }): Vmm {
  return new LinuxVmm(options)
}

class LinuxVmm implements Vmm {
  readonly #state: string
  readonly #instances: string
  readonly #zones: LinuxZones
  readonly #sessions: Sessions
  #accelerator: Promise<Accelerator> | null = null
  readonly #stopping = new AbortController()
  readonly #handover: Handover

  constructor(options: { readonly state: string; readonly tag: string }) {
    this.#state = options.state
    this.#instances = join(options.state, 'instances')
    this.#zones = new LinuxZones(options)
    this.#sessions = new Sessions(this.#instances, this.#zones)
    this.#handover = new Handover(join(options.state, 'guests.sock'), async (id) => {
      const session = await this.#sessions.to(id)
      const { kind } = await this.#accelerate()
      return session.ok ? { ...session.value, runsOn: kind === 'kvm' } : null
    })
    mkdirSync(this.#instances, { recursive: true, mode: 0o700 })
  }

  readonly find: Vmm['find'] = async (instance_id) => {
    const propolis_id = this.#sessions.propolisOf(instance_id)
    if (propolis_id === null) return ok(null)
    const zone = await this.#zones.find(zoneName(propolis_id))
    if (!zone.ok) return zone
    if (zone.value.state !== 'running') return ok(null)
    const session = await this.#sessions.to(instance_id)
    if (!session.ok) return session
    return await this.#sessions.look(session.value)
  }

  readonly list: Vmm['list'] = async () => {
    const ids = readdirSync(this.#instances)
    return ok(
      ids.flatMap((instance_id) => {
        const propolis_id = this.#sessions.propolisOf(instance_id)
        return propolis_id === null ? [] : [{ instance_id, propolis_id }]
      }),
    )
  }

  readonly start: Vmm['start'] = async (spec) => {
    const booted = await this.#boot(spec, 'starts')
    return booted.ok ? await this.#awaitRunning(spec) : booted
  }

  readonly receive: Vmm['receive'] = async (spec, { address, migration_id, propolis_id }) => {
    const { instance_id } = spec
    // What an attempt left that was cut off is of no use.
    const cleared = await this.forget(instance_id)
    if (!cleared.ok) return cleared
    const booted = await this.#boot(spec, 'comes')
    if (!booted.ok) return booted
    const session = await this.#awaitMonitor(spec)
    if (!session.ok) return session
    const signal = AbortSignal.any([
      this.#stopping.signal,
      AbortSignal.timeout(limits.instance_migrate_ms_max),
    ])
    try {
      const named = { address, instance_id, migration_id, propolis_id }
      await takeOver(session.value, named, signal)
      return ok({ propolis_id: spec.propolis_id, state: 'paused' })
    } catch (error) {
      const undone = await this.#undo(spec, explain(error))
      return error instanceof SourceGone ? err('source_gone', undone.detail) : undone
    }
  }

  readonly watch: Vmm['watch'] = (instance_id, onEvent) =>
    this.#sessions.watch(instance_id, onEvent)

  readonly diskCounters: Vmm['diskCounters'] = async (instance_id) => {
    const session = await this.#sessions.to(instance_id)
    if (!session.ok) return err('not_running', session.detail)
    try {
      const disks = diskCounters(await session.value.qmp.execute('query-blockstats'))
      // Written when the guest was started.
      const start_ms = Math.floor(statSync(this.#machine(instance_id)).mtimeMs)
      return ok({ start_ms, disks })
    } catch (error) {
      return err('os_failed', `guest ${instance_id}: its disks: ${explain(error)}`)
    }
  }

  readonly offer: Vmm['offer'] = async (instance_id, migration_id) => {
    const found = await this.find(instance_id)
    if (!found.ok) return found
    if (found.value === null) return notRunning(instance_id)
    try {
      await this.#handover.offer(instance_id, migration_id)
      return ok(this.#handover.path)
    } catch (error) {
      return err('os_failed', `guest ${instance_id} cannot be offered: ${explain(error)}`)
    }
  }

  readonly resume: Vmm['resume'] = async (instance_id) => {
    const found = await this.find(instance_id)
    if (!found.ok) return found
    if (found.value === null) return notRunning(instance_id)
    this.#handover.withdraw(instance_id)
    const session = await this.#sessions.to(instance_id)
    if (!session.ok) return session
    try {
      await goOn(session.value.qmp)
      return ok(null)
    } catch (error) {
      return err('os_failed', `guest ${instance_id} does not go on: ${explain(error)}`)
    }
  }

  readonly powerdown: Vmm['powerdown'] = async (id) =>
    await this.#sessions.execute(id, 'system_powerdown')
  readonly reset: Vmm['reset'] = async (id) => await this.#sessions.execute(id, 'system_reset')

  readonly kill: Vmm['kill'] = async (instance_id) => {
    const propolis_id = this.#sessions.propolisOf(instance_id)
    if (propolis_id === null) return ok(null)
    this.#handover.withdraw(instance_id)
    this.#sessions.hangUp(instance_id)
    return await this.#zones.remove(zoneName(propolis_id), quit_ms_max)
  }

  readonly forget: Vmm['forget'] = async (instance_id) => {
    const killed = await this.kill(instance_id)
    if (!killed.ok) return killed
    rmSync(this.#directory(instance_id), { recursive: true, force: true })
    return ok(null)
  }

  readonly serialRead: Vmm['serialRead'] = async (instance_id, from, max_bytes) => {
    const path = this.#serialLog(instance_id)
    if (!existsSync(path)) return notRunning(instance_id)
    return ok(readSerial(path, from, max_bytes))
  }

  readonly serialFollow: Vmm['serialFollow'] = async (instance_id, from, options) => {
    const path = this.#serialLog(instance_id)
    if (!existsSync(path)) return notRunning(instance_id)
    const chunk = await followSerial(path, from, options)
    if (chunk.data.length > 0 || options.wait_ms === 0) return ok(chunk)
    // Nothing came: the guest may be silent, or over.
    const found = await this.find(instance_id)
    if (!found.ok) return found
    return found.value === null ? notRunning(instance_id) : ok(chunk)
  }

  readonly serialWrite: Vmm['serialWrite'] = async (instance_id, data) => {
    const session = await this.#sessions.to(instance_id)
    if (!session.ok) return notRunning(instance_id)
    session.value.serial.write(data)
    return ok(null)
  }

  readonly accelerator: Vmm['accelerator'] = async () => {
    const { kind, reason } = await this.#accelerate()
    return `${kind}: ${reason}`
  }

  readonly endTrials: Vmm['endTrials'] = async () => {
    try {
      await endTrials(join(this.#state, 'accelerator.json'))
      return ok(null)
    } catch (error) {
      return err('os_failed', `a trial guest could not be ended: ${explain(error)}`)
    }
  }

  readonly close: Vmm['close'] = () => {
    this.#stopping.abort(new Error('the supervisor stops'))
    this.#handover.close()
    this.#sessions.close()
  }

  /** Makes a machine's files and boots its zone. */
  async #boot(spec: MachineSpec, how: 'starts' | 'comes'): Promise<Result<null, 'os_failed'>> {
    const directory = this.#directory(spec.instance_id)
    const taps: number[] = []
    try {
      const accelerator = await this.#accelerate()
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      for (const file of ['serial.log', 'serial.sock', 'qmp.sock']) {
        rmSync(join(directory, file), { force: true })
      }
      writeFileSync(join(directory, 'serial.log'), '', { mode: 0o600 })
      writeFileSync(join(directory, 'cidata.img'), cidataImage({ ...spec, ...spec.cidata }))
      writeFileSync(
        this.#machine(spec.instance_id),
        JSON.stringify({ propolis_id: spec.propolis_id }),
      )
      for (const { link, netns } of spec.nics) {
        if (netns === null) throw new Error(`port ${link} has no network namespace`)
        taps.push(openTap(netns, link))
      }
      const zone = zoneOf(spec, { accelerator, directory, how })
      const booted = await this.#zones.bootWith(zone, taps)
      return booted.ok ? ok(null) : await this.#undo(spec, booted.detail)
    } catch (error) {
      return await this.#undo(spec, explain(error))
    } finally {
      for (const fd of taps) closeFd(fd)
    }
  }

  async #awaitRunning(spec: MachineSpec): Promise<Result<Machine, 'os_failed'>> {
    return await this.#await(spec, async (session) => {
      const machine = await this.#sessions.look(session)
      if (!machine.ok) return machine
      return machine.value?.state === 'running'
        ? ok(machine.value)
        : err('os_failed', machine.value?.state ?? 'it waits for another sled')
    })
  }

  /** Waits until a guest that is to come can be spoken to. */
  async #awaitMonitor(spec: MachineSpec): Promise<Result<Session, 'os_failed'>> {
    return await this.#await(spec, async (session) => ok(session))
  }

  /** Looks again and again at a machine that was just booted. What fails leaves nothing. */
  async #await<T>(
    spec: MachineSpec,
    look: (session: Session) => Promise<Result<T, 'os_failed'>>,
  ): Promise<Result<T, 'os_failed'>> {
    const zone = zoneName(spec.propolis_id)
    const end = performance.now() + start_ms_max
    let last = ''
    while (performance.now() < end) {
      const session = await this.#sessions.to(spec.instance_id)
      const seen = session.ok ? await look(session.value) : session
      if (seen.ok) return seen
      last = seen.detail
      const found = await this.#zones.find(zone)
      if (found.ok && found.value.state !== 'running') {
        const said = readFileSync(join(this.#directory(spec.instance_id), 'qemu.log'), 'utf8')
        return await this.#undo(spec, `QEMU ended: ${said.trim().slice(-500)}`)
      }
      await sleep(10)
    }
    return await this.#undo(spec, `QEMU did not run within ${start_ms_max} ms: ${last}`)
  }

  /** Leaves nothing of a start that failed, but the log that says why. */
  async #undo(
    spec: MachineSpec,
    why: string,
  ): Promise<{ readonly ok: false; readonly error: 'os_failed'; readonly detail: string }> {
    this.#sessions.drop(spec.instance_id)
    const removed = await this.#zones.remove(zoneName(spec.propolis_id), 0)
    rmSync(this.#directory(spec.instance_id), { recursive: true, force: true })
    const also = removed.ok ? '' : `; and ${removed.detail}`
    return err('os_failed', `guest ${spec.instance_id} was not started: ${why}${also}`)
  }

  async #accelerate(): Promise<Accelerator> {
    const path = findTool(program)
    if (path === null) throw new Error(`${program} is missing: run tools/install_prerequisites.sh`)
    this.#accelerator ??= chooseAccelerator(
      path,
      join(this.#state, 'accelerator.json'),
      this.#stopping.signal,
    )
    return await this.#accelerator
  }

  readonly #directory = (id: string) => join(this.#instances, id)
  readonly #machine = (id: string) => machineFile(this.#instances, id)
  readonly #serialLog = (id: string) => join(this.#instances, id, 'serial.log')
}

const notRunning = (instance_id: string) =>
  err('not_running', `instance ${instance_id} has no console: it does not run here`)

function zoneOf(
  spec: MachineSpec,
  {
    accelerator,
    directory,
    how,
  }: {
    readonly accelerator: Accelerator
    readonly directory: string
    readonly how: 'starts' | 'comes'
  },
): ZoneConfig {
  // Who comes from another sled is told when it goes on.
  const waiting = how === 'comes' ? ['-incoming', 'defer', '-S'] : []
  return {
    name: zoneName(spec.propolis_id),
    args: [`/usr/bin/${program}`, ...qemuArguments(spec, accelerator, 3), ...waiting],
    env: [],
    mounts: [
      { source: directory, destination: instanceDirectory, read_only: false },
      ...spec.disks.map(({ slot, socket }) => ({
        source: dirname(socket),
        destination: diskDirectory(slot),
        read_only: true,
      })),
    ],
    devices: accelerator.kind === 'kvm' ? ['/dev/kvm'] : [],
    netns: null,
    listen: [],
    log: join(directory, 'qemu.log'),
  }
}
