/**
 * Who decides what happens after a crash (Erlang/OTP's supervisors: strategies, restart intensity).
 * A group has its members in start order. Stopping goes in reverse. A member that has used up its own
 * restart budget fails the group, which is then restarted as a whole within the group's budget; beyond
 * it the next group outside decides, and at last whoever started the process.
 */
import type { Cell } from './cell.ts'
import type { Clock } from '../clock.ts'

/**
 * `one_for_one`: a crash restarts that member. `rest_for_one`: and those after it. `one_for_all`: and
 * all others.
 */
export type Strategy = 'one_for_one' | 'rest_for_one' | 'one_for_all'

export interface GroupSpec {
  readonly name: string
  readonly strategy: Strategy
  /** How often the group may fail as a whole within the period. */
  readonly restarts_max: number
  readonly restarts_period_ms: number
}
type Member = Cell | Supervisor

export class Supervisor {
  readonly spec: GroupSpec
  readonly parent: Supervisor | null
  readonly #clock: Clock
  readonly #exhausted: (name: string, why: string) => void
  readonly #members: Member[] = []
  #failures: number[] = []
  /** Crashes are handled one after another; what crashes in a restart waits for its end. */
  #work: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(
    spec: GroupSpec,
    parent: Supervisor | null,
    clock: Clock,
    exhausted: (name: string, why: string) => void,
  ) {
    this.spec = spec
    this.parent = parent
    this.#clock = clock
    this.#exhausted = exhausted
    parent?.add(this)
  }

  get name(): string {
    return this.spec.name
  }

  add(member: Member): void {
    this.#members.push(member)
  }

  /** A member is down. */
  crashed(member: Member, isWithin: boolean, why: string): void {
    this.#work = this.#work.then(async () => {
      if (this.#isStopped) return
      if (isWithin) await this.#restart(this.#affected(member), false)
      else await this.#fail(member, why)
    })
  }

  /** Stops all members, the last first. */
  async stop(end: 'stopped' | 'down', why: string): Promise<void> {
    this.#isStopped ||= end === 'stopped'
    for (const member of this.#members.toReversed()) await stopMember(member, end, why)
  }

  /** Starts all members again, in order, each with a whole budget. */
  restart(): void {
    this.#failures = []
    for (const member of this.#members) member.restart(true)
  }

  #affected(member: Member): readonly Member[] {
    const index = this.#members.indexOf(member)
    switch (this.spec.strategy) {
      case 'one_for_one':
        return [member]
      case 'rest_for_one':
        return this.#members.slice(index)
      case 'one_for_all':
        return this.#members
    }
  }

  async #restart(members: readonly Member[], isFresh: boolean): Promise<void> {
    for (const member of members.toReversed()) {
      await stopMember(member, 'down', `group ${this.spec.name} is restarted`)
    }
    for (const member of members) member.restart(isFresh)
  }

  async #fail(member: Member, why: string): Promise<void> {
    const { restarts_max, restarts_period_ms } = this.spec
    const now_ms = this.#clock.monotonic()
    this.#failures = [...this.#failures.filter((at) => at > now_ms - restarts_period_ms), now_ms]
    if (this.#failures.length <= restarts_max) {
      await this.#restart(this.#members, true)
      return
    }
    await this.stop('down', `group ${this.spec.name} gave up: ${why}`)
    if (this.parent === null) this.#exhausted(member.name, why)
    else this.parent.crashed(this, false, why)
  }
}

async function stopMember(member: Member, end: 'stopped' | 'down', why: string): Promise<void> {
  if (member instanceof Supervisor) await member.stop(end, why)
  else await member.stop(end, 'stopped', why)
}
