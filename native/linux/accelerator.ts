/** Whether KVM truly runs guests here: found by running one for a moment, remembered until reboot. */
import { spawn } from 'node:child_process'
import { accessSync, constants, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { threadId } from 'node:worker_threads'
import { Type, type Static } from 'typebox'
import { identify, isAlive, processIdentity, signal } from '#native/process.ts'
import { findTool } from '#native/select.ts'
import { explain } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { probeDisk } from './kvm_probe.ts'

const verdict = Type.Object({
  boot_id: Type.String(),
  kind: Type.Enum(['kvm', 'tcg']),
  /** QEMU's -cpu argument. */
  cpu: Type.String(),
  reason: Type.String(),
})
export type Accelerator = Static<typeof verdict>

/** Processor models to try: some hosts offer features that QEMU then cannot set. */
const kvmModels = ['host', 'host,-arch-capabilities', 'max,-arch-capabilities', 'qemu64'] as const
const probe_ms_max = 3_000
const stuck = 'the test guest did not reach 64-bit mode'

/** The verdict for this boot of the machine; `file` remembers it. */
export async function chooseAccelerator(
  program: string,
  file: string,
  stopping: AbortSignal,
): Promise<Accelerator> {
  const boot_id = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  const known = remembered(file)
  if (known?.boot_id === boot_id) return known
  const disk = `${file}.${process.pid}.${threadId}`
  const found = { boot_id, ...(await probe({ program, disk, signal: stopping })) }
  stopping.throwIfAborted()
  writeFileSync(file, JSON.stringify(found))
  return found
}

function remembered(file: string): Accelerator | null {
  try {
    const read: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return fits(verdict, read) ? read : null
  } catch {
    return null
  }
}

interface Probe {
  readonly program: string
  /** Where the test guest's disk may be. */
  readonly disk: string
  readonly signal: AbortSignal
}

async function probe(given: Probe): Promise<Omit<Accelerator, 'boot_id'>> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch (error) {
    return { kind: 'tcg', cpu: 'max', reason: `/dev/kvm cannot be opened: ${explain(error)}` }
  }
  let last = ''
  writeFileSync(given.disk, probeDisk())
  try {
    for (const cpu of kvmModels) {
      const failure = await runsGuest(given, cpu)
      if (failure === null) return { kind: 'kvm', cpu, reason: `a test guest ran with -cpu ${cpu}` }
      last = failure
      // A processor that starts and gets stuck does so under any name.
      if (failure === stuck || given.signal.aborted) break
    }
  } finally {
    rmSync(given.disk, { force: true })
  }
  return { kind: 'tcg', cpu: 'max', reason: `a test guest did not run under KVM: ${last}` }
}

/** Ends trials that a killed process began; `file` as for `chooseAccelerator`. */
export async function endTrials(file: string): Promise<void> {
  const directory = dirname(file)
  const notes = readdirSync(directory).filter(
    (name) => name.startsWith(`${basename(file)}.`) && name.endsWith('.pid'),
  )
  for (const name of notes) {
    const path = join(directory, name)
    const identity: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (fits(processIdentity, identity)) {
      signal(identity, 'SIGTERM')
      for (let waited_ms = 0; isAlive(identity) && waited_ms < probe_ms_max; waited_ms += 10) {
        await sleep(10)
      }
    }
    rmSync(path, { force: true })
  }
}

/** Null when the test guest got through to 64-bit mode and said so. */
async function runsGuest(given: Probe, cpu: string): Promise<string | null> {
  const { program, disk } = given
  // timeout(1) ends the test guest also when we are killed meanwhile.
  const child = spawn(
    findTool('timeout') ?? 'timeout',
    [
      ...['--signal=KILL', String(1 + Math.ceil(probe_ms_max / 1000)), program],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35,accel=kvm'],
      ...['-cpu', cpu, '-m', '64', '-chardev', 'stdio,id=debug'],
      ...['-device', 'isa-debugcon,iobase=0xe9,chardev=debug'],
      ...['-drive', `file=${disk.replaceAll(',', ',,')},format=raw,if=virtio,readonly=on`],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const { promise, resolve } = Promise.withResolvers<string | null>()
  // Written down, so that whoever takes the sled down finds a trial that we did not live to end.
  const note = `${disk}.pid`
  const identity = child.pid === undefined ? null : identify(child.pid)
  if (identity !== null) writeFileSync(note, JSON.stringify(identity))
  let complaint = ''
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString()).slice(-2000)
    if (complaint.includes('KVM internal error')) resolve(stuck)
  })
  child.stdout.once('data', () => {
    resolve(null)
  })
  child.once('error', (error) => {
    resolve(explain(error))
  })
  child.once('exit', () => {
    resolve(complaint.trim().split('\n')[0] ?? 'it ended at once')
  })
  const timer = setTimeout(() => {
    resolve(stuck)
  }, probe_ms_max)
  const onAbort = () => {
    // At once: nothing that waits is run any more when the process ends.
    child.kill('SIGTERM')
    resolve('we are stopping')
  }
  given.signal.addEventListener('abort', onAbort, { once: true })
  const failure = await promise
  given.signal.removeEventListener('abort', onAbort)
  clearTimeout(timer)
  // timeout passes TERM on to its child; KILL would end only timeout itself.
  child.kill('SIGTERM')
  rmSync(note, { force: true })
  return failure
}
