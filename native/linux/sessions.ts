/** Our connections to guests' QEMUs: the monitor, and the console's writing end. */
import { existsSync, readFileSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type, type Static } from 'typebox'
import type { Machine, MachineEvent } from '#native/platform/vmm.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Qmp, type QmpEvent } from './qmp.ts'
import type { LinuxZones } from './zone.ts'

/** How long a QEMU may take to end that was told to, or whose monitor is gone. */
export const quit_ms_max = 3_000
const machine = Type.Object({ propolis_id: Type.String() })
const status = Type.Object({ status: Type.String() })

/** What we hold of a guest that is there. */
export interface Session {
  readonly propolis_id: string
  readonly qmp: Qmp
  readonly serial: Socket
  /** The directory that its zone sees. */
  readonly directory: string
}
type Watcher = (event: MachineEvent) => void

export const zoneName = (propolis_id: string): string => `oxz_propolis-server_${propolis_id}`
/** The file that says which machine a guest has. */
export const machineFile = (instances: string, instance_id: string): string =>
  join(instances, instance_id, 'machine.json')

export class Sessions {
  readonly #instances: string
  readonly #zones: LinuxZones
  readonly #sessions = new Map<string, Session>()
  readonly #watchers = new Map<string, Set<Watcher>>()
  #isClosed = false

  /** `instances`: the directory of all guests' directories. */
  constructor(instances: string, zones: LinuxZones) {
    this.#instances = instances
    this.#zones = zones
  }

  /** Those to a guest, made when first needed and again after they broke. */
  async to(instance_id: string): Promise<Result<Session, 'os_failed'>> {
    const held = this.#sessions.get(instance_id)
    if (held !== undefined) return ok(held)
    const propolis_id = this.propolisOf(instance_id)
    if (propolis_id === null) return err('os_failed', `there is no guest ${instance_id}`)
    const directory = join(this.#instances, instance_id)
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
      const session = { propolis_id, qmp, serial, directory }
      this.#sessions.set(instance_id, session)
      return ok(session)
    } catch (error) {
      return err('os_failed', `guest ${instance_id}: ${explain(error)}`)
    }
  }

  /** How a machine is; null for a machine that waits for a guest from another sled, or has only a part of it. */
  async look(session: Session): Promise<Result<Machine | null, 'os_failed'>> {
    try {
      const said = await session.qmp.execute('query-status')
      if (!fits(status, said)) return err('os_failed', 'QEMU answers query-status with nonsense')
      const { propolis_id } = session
      if (said.status === 'inmigrate') return ok(null)
      if (said.status === 'running') return ok({ propolis_id, state: 'running' })
      return ok({ propolis_id, state: said.status === 'shutdown' ? 'exited' : 'paused' })
    } catch (error) {
      return err('os_failed', explain(error))
    }
  }

  /** Has a guest's QEMU do something. */
  async execute(instance_id: string, command: string): Promise<Result<null, 'os_failed'>> {
    const session = await this.to(instance_id)
    if (!session.ok) return session
    try {
      await session.value.qmp.execute(command)
      return ok(null)
    } catch (error) {
      return err('os_failed', `guest ${instance_id}: ${command}: ${explain(error)}`)
    }
  }

  /** Calls back on what a guest's machine does, until the returned function is called. */
  watch(instance_id: string, onEvent: Watcher): () => void {
    const watchers = this.#watchers.get(instance_id) ?? new Set()
    this.#watchers.set(instance_id, watchers.add(onEvent))
    return () => {
      watchers.delete(onEvent)
      if (watchers.size === 0) this.#watchers.delete(instance_id)
    }
  }

  /** Which machine a guest has, by the file that says so; null: none. */
  propolisOf(instance_id: string): string | null {
    const path = machineFile(this.#instances, instance_id)
    if (!existsSync(path)) return null
    const read: unknown = JSON.parse(readFileSync(path, 'utf8'))
    const known: Static<typeof machine> | null = fits(machine, read) ? read : null
    return known?.propolis_id ?? null
  }

  /** Ends those to a guest. */
  hangUp(instance_id: string): void {
    this.#sessions.get(instance_id)?.qmp.close()
    this.drop(instance_id)
  }

  /** Ends all of them, for good. */
  close(): void {
    this.#isClosed = true
    for (const id of [...this.#sessions.keys()]) this.hangUp(id)
  }

  #onEvent(instance_id: string, event: QmpEvent): void {
    if (event.name === 'RESET') this.#emit(instance_id, 'reset')
    else if (event.name === 'SHUTDOWN') this.#emit(instance_id, 'shutdown')
  }

  /** The monitor is gone: QEMU has ended, or will be found running when somebody asks again. */
  async #onClosed(instance_id: string, propolis_id: string): Promise<void> {
    if (this.#sessions.get(instance_id)?.propolis_id !== propolis_id) return
    this.drop(instance_id)
    for (let tries = 0; tries < quit_ms_max / 20 && !this.#isClosed; tries += 1) {
      const found = await this.#zones.find(zoneName(propolis_id))
      if (found.ok && found.value.state !== 'running') {
        this.#emit(instance_id, 'exited')
        return
      }
      await sleep(20)
    }
    if (!this.#isClosed) await this.to(instance_id)
  }

  #emit(instance_id: string, event: MachineEvent): void {
    for (const watcher of this.#watchers.get(instance_id) ?? []) watcher(event)
  }

  /** Forgets them. */
  drop(instance_id: string): void {
    this.#sessions.get(instance_id)?.serial.destroy()
    this.#sessions.delete(instance_id)
  }
}
