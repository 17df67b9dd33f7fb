/**
 * Copies a volume while a guest writes to it, inside of its server: a mirror job runs until the copy has
 * caught up, and is ended at a moment when both are equal. A target that fails costs the copy alone;
 * the guest's writes never wait for it. What an earlier process left of one is taken away first.
 */
import { truncate, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from 'typebox'
import { limits } from '#config/limits.ts'
import { err, explain, ok, type Result } from '#runtime/result.ts'
import { fits } from '#runtime/schema.ts'
import { Qmp } from './qmp.ts'

const poll_ms = 10
const [job, target] = ['copy', 'copy']
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
  task: MirrorTask,
  signal: AbortSignal,
): Promise<Result<null, 'no_space' | 'os_failed'>> {
  let qmp: Qmp | null = null
  try {
    qmp = await Qmp.connect(task.control, { event: () => undefined, close: () => undefined })
    await clear(qmp)
    await writeFile(task.partial, '', { mode: 0o600 })
    await truncate(task.partial, task.size_bytes)
    await qmp.execute('blockdev-add', {
      driver: 'raw',
      'node-name': target,
      discard: 'unmap',
      file: { driver: 'file', filename: task.partial, discard: 'unmap' },
    })
    await qmp.execute('blockdev-mirror', {
      'job-id': job,
      device: 'volume',
      target,
      sync: 'full',
      'auto-dismiss': false,
    })
    const failure = (await settle(qmp, 'ready', signal)) ?? (await finish(qmp, signal))
    await clear(qmp)
    if (failure === null) return ok(null)
    return err(/No space left/.test(failure) ? 'no_space' : 'os_failed', failure)
  } catch (error) {
    if (qmp !== null) await clear(qmp).catch(() => undefined)
    return err('os_failed', `the volume's server did not copy it: ${explain(error)}`)
  } finally {
    qmp?.close()
  }
}

/** Ends a job that has caught up: what it does until then is still copied. */
async function finish(qmp: Qmp, signal: AbortSignal): Promise<string | null> {
  await qmp.execute('block-job-cancel', { device: job })
  return await settle(qmp, 'concluded', signal)
}

/** Waits until the job is that far; gives what made it fail, or null. */
async function settle(
  qmp: Qmp,
  wanted: 'ready' | 'concluded',
  signal: AbortSignal,
): Promise<string | null> {
  for (let waited_ms = 0; waited_ms < limits.disk_ensure_ms_max; waited_ms += poll_ms) {
    if (signal.aborted) return 'the copy was called off'
    const found = await jobOf(qmp)
    if (found === null) return 'the copy is gone'
    if (found.error !== undefined) return found.error
    if (found.status === wanted) return null
    if (found.status === 'concluded') return 'the copy ended before it had caught up'
    await sleep(poll_ms)
  }
  return `the copy did not catch up with the guest within ${limits.disk_ensure_ms_max} ms`
}

/** Ends the job, whatever it does, and takes its target away. */
async function clear(qmp: Qmp): Promise<void> {
  const found = await jobOf(qmp)
  if (found !== null) {
    if (found.status !== 'concluded') {
      await qmp.execute('block-job-cancel', { device: job, force: true })
    }
    for (let waited_ms = 0; (await jobOf(qmp))?.status !== 'concluded'; waited_ms += poll_ms) {
      if (waited_ms > limits.zone_boot_ms_max) throw new Error('an earlier copy does not end')
      await sleep(poll_ms)
    }
    await qmp.execute('job-dismiss', { id: job })
  }
  const named = await qmp.execute('query-named-block-nodes', { flat: true })
  if (!fits(nodes, named)) throw new Error('query-named-block-nodes answers nonsense')
  if (named.some((node) => node['node-name'] === target)) {
    await qmp.execute('blockdev-del', { 'node-name': target })
  }
}

async function jobOf(qmp: Qmp) {
  const all = await qmp.execute('query-jobs')
  if (!fits(jobs, all)) throw new Error('query-jobs answers nonsense')
  return all.find(({ id }) => id === job) ?? null
}
