/**
 * What is done in the background, by one member of the cluster at a time: each task under a lease of
 * its own. Whoever takes a task over begins with a whole round, so that what the one before left
 * undone is done; all tasks are level-triggered.
 */
import type { Cluster } from '#runtime/cluster/cluster.ts'
import type { Lease } from '#runtime/cluster/store.ts'
import { explain } from '#runtime/result.ts'
import { limits } from '#config/limits.ts'
import type { Services } from './context.ts'
import { transact } from './store/transact.ts'

export interface Task {
  readonly name: string
  /** Between the end of a run and the next. */
  readonly period_ms: number
  /**
   * `isWhole`: nothing may be taken for done because it was done before. Says what it did, for the
   * log; null for nothing. Its services' `transact` commits only while the lease is held.
   */
  readonly run: (services: Services, isWhole: boolean) => Promise<string | null>
}

export class Background {
  readonly #services: Services
  readonly #tasks: readonly Task[]
  readonly #stop = new AbortController()
  readonly #runs = new Map<string, number>()
  #wake = new AbortController()
  #ended: Promise<unknown> = Promise.resolve()

  constructor(services: Services, tasks: readonly Task[]) {
    this.#services = services
    this.#tasks = tasks
  }

  start(): void {
    const kept = this.#tasks.map(async (task) => {
      await this.#keep(task)
    })
    this.#ended = Promise.all([...kept, this.#recover()])
  }

  /** Something came up: whole rounds at once, of the tasks that are this member's. */
  wake(): void {
    this.#wake.abort()
    this.#wake = new AbortController()
  }

  /** How often each task ran here. */
  get counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      [...this.#runs].map(([name, runs]) => [`background_${name.replaceAll('-', '_')}_runs`, runs]),
    )
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#ended
  }

  async #keep(task: Task): Promise<void> {
    const { signal } = this.#stop
    const { clock, log, member } = this.#services
    while (!signal.aborted) {
      const cluster = member.cluster
      const lease = (await cluster?.leases.acquireWhenFree(`task/${task.name}`, signal)) ?? null
      if (cluster === null || lease === null) {
        await clock.sleep(retry_ms, signal)
        continue
      }
      log.info('a background task is taken', { task: task.name, lease: lease.generation })
      await this.#hold(task, cluster, lease)
      await cluster.leases.release(lease)
    }
  }

  /** Runs a task again and again for as long as the lease is not lost. */
  async #hold(task: Task, { leases }: Cluster, lease: Lease): Promise<void> {
    const { clock } = this.#services
    const { signal } = this.#stop
    let whole_at: number | null = null
    while (!signal.aborted && leases.held().some(isSame(lease))) {
      const woken = AbortSignal.any([this.#wake.signal, signal])
      const now = clock.monotonic()
      const isWhole = whole_at === null || now - whole_at >= limits.background_whole_ms
      // Not while it is doubtful whether the lease is still held.
      const isRun = leases.isHeld(lease) && (await this.#run(task, lease, isWhole))
      if (isWhole && isRun) whole_at = now
      await clock.sleep(task.period_ms, woken)
      if (woken.aborted) whole_at = null
    }
  }

  /** What this member owns it goes on with itself. */
  async #recover(): Promise<void> {
    const { clock, log, sagas } = this.#services
    while (!this.#stop.signal.aborted) {
      await clock.sleep(limits.background_sagas_ms, this.#stop.signal)
      await sagas.recover().catch((error: unknown) => {
        log.warn('sagas could not be gone on with', { why: explain(error) })
      })
    }
  }

  /** Whether it ended well. */
  async #run(task: Task, lease: Lease, isWhole: boolean): Promise<boolean> {
    const services = { ...this.#services, fence: lease }
    const { log, clock } = services
    try {
      const did = await task.run(services, isWhole)
      if (did !== null) log.info('a background task ran', { task: task.name, did })
      await transact(services, async (store) => {
        const ran = { generation: lease.generation, member: lease.member_id }
        const row = { ...ran, time_last_run_ms: clock.now() }
        await store
          .insertInto('background_task')
          .values({ name: task.name, ...row })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
          .execute()
      })
      this.#runs.set(task.name, (this.#runs.get(task.name) ?? 0) + 1)
      return true
    } catch (error) {
      log.warn('a background task did not end well', { task: task.name, why: explain(error) })
      return false
    }
  }
}

const retry_ms = 1_000
const isSame = (lease: Lease) => (held: Lease) =>
  held.name === lease.name && held.generation === lease.generation
