/**
 * Guests as QEMU processes, each in a zone of its own, spoken to over QMP:
 *
 *   <state>/instances/<id>/   machine.json, cidata.img, serial.log, serial.sock, qmp.sock
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
import { createConnection, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type, type Static } from 'typebox'
import { cidataImage } from '#native/cidata.ts'
import type { Machine, MachineEvent, MachineSpec, Vmm } from '#native/platform/vmm.ts'
import type { ZoneConfig } from '#native/platform/zone.ts'
import { findTool } from '#native/select.ts'
import { followSerial, readSerial } from '#native/serial_log.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { chooseAccelerator, endTrials, type Accelerator } from './accelerator.ts'
import { closeFd, openTap } from './libc.sys.ts'
import { diskCounters, diskDirectory, instanceDirectory, qemuArguments } from './qemu.ts'
import { Qmp, type QmpEvent } from './qmp.ts'
import { LinuxZones } from './zone.ts'

const program = 'qemu-system-x86_64'
const start_ms_max = 20_000
const quit_ms_max = 3_000
const machineFile = Type.Object({ propolis_id: Type.String() })
const status = Type.Object({ status: Type.String() })

/** What we hold of a running guest: its monitor, its console's writing end, and who listens. */
interface Session {
  readonly propolis_id: string
  readonly qmp: Qmp
  readonly serial: Socket
}
type Watcher = (event: MachineEvent) => void

export function linuxVmm(options: { readonly state: string; readonly tag: string }): Vmm {
  return new LinuxVmm(options)
}

class LinuxVmm implements Vmm {
  readonly #state: string
  readonly #instances: string
  readonly #zones: LinuxZones
  readonly #sessions = new Map<string, Session>()
  readonly #watchers = new Map<string, Set<Watcher>>()
  #accelerator: Promise<Accelerator> | null = null
  readonly #stopping = new AbortController()

  constructor(options: { readonly state: string; readonly tag: string }) {
    this.#state = options.state
    this.#instances = join(options.state, 'instances')
    this.#zones = new LinuxZones(options)
    mkdirSync(this.#instances, { recursive: true, mode: 0o700 })
  }

  readonly find: Vmm['find'] = async (instance_id) => {
    const propolis_id = this.#propolisOf(instance_id)
    if (propolis_id === null) return ok(null)
    const zone = await this.#zones.find(zoneName(propolis_id))
    if (!zone.ok) return zone
    if (zone.value.state !== 'running') return ok(null)
    const session = await this.#session(instance_id)
    if (!session.ok) return session
    return await this.#look(session.value)
  }

  readonly list: Vmm['list'] = async () => {
    const ids = readdirSync(this.#instances)
    return ok(
      ids.flatMap((instance_id) => {
        const propolis_id = this.#propolisOf(instance_id)
        return propolis_id === null ? [] : [{ instance_id, propolis_id }]
      }),
    )
  }

  readonly start: Vmm['start'] = async (spec) => {
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
      const booted = await this.#zones.bootWith(zoneOf(spec, accelerator, directory), taps)
      if (!booted.ok) return await this.#undo(spec, booted.detail)
      return await this.#awaitRunning(spec)
    } catch (error) {
      return await this.#undo(spec, explain(error))
    } finally {
      for (const fd of taps) closeFd(fd)
    }
  }

  readonly watch: Vmm['watch'] = (instance_id, onEvent) => {
    const watchers = this.#watchers.get(instance_id) ?? new Set()
    this.#watchers.set(instance_id, watchers.add(onEvent))
    return () => {
      watchers.delete(onEvent)
      if (watchers.size === 0) this.#watchers.delete(instance_id)
    }
  }

  readonly diskCounters: Vmm['diskCounters'] = async (instance_id) => {
    const session = await this.#session(instance_id)
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

  readonly offer: Vmm['offer'] = async (id) => notBetweenSleds(id)
  readonly receive: Vmm['receive'] = async ({ instance_id }) => notBetweenSleds(instance_id)
  readonly resume: Vmm['resume'] = async (id) => await this.#execute(id, 'cont')

  readonly powerdown: Vmm['powerdown'] = async (id) => await this.#execute(id, 'system_powerdown')
  readonly reset: Vmm['reset'] = async (id) => await this.#execute(id, 'system_reset')

  readonly kill: Vmm['kill'] = async (instance_id) => {
    const propolis_id = this.#propolisOf(instance_id)
    if (propolis_id === null) return ok(null)
    this.#sessions.get(instance_id)?.qmp.close()
    this.#drop(instance_id)
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
    const session = await this.#session(instance_id)
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
    for (const id of [...this.#sessions.keys()]) {
      this.#sessions.get(id)?.qmp.close()
      this.#drop(id)
    }
  }

  async #awaitRunning(spec: MachineSpec): Promise<Result<Machine, 'os_failed'>> {
    const zone = zoneName(spec.propolis_id)
    const end = performance.now() + start_ms_max
    let last = ''
    while (performance.now() < end) {
      const session = await this.#session(spec.instance_id)
      if (session.ok) {
        const machine = await this.#look(session.value)
        if (machine.ok && machine.value.state === 'running') return machine
        last = machine.ok ? machine.value.state : machine.detail
      } else {
        last = session.detail
      }
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
  async #undo(spec: MachineSpec, why: string): Promise<Result<never, 'os_failed'>> {
    this.#drop(spec.instance_id)
    const removed = await this.#zones.remove(zoneName(spec.propolis_id), 0)
    rmSync(this.#directory(spec.instance_id), { recursive: true, force: true })
    const also = removed.ok ? '' : `; and ${removed.detail}`
    return err('os_failed', `guest ${spec.instance_id} was not started: ${why}${also}`)
  }

  /** Our connections to a guest, made when first needed and again after they broke. */
  async #session(instance_id: string): Promise<Result<Session, 'os_failed'>> {
    const held = this.#sessions.get(instance_id)
    if (held !== undefined) return ok(held)
    const propolis_id = this.#propolisOf(instance_id)
    if (propolis_id === null) return err('os_failed', `there is no guest ${instance_id}`)
    const directory = this.#directory(instance_id)
    try {
      const qmp = await Qmp.connect(join(directory, 'qmp.sock'), {
        event: (event) => {
          this.#onEvent(instance_id, event)
        },
        close: () => {
          void this.#onClosed(instance_id, propolis_id)
        },
      })
      const serial = createConnection({ path: join(directory, 'serial.sock') })
      // QEMU keeps the output in the log; here it is only taken so that the guest is not held up.
      serial.resume()
      serial.on('error', () => {
        serial.destroy()
      })
      const session = { propolis_id, qmp, serial }
      this.#sessions.set(instance_id, session)
      return ok(session)
    } catch (error) {
      return err('os_failed', `guest ${instance_id}: ${explain(error)}`)
    }
  }

  async #look(session: Session): Promise<Result<Machine, 'os_failed'>> {
    try {
      const said = await session.qmp.execute('query-status')
      if (!fits(status, said)) return err('os_failed', 'QEMU answers query-status with nonsense')
      const { propolis_id } = session
      if (said.status === 'running') return ok({ propolis_id, state: 'running' })
      return ok({ propolis_id, state: said.status === 'shutdown' ? 'exited' : 'paused' })
    } catch (error) {
      return err('os_failed', explain(error))
    }
  }

  async #execute(instance_id: string, command: string): Promise<Result<null, 'os_failed'>> {
    const session = await this.#session(instance_id)
    if (!session.ok) return session
    try {
      await session.value.qmp.execute(command)
      return ok(null)
    } catch (error) {
      return err('os_failed', `guest ${instance_id}: ${command}: ${explain(error)}`)
    }
  }

  #onEvent(instance_id: string, event: QmpEvent): void {
    if (event.name === 'RESET') this.#emit(instance_id, 'reset')
    else if (event.name === 'SHUTDOWN') this.#emit(instance_id, 'shutdown')
  }

  /** The monitor is gone: QEMU has ended, or will be found running when somebody asks again. */
  async #onClosed(instance_id: string, propolis_id: string): Promise<void> {
    if (this.#sessions.get(instance_id)?.propolis_id !== propolis_id) return
    this.#drop(instance_id)
    for (let tries = 0; tries < quit_ms_max / 20 && !this.#stopping.signal.aborted; tries += 1) {
      const found = await this.#zones.find(zoneName(propolis_id))
      if (found.ok && found.value.state !== 'running') {
        this.#emit(instance_id, 'exited')
        return
      }
      await sleep(20)
    }
    if (!this.#stopping.signal.aborted) await this.#session(instance_id)
  }

  #emit(instance_id: string, event: MachineEvent): void {
    for (const watcher of this.#watchers.get(instance_id) ?? []) watcher(event)
  }

  #drop(instance_id: string): void {
    this.#sessions.get(instance_id)?.serial.destroy()
    this.#sessions.delete(instance_id)
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

  #propolisOf(instance_id: string): string | null {
    const path = this.#machine(instance_id)
    if (!existsSync(path)) return null
    const read: unknown = JSON.parse(readFileSync(path, 'utf8'))
    const machine: Static<typeof machineFile> | null = fits(machineFile, read) ? read : null
    return machine?.propolis_id ?? null
  }

  readonly #directory = (id: string) => join(this.#instances, id)
  readonly #machine = (id: string) => join(this.#instances, id, 'machine.json')
  readonly #serialLog = (id: string) => join(this.#instances, id, 'serial.log')
}

const zoneName = (propolis_id: string) => `oxz_propolis-server_${propolis_id}`

const notBetweenSleds = (instance_id: string) =>
  err('os_failed', `guest ${instance_id}: platform linux does not move guests between sleds`)

const notRunning = (instance_id: string) =>
  err('not_running', `instance ${instance_id} has no console: it does not run here`)

function zoneOf(spec: MachineSpec, accelerator: Accelerator, directory: string): ZoneConfig {
  return {
    name: zoneName(spec.propolis_id),
    args: [`/usr/bin/${program}`, ...qemuArguments(spec, accelerator, 3)],
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
