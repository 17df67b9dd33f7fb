/** Looking at the processes of a rack, once or again and again. */
import { seeingProtocol } from '#runtime/seeing/seeing.protocol.ts'
import type { Snapshot } from '#runtime/seeing/snapshot.ts'
import { err, ok, type Result } from '#runtime/result.ts'
import { openControl, targetsOf, type ControlLink, type Target } from './control.ts'
import { readPlan } from './plan.ts'

const answer_ms_max = 3_000

/** A process and what it looks like; or why it cannot be looked at. */
export interface Look {
  readonly service: Target['service']
  readonly host: string
  readonly seen: Result<Snapshot, string>
}

export class Looking {
  readonly #targets: readonly Target[]
  readonly #links = new Map<Target, ControlLink>()

  constructor(targets: readonly Target[]) {
    this.#targets = targets
  }

  /** What all processes look like now. Messages are measured for `measure_ms` from now. */
  async look(measure_ms: number): Promise<readonly Look[]> {
    return await Promise.all(
      this.#targets.map(async (target) => ({
        service: target.service,
        host: target.host,
        seen: await this.#lookAt(target, measure_ms),
      })),
    )
  }

  close(): void {
    for (const link of this.#links.values()) link.close()
    this.#links.clear()
  }

  async #lookAt(target: Target, measure_ms: number): Promise<Result<Snapshot, string>> {
    const link = await this.#linkTo(target)
    if (!link.ok) return link
    const seen = await link.value
      .ref(seeingProtocol, 'process')
      .call('snapshot', { measure_ms }, { timeout_ms: answer_ms_max })
    return seen.ok
      ? seen
      : err(
          seen.error,
          `the ${target.service} in ${target.directory} does not say how it is: ${seen.detail}`,
        )
  }

  async #linkTo(target: Target): Promise<Result<ControlLink, 'not_running'>> {
    const known = this.#links.get(target)
    if (known?.isUp() === true) return ok(known)
    known?.close()
    this.#links.delete(target)
    const opened = await openControl(target)
    if (opened.ok) this.#links.set(target, opened.value)
    return opened
  }
}

/** Lets `work` look at the rack in a state directory. */
export async function lookingAt<T>(
  state: string,
  work: (looking: Looking) => Promise<Result<T, string>>,
): Promise<Result<T, string>> {
  const plan = readPlan(state)
  if (!plan.ok) return plan
  if (plan.value === null) {
    return err(
      'no_rack',
      `there is no rack in ${state}: luge rack up makes one, --state names another`,
    )
  }
  const looking = new Looking(targetsOf(state, plan.value))
  try {
    return await work(looking)
  } finally {
    looking.close()
  }
}

/** The snapshots that there are; an error when there is none, and why. */
export function seenIn(looks: readonly Look[]): Result<readonly Snapshot[], string> {
  const snapshots = looks.flatMap(({ seen }) => (seen.ok ? [seen.value] : []))
  const failed = looks.map(({ seen }) => seen).filter((seen) => !seen.ok)
  return snapshots.length > 0
    ? ok(snapshots)
    : err('not_running', failed.map(({ detail }) => detail).join('; '))
}
