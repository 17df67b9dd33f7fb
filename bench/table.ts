/** Runs a table of scenarios: opens who takes part, warms them up, and lets them take turns. */
import type { Contestant, Entrant } from './contestant.ts'
import type { Harness } from './harness.ts'
import { nodeProgram } from './peers/program.ts'
import { type MetricName, metrics, type Scenario } from './scenario.ts'

/** Of each start. */
const rounds = 5
const operations_min = 1_000
const spinners = 2

export interface Table {
  readonly name: string
  readonly scenarios: readonly Scenario[]
  readonly round_ms: number
  /**
   * Compilers of machine code need a while before they know what is hot: so long at least, the more code, the
   * longer; and so many operations, unless these take more than three times as long.
   */
  readonly warm_ms: number
  readonly warm_operations: number
  /**
   * How often each contestant is started. What the engine decides while a process starts, and where that lies in
   * memory, makes it half as fast again or not, for as long as it lives: once says little. Rows that say how many
   * operations a round has are about something else than speed, and have one start.
   */
  readonly starts: number
}
/** A contestant and how many operations fill a round of its. */
interface Warm {
  readonly contestant: Contestant
  readonly operations: number
}

interface Run {
  readonly harness: Harness
  readonly table: Table
  /** Why somebody could not take part, by name. */
  readonly obstacles: Map<string, string>
}

/** Runs the scenarios of a table whose name has `part` in it. */
export async function runTable(harness: Harness, table: Table, part: string): Promise<void> {
  if (process.platform !== 'linux') {
    harness.skip(table.name, "the CPU time of other processes is read in Linux's way")
    return
  }
  const obstacles = new Map<string, string>()
  const wanted = table.scenarios.filter(({ name }) => name.includes(part))
  for (const scenario of wanted) await measure({ harness, table, obstacles }, scenario)
  for (const [peer, why] of obstacles) harness.skip(`against ${peer}`, why)
}

async function measure({ harness, table, obstacles }: Run, scenario: Scenario): Promise<void> {
  const { ours } = scenario
  const present = [ours, ...scenario.peers].filter((entrant) => {
    const why = entrant.obstacle()
    if (why !== null) obstacles.set(entrant.name, why)
    return why === null
  })
  if (present.length === 0) return
  await using opened = new AsyncDisposableStack()
  if (scenario.regime === 'oversubscribed') await oversubscribe(opened)
  const candidates: Record<string, (round: number) => Promise<Record<string, number>>> = {}
  for (const entrant of present) {
    const seat = new Seat(entrant, { table, fixed: scenario.operations })
    opened.use(seat)
    candidates[entrant.name] = async (round) => {
      const { contestant, operations } = await seat.at(round)
      const measurement = await contestant.run(operations)
      const values = named(scenario).map(([name, key]) => [name, metrics[key].of(measurement)])
      return Object.fromEntries(values) as Record<string, number>
    }
  }
  await harness.compareAll(scenario.name, {
    metrics: named(scenario).map(([name, key, bars]) => ({ name, unit: metrics[key].unit, bars })),
    rounds: rounds * (scenario.operations === null ? table.starts : 1),
    own: ours.name,
    candidates,
  })
}

/** A scenario's metrics with the names that results have. */
function named({ name, metrics: wanted }: Scenario) {
  return Object.entries(wanted).map(
    ([key, bars]) => [`${name}: ${key}`, key as MetricName, bars] as const,
  )
}

interface Measuring {
  readonly table: Table
  /** Operations a round, where the scenario says. */
  readonly fixed: number | null
}

/** Where an entrant's contestant is, which is another one every few rounds. */
class Seat implements AsyncDisposable {
  readonly #entrant: Entrant
  readonly #how: Measuring
  #start = -1
  #warm: Warm | null = null

  constructor(entrant: Entrant, how: Measuring) {
    this.#entrant = entrant
    this.#how = how
  }

  /** The contestant of a round, warm. Round 0 is not measured. */
  async at(round: number): Promise<Warm> {
    const start = Math.floor(Math.max(0, round - 1) / rounds)
    if (start !== this.#start) await this[Symbol.asyncDispose]()
    this.#start = start
    return (this.#warm ??= await this.#open())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const warm = this.#warm
    this.#warm = null
    await warm?.contestant.close()
  }

  async #open(): Promise<Warm> {
    const contestant = await this.#entrant.open()
    try {
      return { contestant, operations: await warmUp(contestant, this.#how) }
    } catch (error) {
      await contestant.close()
      throw error
    }
  }
}

/** Gives back how many operations fill a round. */
async function warmUp(contestant: Contestant, { table, fixed }: Measuring): Promise<number> {
  const { warm_ms, warm_operations } = table
  let operations = fixed ?? operations_min
  let all = 0
  for (let spent_ms = 0; spent_ms < warm_ms || (all < warm_operations && spent_ms < 3 * warm_ms);) {
    const { operations: done, wall_ns } = await contestant.run(operations)
    all += done
    spent_ms += wall_ns / 1e6
    // Not more than tenfold: the first, cold rounds say little.
    const fill = Math.min(done * 10, Math.round((done * table.round_ms * 1e6) / wall_ns))
    operations = fixed ?? Math.max(operations_min, fill)
  }
  return operations
}

/** Starts processes that do nothing but use the processors. */
async function oversubscribe(opened: AsyncDisposableStack): Promise<void> {
  for (let started = 0; started < spinners; started += 1) {
    const spinner = nodeProgram('peers/spinner.ts')
    opened.defer(async () => {
      await spinner.stop()
    })
    await spinner.ready()
  }
}
