/** Runs a table of scenarios: opens who takes part, warms them up, and lets them take turns. */
import type { Contestant, Entrant } from './contestant.ts'
import type { Harness } from './harness.ts'
import { nodeProgram } from './peers/program.ts'
import { type MetricName, metrics, type Scenario } from './scenario.ts'

const rounds = 5
const operations_min = 1_000
const spinners = 2

export interface Table {
  readonly name: string
  readonly scenarios: readonly Scenario[]
  readonly round_ms: number
  /** Compilers of machine code need a while before they know what is hot; the more code, the longer. */
  readonly warm_ms: number
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
  const candidates: Record<string, () => Promise<Record<string, number>>> = {}
  for (const entrant of present) {
    const { contestant, operations } = await warmUp(opened, entrant, {
      table,
      fixed: scenario.operations,
    })
    candidates[entrant.name] = async () => {
      const measurement = await contestant.run(operations)
      const values = named(scenario).map(([name, key]) => [name, metrics[key].of(measurement)])
      return Object.fromEntries(values) as Record<string, number>
    }
  }
  await harness.compareAll(scenario.name, {
    metrics: named(scenario).map(([name, key, bars]) => ({ name, unit: metrics[key].unit, bars })),
    rounds,
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

async function warmUp(
  opened: AsyncDisposableStack,
  entrant: Entrant,
  { table, fixed }: { readonly table: Table; readonly fixed: number | null },
): Promise<Warm> {
  const contestant = await entrant.open()
  opened.defer(contestant.close)
  let operations = fixed ?? operations_min
  for (let spent_ms = 0; spent_ms < table.warm_ms;) {
    const { operations: done, wall_ns } = await contestant.run(operations)
    spent_ms += wall_ns / 1e6
    // Not more than tenfold: the first, cold rounds say little.
    const fill = Math.min(done * 10, Math.round((done * table.round_ms * 1e6) / wall_ns))
    operations = fixed ?? Math.max(operations_min, fill)
  }
  return { contestant, operations }
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
