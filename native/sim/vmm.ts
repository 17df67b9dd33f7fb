/**
 * Guests in memory: they run at once, say the simulated sled agent's console text, echo what is
 * typed, and end when their power button is pressed. With a state directory they are written down,
 * so that a supervisor that starts again finds them as it would find real ones.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Type, type Static } from 'typebox'
import type {
  DiskCounters,
  MachineEvent,
  MachineOffer,
  SerialChunk,
  Vmm,
} from '#native/platform/vmm.ts'
import { systemClock, type Clock } from '#runtime/clock.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { ask, Responder } from './between.ts'
import { bootText } from './serial_text.ts'

const machine = Type.Object({
  propolis_id: Type.String(),
  isRunning: Type.Boolean(),
  /** What was typed, echoed after the boot text. */
  typed: Type.String(),
  /** Absent in files of before. */
  started_ms: Type.Optional(Type.Integer()),
  slots: Type.Optional(Type.Array(Type.Integer())),
  /** It stands still: another sled has, or is, what goes on. */
  isPaused: Type.Optional(Type.Boolean()),
})
/** A line of the file: guests that came or changed, and null for those that went. */
const saved = Type.Record(Type.String(), Type.Union([machine, Type.Null()]))
type SimMachine = Static<typeof machine>
const takeRequest = Type.Object({
  instance_id: Type.String(),
  propolis_id: Type.String(),
  migration_id: Type.String(),
})
const taken = Type.Union([machine, Type.Null()])

export interface SimVmmOptions {
  /** Where guests are written down; null keeps them in memory only. */
  readonly state: string | null
  /** Where other sleds take guests over; absent: in `state`. */
  readonly directory?: string
  readonly clock?: Clock
  /** How long a guest takes to end after its power button was pressed. */
  readonly stop_ms?: number
}
export interface SimVmm extends Vmm {
  /** Names of methods that fail with `os_failed` while they are in here. */
  readonly faults: Set<string>
  /** What running guests have asked of the disk in slot 0; a simulated guest asks nothing by itself. */
  counted: Omit<DiskCounters['disks'][number], 'slot'>
  /** Ends a guest as if it had done so by itself. */
  readonly exit: (instance_id: string) => void
}

export function simVmm(options: SimVmmOptions): SimVmm {
  return new SimMachines(options)
}

class SimMachines implements SimVmm {
  readonly faults = new Set<string>()
  counted: SimVmm['counted'] = untouched
  readonly #clock: Clock
  readonly #stop_ms: number
  readonly #file: string | null
  readonly #machines: Map<string, SimMachine>
  readonly #watchers = new Map<string, Set<(event: MachineEvent) => void>>()
  /** Migrations that may take a guest over, by instance. */
  readonly #offers = new Map<string, string>()
  readonly #responder: Responder
  /** Viewers that wait for output. */
  readonly #waiting = new Set<() => void>()

  constructor(options: SimVmmOptions) {
    this.#clock = options.clock ?? systemClock
    this.#stop_ms = options.stop_ms ?? 5
    if (options.state !== null) mkdirSync(options.state, { recursive: true, mode: 0o700 })
    this.#file = options.state === null ? null : join(options.state, 'guests.json')
    this.#machines = load(this.#file)
    const directory = options.directory ?? options.state ?? '.'
    this.#responder = new Responder(join(directory, 'guests.sock'), (request) =>
      this.#give(request),
    )
  }

  readonly find: Vmm['find'] = async (id) => {
    const found = this.#machines.get(id)
    if (this.faults.has('find')) return scripted('find')
    return ok(
      found === undefined ? null : { propolis_id: found.propolis_id, state: stateOf(found) },
    )
  }

  readonly list: Vmm['list'] = async () =>
    ok([...this.#machines].map(([instance_id, { propolis_id }]) => ({ instance_id, propolis_id })))

  readonly start: Vmm['start'] = async (spec) => {
    if (this.faults.has('start')) return scripted('start')
    const { instance_id, propolis_id } = spec
    const slots = spec.disks.map(({ slot }) => slot)
    const started_ms = this.#clock.now()
    this.#set(instance_id, { propolis_id, isRunning: true, typed: '', started_ms, slots })
    return ok({ propolis_id, state: 'running' })
  }

  readonly watch: Vmm['watch'] = (id, onEvent) => {
    const watchers = this.#watchers.get(id) ?? new Set()
    this.#watchers.set(id, watchers.add(onEvent))
    return () => {
      watchers.delete(onEvent)
    }
  }

  readonly diskCounters: Vmm['diskCounters'] = async (id) => {
    const found = this.#machines.get(id)
    if (this.faults.has('diskCounters')) return scripted('diskCounters')
    if (found?.isRunning !== true) return notRunning(id)
    const { started_ms = 0, slots = [] } = found
    const disks = slots.map((slot) => ({ slot, ...(slot === 0 ? this.counted : untouched) }))
    return ok({ start_ms: started_ms, disks })
  }

  readonly offer: Vmm['offer'] = async (id, migration_id) => {
    if (this.faults.has('offer')) return scripted('offer')
    if (this.#machines.get(id)?.isRunning !== true) return notRunning(id)
    this.#offers.set(id, migration_id)
    try {
      await this.#responder.open()
      return ok(this.#responder.path)
    } catch (error) {
      return err('os_failed', `instance ${id} cannot be offered: ${explain(error)}`)
    }
  }

  readonly receive: Vmm['receive'] = async ({ instance_id, propolis_id }, from) => {
    if (this.faults.has('receive')) return scripted('receive')
    const given = await take(instance_id, from)
    if (!given.ok) return given
    this.#set(instance_id, { ...given.value, propolis_id, isPaused: true })
    return ok({ propolis_id, state: 'paused' })
  }

  readonly resume: Vmm['resume'] = async (id) => {
    if (this.faults.has('resume')) return scripted('resume')
    const found = this.#machines.get(id)
    if (found?.isRunning !== true) return notRunning(id)
    this.#offers.delete(id)
    this.#set(id, { ...found, isPaused: false })
    return ok(null)
  }

  readonly powerdown: Vmm['powerdown'] = async (id) => {
    if (this.faults.has('powerdown')) return scripted('powerdown')
    this.#emit(id, 'shutdown')
    this.#clock.after(this.#stop_ms, () => {
      this.exit(id)
    })
    return ok(null)
  }

  readonly reset: Vmm['reset'] = async (id) => {
    if (this.faults.has('reset')) return scripted('reset')
    this.#clock.after(0, () => {
      this.#emit(id, 'reset')
    })
    return ok(null)
  }

  readonly kill: Vmm['kill'] = async (id) => {
    if (this.faults.has('kill')) return scripted('kill')
    this.#end(id)
    return ok(null)
  }

  readonly forget: Vmm['forget'] = async (id) => {
    this.#offers.delete(id)
    if (this.#machines.delete(id)) this.#save(id, null)
    return ok(null)
  }

  readonly exit = (id: string): void => {
    // What stands still does not end by itself.
    if (this.#machines.get(id)?.isPaused !== true && this.#end(id)) this.#emit(id, 'exited')
  }

  readonly serialRead: Vmm['serialRead'] = async (id, from, max_bytes) => {
    const found = this.#machines.get(id)
    if (found === undefined) return err('not_running', `instance ${id} has no console here`)
    return ok(cut(output(id, found), from, max_bytes))
  }

  readonly serialFollow: Vmm['serialFollow'] = async (id, from, options) => {
    const end_ms = this.#clock.now() + options.wait_ms
    for (;;) {
      const found = this.#machines.get(id)
      if (found?.isRunning !== true) return err('not_running', `instance ${id} has ended`)
      const chunk = cut(output(id, found), from, options.max_bytes)
      const left_ms = end_ms - this.#clock.now()
      if (chunk.data.length > 0 || left_ms <= 0 || options.signal.aborted) return ok(chunk)
      await this.#change(left_ms, options.signal)
    }
  }

  readonly serialWrite: Vmm['serialWrite'] = async (id, data) => {
    const found = this.#machines.get(id)
    if (found?.isRunning !== true) return notRunning(id)
    if (found.isPaused === true) return err('not_running', `instance ${id} stands still`)
    this.#set(id, { ...found, typed: found.typed + Buffer.from(data).toString('latin1') })
    return ok(null)
  }

  readonly accelerator: Vmm['accelerator'] = async () => 'sim: guests are simulated'

  readonly endTrials: Vmm['endTrials'] = async () => ok(null)

  readonly close: Vmm['close'] = () => {
    this.#responder.close()
    for (const wake of this.#waiting) wake()
  }

  /** Gives a guest to the migration that it is offered to: from now on it stands still here. */
  #give(request: unknown): SimMachine | null {
    if (!fits(takeRequest, request)) return null
    const { instance_id, propolis_id, migration_id } = request
    const found = this.#machines.get(instance_id)
    const isOffered = this.#offers.get(instance_id) === migration_id
    if (!isOffered || found?.isRunning !== true || found.propolis_id !== propolis_id) return null
    const still = { ...found, isPaused: true }
    this.#set(instance_id, still)
    return still
  }

  async #change(within_ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.add(resolve)
    await Promise.race([promise, this.#clock.sleep(within_ms, signal)])
    this.#waiting.delete(resolve)
  }

  #end(id: string): boolean {
    const found = this.#machines.get(id)
    if (found?.isRunning !== true) return false
    this.#set(id, { ...found, isRunning: false })
    return true
  }

  #emit(id: string, event: MachineEvent): void {
    for (const watcher of this.#watchers.get(id) ?? []) watcher(event)
  }

  #set(id: string, next: SimMachine): void {
    this.#machines.set(id, next)
    this.#save(id, next)
    for (const wake of this.#waiting) wake()
  }

  /** One more line: a start costs the same however many guests there are. */
  #save(id: string, change: SimMachine | null): void {
    if (this.#file !== null) appendFileSync(this.#file, `${JSON.stringify({ [id]: change })}\n`)
  }
}

const untouched = { flush: 0, read: 0, read_bytes: 0, write: 0, write_bytes: 0 }

const stateOf = ({ isRunning, isPaused = false }: SimMachine) =>
  isRunning ? (isPaused ? 'paused' : 'running') : 'exited'

const notRunning = (id: string) => err('not_running', `instance ${id} does not run`)

/** Asks the sled that offers a guest for it. */
async function take(
  instance_id: string,
  { address, migration_id, propolis_id }: MachineOffer,
): Promise<Result<SimMachine, 'source_gone'>> {
  try {
    const given = await ask(address, { instance_id, propolis_id, migration_id })
    if (fits(taken, given) && given !== null) return ok(given)
    return err('source_gone', `instance ${instance_id} is not offered at ${address} any more`)
  } catch (error) {
    return err('source_gone', `instance ${instance_id} at ${address}: ${explain(error)}`)
  }
}

const scripted = (name: string) => err('os_failed', `${name} fails as scripted`)

const output = (id: string, { typed }: SimMachine) => Buffer.from(bootText(id) + typed, 'latin1')

function cut(whole: Buffer, from: number, max_bytes: number): SerialChunk {
  const start = from < 0 ? Math.max(0, whole.length + from) : Math.min(from, whole.length)
  const data = new Uint8Array(whole.subarray(start, start + max_bytes))
  return { data, last_byte_offset: start + data.length }
}

/** What the lines of a state directory's file say in the end. The last may be cut short. */
export function readGuests(file: string): ReadonlyMap<string, SimMachine> {
  const machines = new Map<string, SimMachine>()
  if (!existsSync(file)) return machines
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    for (const [id, change] of Object.entries(readLine(line))) {
      if (change === null) machines.delete(id)
      else machines.set(id, change)
    }
  }
  return machines
}

function readLine(line: string): Static<typeof saved> {
  try {
    const read: unknown = JSON.parse(line)
    return fits(saved, read) ? read : {}
  } catch {
    return {}
  }
}

/** Reads the file, and leaves one line that says the same. */
function load(file: string | null): Map<string, SimMachine> {
  if (file === null) return new Map()
  const machines = new Map(readGuests(file))
  writeFileSync(`${file}.new`, `${JSON.stringify(Object.fromEntries(machines))}\n`)
  renameSync(`${file}.new`, file)
  return machines
}
