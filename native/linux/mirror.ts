/**
 * Copies a volume while a guest writes to it, inside of its server: a mirror job runs until the copy has
 * caught up, then follows what is written, and is ended at a moment when both are equal. A target that
 * fails costs the copy alone; the guest's writes never wait for it. What an earlier process left of one
 * is taken away first.
 */
import { truncate, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Qmp } from './qmp.ts'

const poll_ms = 10
/** A copy on this sled, or one for another sled: each is a job and its target. */
type Name = 'copy' | 'move'
const jobs = Type.Array(
  Type.Object({ id: Type.String(), status: Type.String(), error: Type.Optional(Type.String()) }),
)
const nodes = Type.Array(Type.Object({ 'node-name': Type.String() }))

export interface MirrorTask {
  /** The server's monitor. */
  readonly control: string
  /** The file that becomes the copy, and how large the original is. */
  readonly partial: string
  readonly size_bytes: number
}

/** Fills `partial` with what the served volume held when this returns. */
export async function mirrorVolume(
  { control, partial, size_bytes }: MirrorTask,
  signal: AbortSignal,
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  const made = await withMonitor(control, 'copy', async (qmp) => {
    await writeFile(partial, '', { mode: 0o600 })
    await truncate(partial, size_bytes)
    const file = { driver: 'file', filename: partial, discard: 'unmap' }
    const target = { driver: 'raw', discard: 'unmap', file }
    const failure = await begin(qmp, { name: 'copy', target }, signal)
    return failure ?? (await finish(qmp, 'copy', signal))
  })
  return made
}

/** A volume of another sled: its server's monitor; and the server here that takes it in. */
export interface MoveTask {
  readonly control: string
  readonly socket: string
  readonly export: string
}

/** Has a volume's server send all of it to another sled's, and then what is written. Returns when it has caught up. */
export async function followVolume(
  task: MoveTask,
  signal: AbortSignal,
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  return await withMonitor(
    task.control,
    'move',
    async (qmp) => await begin(qmp, { name: 'move', target: targetOf(task) }, signal),
    { isKept: true },
  )
}

/** Ends that at a moment when both are equal; where nothing follows, all is sent first. */
export async function fillVolume(
  task: MoveTask,
  signal: AbortSignal,
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  return await withMonitor(task.control, 'move', async (qmp) => {
    const known = await jobOf(qmp, 'move')
    const follows = known?.status === 'ready' && known.error === undefined
    const failure = follows
      ? null
      : await begin(qmp, { name: 'move', target: targetOf(task) }, signal)
    return failure ?? (await finish(qmp, 'move', signal))
  })
}

const targetOf = ({ socket, export: name }: MoveTask) => ({
  driver: 'nbd',
  server: { type: 'unix', path: socket },
  export: name,
  discard: 'unmap',
})

/** Works on a server's monitor; `work` gives what failed, or null. A job that is kept goes on. */
async function withMonitor(
  control: string,
  name: Name,
  work: (qmp: Qmp) => Promise<string | null>,
  { isKept = false }: { readonly isKept?: boolean } = {},
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  let qmp: Qmp | null = null
  try {
    qmp = await Qmp.connect(control, { event: () => undefined, close: () => undefined })
    const failure = await work(qmp)
    if (failure !== null || !isKept) await clear(qmp, name)
    if (failure === null) return ok(null)
    return err(/No space left/.test(failure) ? 'no_space' : 'os_failed', failure)
  } catch (error) {
    if (qmp !== null) await clear(qmp, name).catch(() => undefined)
    return err('os_failed', `the volume's server did not copy it: ${explain(error)}`)
  } finally {
    qmp?.close()
  }
}

/** Begins a job and waits until it has caught up; gives what made it fail, or null. */
async function begin(
  qmp: Qmp,
  { name, target }: { readonly name: Name; readonly target: Readonly<Record<string, unknown>> },
  signal: AbortSignal,
): Promise<string | null> {
  await clear(qmp, name)
  await qmp.execute('blockdev-add', { 'node-name': name, ...target })
  await qmp.execute('blockdev-mirror', {
    'job-id': name,
    device: 'volume',
    target: name,
    sync: 'full',
    'auto-dismiss': false,
  })
  return await settle(qmp, { name, wanted: 'ready' }, signal)
}

/** Ends a job that has caught up: what it does until then is still copied. */
async function finish(qmp: Qmp, name: Name, signal: AbortSignal): Promise<string | null> {
  await qmp.execute('block-job-cancel', { device: name })
  return await settle(qmp, { name, wanted: 'concluded' }, signal)
}

/** Waits until the job is that far; gives what made it fail, or null. */
async function settle(
  qmp: Qmp,
  { name, wanted }: { readonly name: Name; readonly wanted: 'ready' | 'concluded' },
  signal: AbortSignal,
): Promise<string | null> {
  for (let waited_ms = 0; waited_ms < limits.disk_ensure_ms_max; waited_ms += poll_ms) {
    if (signal.aborted) return 'the copy was called off'
    const found = await jobOf(qmp, name)
    if (found === null) return 'the copy is gone'
    if (found.error !== undefined) return found.error
    if (found.status === wanted) return null
    if (found.status === 'concluded') return 'the copy ended before it had caught up'
    await sleep(poll_ms)
  }
  return `the copy did not catch up with the guest within ${limits.disk_ensure_ms_max} ms`
}

/** Ends the job, whatever it does, and takes its target away. */
async function clear(qmp: Qmp, name: Name): Promise<void> {
  const found = await jobOf(qmp, name)
  if (found !== null) {
    if (found.status !== 'concluded') {
      await qmp.execute('block-job-cancel', { device: name, force: true })
    }
    for (
      let waited_ms = 0;
      (await jobOf(qmp, name))?.status !== 'concluded';
      waited_ms += poll_ms
    ) {
      if (waited_ms > limits.zone_boot_ms_max) throw new Error('an earlier copy does not end')
      await sleep(poll_ms)
    }
    await qmp.execute('job-dismiss', { id: name })
  }
  const named = await qmp.execute('query-named-block-nodes', { flat: true })
  if (!fits(nodes, named)) throw new Error('query-named-block-nodes answers nonsense')
  if (named.some((node) => node['node-name'] === name)) {
    await qmp.execute('blockdev-del', { 'node-name': name })
  }
}

async function jobOf(qmp: Qmp, name: Name) {
  const all = await qmp.execute('query-jobs')
  if (!fits(jobs, all)) throw new Error('query-jobs answers nonsense')
  return all.find(({ id }) => id === name) ?? null
}
